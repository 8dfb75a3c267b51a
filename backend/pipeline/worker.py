"""What starts the workflows. Nothing has to be remembered: a worker looks a few times a second at what is due, which
follows from the database alone, so nothing is lost if a start is missed."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, WorkflowHandle

from backend.errors import UserError
from backend.pipeline import due, jobs, retrain
from backend.pipeline.jobs import POLL_S, STEPS, UNFINISHED, enqueue
from backend.pipeline.parts import Parts
from backend.pipeline.requests import request_training
from backend.registry import versions as records
from backend.registry import workers
from backend.registry.database import not_opened, now
from backend.registry.records import JOB_ACTIVE, Project
from backend.telemetry import logger

log = logger("worker")

TICK_S = 0.2
LOOK_S = 1.0  # between two looks at all projects, of which each costs some milliseconds
RETRY_S = 30  # the longest wait before what failed is tried again
SETTLED_S = 60  # after which a job that the engine does not know is no longer about to be started
KEEP_WORKFLOWS_S = 24 * 3600


@dataclass(frozen=True)
class _Start:
    """A workflow that was started, what for, and after how many seconds it may be again where it fails."""

    handle: WorkflowHandle[Any]
    args: tuple[str, ...]
    wait: float
    at: float = field(default_factory=time.monotonic)


class Worker:
    """Runs the workflows of this process and starts what is due."""

    def __init__(self, wired: Parts) -> None:
        self._parts = wired
        self._started: dict[tuple[str, str], _Start] = {}
        self._beat = self._next_look = -float(workers.DEAD_AFTER_S)
        self._tried = threading.Event()  # to load the models

    def start(self) -> None:
        """Open the job engine; workflows that were interrupted go on. Raises UserError where its database cannot be
        opened."""
        jobs.wire(self._parts)
        settings = self._parts.settings
        config: DBOSConfig = {
            "name": "ls-active",
            "system_database_url": settings.jobs_database,
            "application_version": STEPS,
            "executor_id": settings.worker_id,
            "log_level": "WARNING",
        }
        try:
            DBOS(config=config)
            DBOS.launch()
        except sa.exc.DatabaseError as error:
            raise not_opened(settings.jobs_database, error, "what is to be done is found out again") from None
        self._end_former()
        DBOS.register_queue("queue", partition_concurrency=1, polling_interval_sec=POLL_S)
        DBOS.register_queue("promote", partition_concurrency=1, worker_concurrency=2, polling_interval_sec=POLL_S)
        DBOS.register_queue("tidy", partition_concurrency=1)
        DBOS.register_queue("train", partition_concurrency=1, worker_concurrency=1, polling_interval_sec=POLL_S)
        self._bury_lost_jobs()

    def stop(self) -> None:
        """Close the job engine; what runs is taken up again at the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=0)

    def run(self, stop: threading.Event) -> None:
        """Tick until ``stop`` is set, once the models are loaded or could not be: which versions are of use depends on
        them. An error in one tick is logged; the next tick tries again."""
        threading.Thread(target=self._load, args=(stop,), daemon=True, name="models").start()
        while not stop.wait(TICK_S):
            try:
                if self._tried.is_set():
                    self.tick()
                else:
                    self._live()
            except Exception:
                log.exception("tick failed")
                stop.wait(1.0)

    def _load(self, stop: threading.Event) -> None:
        """Load the models that the projects want, and try again where they cannot be loaded."""
        while not self._loaded():
            self._tried.set()
            if stop.wait(RETRY_S):
                return
        self._tried.set()

    def _loaded(self) -> bool:
        """Whether the models could be loaded; why not is logged."""
        host, registry = self._parts.host, self._parts.registry
        try:
            host.encoder()
            for project in registry.projects():
                if project.schema is not None:
                    host.generator(project.schema)
        except UserError as error:
            log.error("a model cannot be loaded", reason=error.sentence())
            return False
        except Exception:
            log.exception("loading the models failed")
            return False
        return True

    def _live(self) -> None:
        """Tell the other workers every ten seconds that this one lives, and look after what was lost."""
        if time.monotonic() - self._beat > workers.DEAD_AFTER_S / 6:
            self._beat = time.monotonic()
            workers.beat(self._parts.registry, self._parts.settings.worker_id)
            self._take_over()
            self._bury_lost_jobs(SETTLED_S)
            self._sweep()

    def tick(self) -> None:
        """Start everything that is due now."""
        self._live()
        registry = self._parts.registry
        for key, newest in registry.projects_with_events().items():
            self._refresh(key, f"{newest}")
        began = time.monotonic()
        if began >= self._next_look:
            for project in registry.projects():
                try:
                    self._look(project)
                except Exception:  # its own trouble, and no other project's
                    log.exception("looking at a project failed", project=project.key)
            took = time.monotonic() - began
            self._next_look = began + max(LOOK_S, 5 * took)  # a fifth of a core at most

    def _look(self, project: Project) -> None:
        """Start what is due in a project."""
        parts, registry, key = self._parts, self._parts.registry, project.key
        if due.sorting(parts, project):
            self._refresh(key, registry.state(key))
        if due.reconciliation(parts, project):
            self._start("queue", jobs.reconcile, f"reconcile-{key}-{project.reconciled_at:.0f}", key)
        if project.schema is None:
            return
        self._drop_vain_wish(project)
        if due.needs_cold_start(parts, project):
            self._promote(key, "", due.START)
            return
        if version := due.wished(parts, project):
            self._promote(key, version, "asked for")
        elif version := due.unpublished(parts, project):
            self._promote(key, version, "its publication had failed")
        if job_id := due.training(parts, project):
            records.add_job(registry, job_id, key, "retrain", registry.newest_change(key)[0])
            enqueue("train", jobs.train, job_id, key, job_id)

    def _drop_vain_wish(self, project: Project) -> None:
        """Forget that somebody asked for a version that answers something else by now; else it would come one day."""
        name = records.wished(self._parts.registry, project.key)
        if name is not None and due.wished(self._parts, project) is None:
            log.warning("the version that was asked for does not fit any more", project=project.key, version=name)
            records.drop_wish(self._parts.registry, project.key, name)

    def _refresh(self, key: str, cause: str) -> None:
        """Start a refresh; what the one that runs does not see causes the next one."""
        self._start("queue", jobs.refresh, f"refresh-{key}-{cause}", key, wait=1.0)

    def _promote(self, key: str, version: str, reason: str) -> None:
        n = len(records.activations(self._parts.registry, key))
        self._start("promote", jobs.promote, f"promote-{key}-{version}-{n}", key, version, reason)

    def _start(
        self, queue: str, workflow: Callable[..., Any], workflow_id: str, key: str, *args: str, wait: float = RETRY_S
    ) -> None:
        """Start a workflow of a project unless one of its kind runs. One that failed is tried again after ``wait``
        seconds, and after twice as long each time, up to half a minute; at once for something else."""
        kind = (workflow.__name__, key)
        before = self._started.get(kind)
        status = _status(before.handle) if before else None
        failed = before is not None and before.args == args and status not in (None, "SUCCESS")
        if before and (status in UNFINISHED or (failed and time.monotonic() - before.at < before.wait)):
            return
        if before and failed:
            wait = min(2 * before.wait, RETRY_S)
        self._started[kind] = _Start(enqueue(queue, workflow, _unused(workflow_id), key, *args), args, wait)

    def _end_former(self) -> None:
        """Workflows of other steps are taken up by nobody, and keep their project's turn: end them. What they were for
        is derived again."""
        for status in DBOS.list_workflows(status=list(UNFINISHED), load_input=False):
            if status.app_version not in (None, STEPS):
                log.warning("ending a workflow of another release", workflow=status.workflow_id)
                DBOS.cancel_workflow(status.workflow_id)

    def _bury_lost_jobs(self, older_s: float = 0.0) -> None:
        """Jobs that will never end, for so long at least: say so. The engine does not know them (its database was
        deleted, or it could not take them), they were ended, their end was not written down, or they failed. All but
        the last are asked for again."""
        registry = self._parts.registry
        for job in records.active_jobs(registry):
            if any(e.payload.get("job") == job.id for e in registry.waiting_events(job.project)):
                continue
            status = DBOS.get_workflow_status(job.id)
            if status is not None and status.status in UNFINISHED:
                continue
            known = records.job(registry, job.id)  # it may have ended since it was listed
            if known is None or known.state not in JOB_ACTIVE or now() - known.updated_at < older_s:
                continue
            lost = status is None or status.status in ("CANCELLED", "SUCCESS")
            message = (
                "Lost at a restart; another one takes its place."
                if lost
                else "Ended with an error; the worker's log has the details."
            )
            records.update_job(registry, job.id, state="failed", progress=1.0, message=message)
            if lost:
                request_training(self._parts, job.project)

    def _take_over(self) -> None:
        """Resume the workflows of workers that died."""
        for worker in workers.dead(self._parts.registry):
            for status in DBOS.list_workflows(status="PENDING", executor_id=worker, load_input=False):
                log.warning("taking over", workflow=status.workflow_id, worker=worker)
                DBOS.resume_workflow(status.workflow_id)
            self._end_former()
            self._bury_lost_jobs()
            workers.forget(self._parts.registry, worker)

    def _sweep(self) -> None:
        """Forget workflows that ended a day ago, and what failed trainings left."""
        retrain.sweep(self._parts, KEEP_WORKFLOWS_S)
        limit = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now() - KEEP_WORKFLOWS_S))
        old = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"], end_time=limit, limit=500, load_input=False, load_output=False
        )
        if old:
            DBOS.delete_workflows([w.workflow_id for w in old])


def _status(handle: WorkflowHandle[Any]) -> str | None:
    """What the engine says of a workflow; None where it ended so long ago that it is forgotten."""
    status = DBOS.get_workflow_status(handle.workflow_id)
    return None if status is None else status.status


def _unused(workflow_id: str) -> str:
    """This id, or another one where the workflow that has it ended; else it is the one that a restart took up."""
    ended = DBOS.get_workflow_status(workflow_id)
    return workflow_id if ended is None or ended.status in UNFINISHED else f"{workflow_id}-{int(now())}"
