"""The durable workflows and what starts them: the only module that knows the job engine (DBOS).

Three queues, all partitioned by project so that within a project one thing happens at a time:

- ``queue``: refresh, publish, reconcile — short, they touch Label Studio's queue;
- ``train``: trainings and the encoding of pools — long, they touch nothing an annotator sees;
- ``tidy``: deleting what former versions left in Label Studio, one row at a time, and writing texts that are missing.

A workflow that was interrupted goes on at its first unfinished step. Nothing is lost if a start is missed: the ticks
derive what is due from the database alone.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID, WorkflowHandle
from dbos import error as engine_errors

from backend.errors import StudioError, UserError
from backend.pipeline import due, mirror, publish, retrain
from backend.pipeline.encode import encode_pool, forget_features
from backend.pipeline.parts import Parts
from backend.pipeline.requests import request_training
from backend.registry import versions as records
from backend.registry import workers
from backend.registry.database import now
from backend.registry.records import Project
from backend.telemetry import logger

log = logger("jobs")
T = TypeVar("T")

TICK_S = 0.2
POLL_S = 0.1
ATTEMPTS = {"max_attempts": 4, "interval_seconds": 1.0}  # of a step; each wait is twice the one before
RETRY_S = 30
KEEP_WORKFLOWS_S = 24 * 3600
STEPS = "2"  # raised when the steps of a workflow change: one that was interrupted before cannot go on then
UNFINISHED = ("PENDING", "ENQUEUED", "DELAYED")

_wired: list[Parts] = []


def parts() -> Parts:
    """The parts of this worker; workflows are plain functions and find them here."""
    return _wired[0]


def _retry(error: BaseException) -> bool:
    return isinstance(error, StudioError)


def _step(name: str, call: Callable[..., T], *args: Any) -> T:
    """Run a step; calls to Label Studio that failed are tried again, other errors are not. Raises the last error."""
    options = {"name": name, "retries_allowed": True, "should_retry": _retry, **ATTEMPTS}
    try:
        result: T = DBOS.run_step(options, call, *args)  # type: ignore[call-overload]
    except engine_errors.DBOSMaxStepRetriesExceeded as error:
        raise error.errors[-1] from None
    return result


# -------------------------------------------------------------------------------------------------------- workflows
@DBOS.workflow()
def refresh(key: str) -> None:
    """Apply what Label Studio told, and re-sort the top of the queue."""
    applied = _step("apply", _apply, key)
    for job_id in applied["trainings"]:
        _enqueue("train", train, job_id, key, job_id)
    _step("mark", lambda: parts().registry.mark_applied(key, applied["events"]))
    _step("resort", _resort, key, applied["oldest_answer"], False)
    _write_later(key)


@DBOS.workflow()
def reconcile(key: str) -> None:
    """Compare with Label Studio, and re-sort if anything differed or the queue is not in our order."""
    differed = _step("compare", lambda: mirror.reconcile(parts(), key))
    if differed or not _step("check", lambda: publish.check_order(parts(), key)):
        _step("resort", _resort, key, 0.0, True)


@DBOS.workflow()
def train(key: str, job_id: str) -> None:
    """Snapshot, train, evaluate, gate; publish what passed."""
    try:
        started = _step("start", _started, job_id)
        snapshot = _step("snapshot", lambda: retrain.take_snapshot(parts(), key))
        learned = _step("train", _learned, key, job_id, snapshot)
        snapshot, verdict = learned["snapshot"], learned["verdict"]
        if verdict["activate"]:
            _step("encode", lambda: encode_pool(parts(), key, verdict["version"], _progress(job_id, 0.6, 0.95)))
            _publish(key, verdict["version"], verdict["message"])
        _step("finish", lambda: _finish(key, job_id, snapshot, verdict["message"], started))
    except UserError as error:
        message = error.sentence()
        _step("fail", lambda: _note(job_id, "failed", 1.0, message))
        log.warning("training ended without a version", project=key, job=job_id, reason=message)
    except Exception:
        _step("fail", lambda: _note(job_id, "failed", 1.0, "An unexpected error; the worker's log has the details."))
        raise


@DBOS.workflow()
def promote(key: str, version: str, reason: str) -> None:
    """Make a version that exists the active one: promotion, rollback and the cold start (no ``version``) are the same.
    While Label Studio cannot be reached, the ticks start it again."""
    try:
        version = version or _step("begin", _begin, key)
        _step("encode", lambda: encode_pool(parts(), key, version, lambda *_: None))
        _publish(key, version, reason)
    except StudioError:
        raise
    except Exception:
        _step("drop", lambda: records.drop_wish(parts().registry, key, version))
        raise


@DBOS.workflow()
def publish_version(key: str, version: str, reason: str) -> None:
    """Plan, push, switch, and check the order with Label Studio; what is old is deleted later."""
    name = _step("name", lambda: records.publication_name(parts().registry, key, version))
    start = _step("clock", now)
    if not _step("plan", _plan, key, version, name):
        log.warning("no task to publish", project=key, version=version)
    _step("push", lambda: publish.push(parts(), key, version, name))
    _step("switch", lambda: publish.switch(parts(), key, version, name, reason))
    _step("resort", _resort, key, 0.0, True)
    _write_later(key)
    _step("time", lambda: records.add_timing(parts().registry, key, "publish", now() - start))
    _enqueue("tidy", tidy, f"tidy-{DBOS.workflow_id}", key)


@DBOS.workflow()
def tidy(key: str) -> None:
    """Delete what former versions left, slowly."""
    _step("clean up", lambda: publish.clean_up(parts(), key))


@DBOS.workflow()
def write(key: str) -> None:
    """Write texts for tasks that came to the top, which takes seconds for each."""
    _step("write", lambda: publish.write_more(parts(), key))


def _write_later(key: str) -> None:
    """Start writing where tasks at the top have no text; nobody waits for it."""
    if _step("look for texts", lambda: len(publish.without_text(parts(), key))):
        _enqueue("tidy", write, f"write-{DBOS.workflow_id}", key)


def _publish(key: str, version: str, reason: str) -> None:
    """Publish in the project's turn, then drop the features of versions that were replaced.

    Not in ``tidy``, which may run while the next version's features are computed: here this worker's only workflow of
    the ``train`` queue is the caller.
    """
    workflow_id = f"publish-{DBOS.workflow_id}"
    _enqueue("queue", publish_version, workflow_id, key, version, reason).get_result(polling_interval_sec=POLL_S)
    _step("forget features", lambda: forget_features(parts()))


# ------------------------------------------------------------------------------------------------------------ steps
def _apply(key: str) -> dict[str, Any]:
    applied = mirror.apply_events(parts(), key)
    return {
        "events": list(applied.events),
        "oldest_answer": applied.oldest_answer,
        "trainings": list(applied.trainings),
    }


def _resort(key: str, oldest_answer: float, even_if_unchanged: bool) -> int:
    project = parts().registry.project(key)
    if project is None or project.schema is None or due.needs_cold_start(parts(), project):
        return 0
    if not (even_if_unchanged or due.sorting(parts(), project)):
        return 0
    if active := records.active(parts().registry, key):
        _encode_here(project, active.version)
    moved = publish.resort(parts(), key)
    if oldest_answer:
        records.add_timing(parts().registry, key, "refresh", now() - oldest_answer)
    if parts().registry.waiting_events(key, limit=1):
        return len(moved)  # the next refresh looks
    if not publish.check_order(parts(), key):
        publish.mend(parts(), key)
        publish.check_order(parts(), key)
    return len(moved)


def _encode_here(project: Project, name: str) -> None:
    """Compute the features of a version where another worker has done it: each has its own."""
    store = parts().features.of(publish.load(parts(), project, name))
    table = parts().pools.table(parts().registry, project, parts().settings.audit_share)
    if not (store.whole(project.key) and store.present(table.items).any()):
        encode_pool(parts(), project.key, name, lambda *_: None)


def _begin(key: str) -> str:
    return retrain.starting_version(parts(), parts().registry.must_project(key))


def _plan(key: str, version: str, name: str) -> int:
    _encode_here(parts().registry.must_project(key), version)
    return publish.plan(parts(), key, version, name)


def _learned(key: str, job_id: str, snapshot: dict[str, Any]) -> dict[str, Any]:
    """Train and register. The snapshot that was trained on is a new one where the worker that had it died."""
    if not Path(snapshot["path"]).exists():
        snapshot = retrain.take_snapshot(parts(), key)
    location = retrain.train(parts(), key, snapshot, _progress(job_id, 0.0, 0.6))
    return {"snapshot": snapshot, "verdict": retrain.register(parts(), key, snapshot, location)}


def _started(job_id: str) -> float:
    _note(job_id, "running", 0.0, "reading the labels")
    return now()


def _finish(key: str, job_id: str, snapshot: dict[str, Any], message: str, started: float) -> None:
    retrain.discard(parts(), snapshot)
    records.add_timing(parts().registry, key, "retrain", now() - started)
    _note(job_id, "done", 1.0, message)


def _note(job_id: str, state: str, progress: float, message: str) -> None:
    records.update_job(parts().registry, job_id, state=state, progress=progress, message=message)


def _progress(job_id: str, low: float, high: float) -> Callable[[float, str], None]:
    """Report a part of a job's progress, at most twice a second."""
    last = [0.0]

    def report(progress: float, message: str) -> None:
        if time.monotonic() - last[0] > 0.5:
            last[0] = time.monotonic()
            _note(job_id, "running", low + (high - low) * progress, message)

    return report


