"""The durable workflows. Only this module and :mod:`backend.pipeline.worker` know the job engine (DBOS).

Four queues, all partitioned by project so that within a project one thing of each happens at a time:

- ``queue``: refresh, publish, reconcile — short, they touch Label Studio's queue;
- ``train``: trainings, one at a time — long, they touch nothing an annotator sees;
- ``promote``: the first version and those that somebody asked for, and many new tasks, which wait for nobody's
  training;
- ``tidy``: deleting what former versions left in Label Studio, one row at a time, and writing texts that are missing.

A workflow that was interrupted goes on at its first unfinished step.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID, WorkflowHandle
from dbos import error as engine_errors

from backend.errors import StudioError, UserError
from backend.pipeline import due, mirror, publish, retrain, texts
from backend.pipeline.encode import encode_pool, forget_features
from backend.pipeline.parts import Parts
from backend.pipeline.ranking import new
from backend.pipeline.snapshot import take_snapshot
from backend.registry import versions as records
from backend.registry.database import now
from backend.registry.records import Project
from backend.telemetry import logger

log = logger("jobs")
T = TypeVar("T")

POLL_S = 0.1
ATTEMPTS = {"max_attempts": 4, "interval_seconds": 1.0}  # of a step; each wait is twice the one before
STEPS = "4"  # raised when the steps of a workflow change: one that was interrupted before cannot go on then
UNFINISHED = ("PENDING", "ENQUEUED", "DELAYED")

_wired: list[Parts] = []


def wire(parts: Parts) -> None:
    """Say what the workflows of this process work with."""
    _wired[:] = [parts]


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
        enqueue("train", train, job_id, key, job_id)
    _step("mark", lambda: parts().registry.mark_applied(key, applied["events"]))
    _step("resort", _resort, key, applied["oldest_answer"], False)
    if behind := _step("look for tasks", _behind, key):
        enqueue("promote", encode, f"encode-{key}-{behind}", key)
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
        snapshot = _step("snapshot", lambda: take_snapshot(parts(), key))
        learned = _step("train", _learned, key, job_id, snapshot)
        snapshot, verdict = learned["snapshot"], learned["verdict"]
        if verdict["activate"]:
            _step("encode", lambda: encode_pool(parts(), key, verdict["version"], _progress(job_id, 0.6, 0.95)))
            if _step("look", _chosen_since, key, verdict["version"]):
                verdict["message"] += "; not activated: another version was chosen since"
            else:
                _publish(key, verdict["version"], verdict["message"])
                # not in a promotion, beside which a training may be reading what is dropped
                _step("forget features", lambda: forget_features(parts()))
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
        if not _step("look", _begun_otherwise, key, reason):
            _publish(key, version, reason)
    except StudioError:
        raise
    except Exception:
        _step("drop", lambda: records.drop_wish(parts().registry, key, version))
        raise


@DBOS.workflow()
def publish_version(key: str, version: str, reason: str) -> None:
    """Plan, push, switch, and check the order with Label Studio; what is old is deleted later."""
    name = _step("name", _name, key, version)
    start = _step("clock", now)
    if not _step("plan", _plan, key, version, name):
        log.warning("no task to publish", project=key, version=version)
    _step("push", lambda: publish.push(parts(), key, version, name))
    _step("switch", lambda: publish.switch(parts(), key, version, name, reason))
    _step("resort", _resort, key, 0.0, True)
    _write_later(key)
    _step("time", lambda: records.add_timing(parts().registry, key, "publish", now() - start))
    broken_off = _step("look for what broke off", lambda: records.unfinished(parts().registry, key))
    enqueue("tidy", tidy, f"tidy-{DBOS.workflow_id}", key, broken_off)


@DBOS.workflow()
def tidy(key: str, broken_off: list[str]) -> None:
    """Delete what former versions left, slowly."""
    _step("clean up", lambda: publish.clean_up(parts(), key, broken_off))


@DBOS.workflow()
def encode(key: str) -> None:
    """Compute the features of tasks that are too many for a refresh, and have them sorted in."""
    _step("encode", _catch_up, key)
    _step("unsort", lambda: parts().registry.mark_sorted(key, ""))


@DBOS.workflow()
def write(key: str) -> None:
    """Write texts for tasks that came to the top, which takes seconds for each."""
    _step("write", lambda: texts.write_more(parts(), key))


def _write_later(key: str) -> None:
    """Start writing where tasks at the top have no text; nobody waits for it."""
    if _step("look for texts", lambda: len(texts.without_text(parts(), key))):
        enqueue("tidy", write, f"write-{DBOS.workflow_id}", key)


def _publish(key: str, version: str, reason: str) -> None:
    """Publish in the project's turn."""
    workflow_id = f"publish-{DBOS.workflow_id}"
    enqueue("queue", publish_version, workflow_id, key, version, reason).get_result(polling_interval_sec=POLL_S)


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
    if project is None or project.schema is None or due.active_version(parts(), project) is None:
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


def _behind(key: str) -> str:
    """What the work is called by where tasks came whose features are missing, the same until others are; else empty."""
    project = parts().registry.project(key)
    row = None if project is None or project.schema is None else due.active_version(parts(), project)
    if project is None or row is None:
        return ""
    missing = len(new(parts(), project, publish.load(parts(), project, row.name)))
    return f"{row.name}-{project.tasks_stamp}-{missing}" if missing else ""


def _catch_up(key: str) -> None:
    project = parts().registry.project(key)
    if project is not None and (row := due.active_version(parts(), project)):
        encode_pool(parts(), key, row.name, lambda *_: None)


def _begin(key: str) -> str:
    return retrain.starting_version(parts(), parts().registry.must_project(key))


def _chosen_since(key: str, version: str) -> bool:
    """Whether somebody has chosen another version since this one was registered, which it was not compared with."""
    registry, last = parts().registry, records.active(parts().registry, key)
    row = records.version(registry, key, version)
    chosen = row is not None and last is not None and last.id > row.activation and last.reason != due.START
    return chosen or records.wished(registry, key) not in (None, version)


def _begun_otherwise(key: str, reason: str) -> bool:
    """Whether a first version comes too late: a training was faster."""
    project = parts().registry.project(key)
    return reason == due.START and project is not None and due.active_version(parts(), project) is not None


def _name(key: str, version: str) -> str:
    project = parts().registry.must_project(key)
    return records.publication_name(parts().registry, key, version, parts().studio.model_versions(project.id))


def _plan(key: str, version: str, name: str) -> int:
    _encode_here(parts().registry.must_project(key), version)
    return publish.plan(parts(), key, version, name)


def _learned(key: str, job_id: str, snapshot: dict[str, Any]) -> dict[str, Any]:
    """Train and register. The snapshot that was trained on is a new one where the worker that had it died."""
    if not Path(snapshot["path"]).exists():
        snapshot = take_snapshot(parts(), key)
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


def enqueue(queue: str, workflow: Callable[..., Any], workflow_id: str, key: str, *args: Any) -> WorkflowHandle[Any]:
    """Enqueue for a project; an id that was used already gives the workflow that has it."""
    with SetWorkflowID(workflow_id), SetEnqueueOptions(queue_partition_key=key):
        return DBOS.enqueue_workflow(queue, workflow, key, *args)
