"""What starts the workflows. Nothing has to be remembered: a worker looks a few times a second at what is due, which
follows from the database alone, so nothing is lost if a start is missed."""

import threading
import time
from typing import Any

from dbos import DBOS, DBOSConfig, WorkflowHandle

from backend.pipeline import due, jobs, retrain
from backend.pipeline.jobs import POLL_S, STEPS, UNFINISHED, enqueue, unfinished
from backend.pipeline.parts import Parts
from backend.pipeline.requests import request_training
from backend.registry import versions as records
from backend.registry import workers
from backend.registry.database import now
from backend.registry.records import Project
from backend.telemetry import logger

log = logger("worker")

TICK_S = 0.2
RETRY_S = 30
KEEP_WORKFLOWS_S = 24 * 3600


class Worker:
    """Runs the workflows of this process and starts what is due."""

    def __init__(self, wired: Parts) -> None:
        self._parts = wired
        self._refreshing: dict[str, WorkflowHandle[Any]] = {}
        self._promoting: dict[str, tuple[WorkflowHandle[Any], float, str]] = {}
        self._caused: dict[str, str] = {}
        self._beat = 0.0

    def start(self) -> None:
        """Open the job engine; workflows that were interrupted go on."""
        jobs.wire(self._parts)
        settings = self._parts.settings
        config: DBOSConfig = {
            "name": "ls-active",
            "system_database_url": settings.jobs_database,
            "application_version": STEPS,
            "executor_id": settings.worker_id,
            "log_level": "WARNING",
        }
        DBOS(config=config)
        DBOS.launch()
        self._end_former()
        DBOS.register_queue("queue", partition_concurrency=1, polling_interval_sec=POLL_S)
        DBOS.register_queue("tidy", partition_concurrency=1)
        DBOS.register_queue("train", partition_concurrency=1, worker_concurrency=1, polling_interval_sec=POLL_S)
        self._bury_lost_jobs()

    def stop(self) -> None:
        """Close the job engine; what runs is taken up again at the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=0)

    def run(self, stop: threading.Event) -> None:
        """Tick until ``stop`` is set. An error in one tick is logged; the next tick tries again."""
        while not stop.wait(TICK_S):
            try:
                self.tick()
            except Exception:
                log.exception("tick failed")
                stop.wait(1.0)

    def tick(self) -> None:
        """Start everything that is due now."""
        registry = self._parts.registry
        if now() - self._beat > workers.DEAD_AFTER_S / 6:
            self._beat = now()
            workers.beat(registry, self._parts.settings.worker_id)
            self._take_over()
            self._sweep()
        for key, newest in registry.projects_with_events().items():
            self._start_refresh(key, f"{newest}")
        for project in registry.projects():
            if due.sorting(self._parts, project):
                self._start_refresh(project.key, registry.state(project.key))
            if due.reconciliation(self._parts, project):
                period = int(now() / self._parts.settings.reconcile_seconds)
                enqueue("queue", jobs.reconcile, f"reconcile-{project.key}-{period}", project.key)
            if project.schema is None:
                continue
            self._drop_vain_wish(project)
            if due.needs_cold_start(self._parts, project):
                self._promote(project.key, "", due.START)
            elif version := due.wished(self._parts, project):
                self._promote(project.key, version, "asked for")
            elif version := due.unpublished(self._parts, project):
                self._promote(project.key, version, "its publication had failed")
            elif job_id := due.training(self._parts, project):
                records.add_job(registry, job_id, project.key, "retrain", registry.newest_change(project.key)[0])
                enqueue("train", jobs.train, job_id, project.key, job_id)

    def _drop_vain_wish(self, project: Project) -> None:
        """Forget that somebody asked for a version that answers something else by now; else it would come one day."""
        name = records.wished(self._parts.registry, project.key)
        if name is not None and due.wished(self._parts, project) is None:
            log.warning("the version that was asked for does not fit any more", project=project.key, version=name)
            records.drop_wish(self._parts.registry, project.key, name)

    def _start_refresh(self, key: str, cause: str) -> None:
        """Start a refresh unless one runs; what it did not see causes the next one."""
        running = self._refreshing.get(key)
        if running is not None and unfinished(running):
            return
        failed = self._caused.get(key) == cause
        suffix = f"-{int(now())}" if failed else ""
        self._refreshing[key] = enqueue("queue", jobs.refresh, f"refresh-{key}-{cause}{suffix}", key)
        self._caused[key] = cause

    def _promote(self, key: str, version: str, reason: str) -> None:
        """Start a promotion, after the one that runs; one that failed is tried again after half a minute."""
        handle, started, former = self._promoting.get(key, (None, 0.0, ""))
        status = None if handle is None else DBOS.get_workflow_status(handle.workflow_id)
        if status is not None and status.status in UNFINISHED:
            return
        failed = status is not None and status.status != "SUCCESS"
        if failed and former == version and now() - started < RETRY_S:
            return
        n = len(records.activations(self._parts.registry, key))
        workflow_id = f"promote-{key}-{version}-{n}"
        ended = DBOS.get_workflow_status(workflow_id)
        if ended is not None and ended.status not in UNFINISHED:  # else the one that a restart took up
            workflow_id += f"-{int(now())}"
        self._promoting[key] = (enqueue("train", jobs.promote, workflow_id, key, version, reason), now(), version)

    def _end_former(self) -> None:
        """Workflows of other steps are taken up by nobody, and keep their project's turn: end them. What they were for
        is derived again."""
        for status in DBOS.list_workflows(status=list(UNFINISHED), load_input=False):
            if status.app_version not in (None, STEPS):
                log.warning("ending a workflow of another release", workflow=status.workflow_id)
                DBOS.cancel_workflow(status.workflow_id)

    def _bury_lost_jobs(self) -> None:
        """Jobs that the engine does not know (its database was deleted), that were ended or that failed with it will
        never end: say so. The first two are asked for again."""
        registry = self._parts.registry
        for job in records.active_jobs(registry):
            if any(e.payload.get("job") == job.id for e in registry.waiting_events(job.project)):
                continue
            status = DBOS.get_workflow_status(job.id)
            if status is not None and status.status in (*UNFINISHED, "SUCCESS"):
                continue
            lost = status is None or status.status == "CANCELLED"
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