def _enqueue(queue: str, workflow: Callable[..., Any], workflow_id: str, key: str, *args: Any) -> WorkflowHandle[Any]:
    """Enqueue for a project; an id that was used already gives the workflow that has it."""
    with SetWorkflowID(workflow_id), SetEnqueueOptions(queue_partition_key=key):
        return DBOS.enqueue_workflow(queue, workflow, key, *args)


def _unfinished(handle: WorkflowHandle[Any]) -> bool:
    """Whether a workflow waits or runs; one that ended long ago is no longer known."""
    status = DBOS.get_workflow_status(handle.workflow_id)
    return status is not None and status.status in UNFINISHED


# ----------------------------------------------------------------------------------------------------------- worker
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
        _wired[:] = [self._parts]
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
                _enqueue("queue", reconcile, f"reconcile-{project.key}-{period}", project.key)
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
                _enqueue("train", train, job_id, project.key, job_id)

    def _drop_vain_wish(self, project: Project) -> None:
        """Forget that somebody asked for a version that answers something else by now; else it would come one day."""
        name = records.wished(self._parts.registry, project.key)
        if name is not None and due.wished(self._parts, project) is None:
            log.warning("the version that was asked for does not fit any more", project=project.key, version=name)
            records.drop_wish(self._parts.registry, project.key, name)

    def _start_refresh(self, key: str, cause: str) -> None:
        """Start a refresh unless one runs; what it did not see causes the next one."""
        running = self._refreshing.get(key)
        if running is not None and _unfinished(running):
            return
        failed = self._caused.get(key) == cause
        suffix = f"-{int(now())}" if failed else ""
        self._refreshing[key] = _enqueue("queue", refresh, f"refresh-{key}-{cause}{suffix}", key)
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
        self._promoting[key] = (_enqueue("train", promote, workflow_id, key, version, reason), now(), version)

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
