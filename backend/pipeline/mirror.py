"""Keep the mirror of tasks and annotations equal to Label Studio: by its events at once, by comparison for the rest.

An event can be lost (Label Studio sends each once and waits one second) and can arrive twice or late; every function
here may be run again and ends in the same state.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import NotFound, UserError
from backend.pipeline.parts import Parts
from backend.problems.schema import Schema
from backend.registry import versions as records
from backend.registry.records import Annotation, Event, Project
from backend.studio.identity import project_id, project_key
from backend.studio.schema import read_config
from backend.telemetry import logger

log = logger("mirror")

TRAIN_ACTIONS = ("START_TRAINING", "TRAIN")
CLOCKS_APART_S = 60.0  # what Label Studio's clock may be behind
ANSWER_ACTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED")


@dataclass(frozen=True)
class Applied:
    """What the waiting events ask for beyond the mirror. ``events``: their numbers; ``oldest_answer``: the Unix time at
    which the first annotation among them arrived; 0 where there was none."""

    events: tuple[int, ...]
    oldest_answer: float
    trainings: tuple[str, ...]


def apply_events(parts: Parts, key: str) -> Applied:
    """Apply all waiting events of a project, in order. They wait until the caller, having seen to what they ask for,
    marks them as applied. Of a project that is not known nothing is kept: once it is, all of it is read."""
    events: list[Event] = []
    known = parts.registry.project(key) is not None
    while portion := parts.registry.waiting_events(key, after=events[-1].id if events else 0):
        for event in portion:
            handler = _HANDLERS.get(event.action, _nothing)
            known = known or handler is _project_changed
            (handler if known else _nothing)(parts, event)
        events += portion
    answers = [e.received_at for e in events if e.action in ANSWER_ACTIONS]
    return Applied(
        events=tuple(e.id for e in events),
        oldest_answer=min(answers, default=0.0),
        trainings=tuple(e.payload.get("job", f"retrain-{key}-{e.id}") for e in events if e.action in TRAIN_ACTIONS),
    )


def save_project(parts: Parts, project: Mapping[str, Any]) -> Project:
    """Remember what Label Studio says of a project (its JSON, or the part of it that /setup sends)."""
    key = project["key"] if "key" in project else project_key(project)
    known = parts.registry.project(key)
    config = project.get("label_config") or (known.label_config if known else "")
    schema, problem = read_schema(config)
    title = project.get("title") or (known.title if known else f"project {project_id(key)}")
    said = (title, config, schema, problem)  # a release may read a config otherwise than the one before
    if known is None or (known.title, known.label_config, known.schema, known.problem) != said:
        parts.registry.save_project(key, project_id(key), *said)
    saved = parts.registry.project(key)
    if saved is None:
        raise RuntimeError(f"project {key} was saved and is not there")
    return saved


def read_schema(label_config: str) -> tuple[Schema | None, str]:
    """The schema, None where the config cannot be learned; and what is not learned or seen of it, in sentences."""
    try:
        found = read_config(label_config)
        return found.schema, " ".join([*found.left_out, found.note]).strip()
    except UserError as error:
        return None, error.sentence()


def annotation_of(value: Mapping[str, Any], task_id: int | None = None) -> Annotation:
    """An annotation as Label Studio's JSON has it, in events, exports and lists alike."""
    task = value.get("task") if task_id is None else task_id
    annotator = value.get("completed_by")
    if isinstance(annotator, Mapping):
        annotator = annotator.get("id")
    shown = value.get("prediction")
    return Annotation(
        annotation_id=int(value["id"]),
        task_id=int(task["id"] if isinstance(task, Mapping) else task),  # type: ignore[arg-type]
        annotator=annotator,
        result=list(value.get("result") or []),
        cancelled=bool(value.get("was_cancelled")),
        updated_at=str(value.get("updated_at") or ""),
        shown={k: shown.get(k) for k in ("id", "model_version", "score", "result")}
        if isinstance(shown, Mapping) and shown
        else None,
    )


# ----------------------------------------------------------------------------------------------------------- events
def _nothing(_: Parts, event: Event) -> None:
    log.debug("event without effect on the mirror", action=event.action, project=event.project)


def _project_changed(parts: Parts, event: Event) -> None:
    save_project(parts, {"key": event.project, **event.payload.get("project", {})})


def _tasks_created(parts: Parts, event: Event) -> None:
    parts.registry.save_tasks(event.project, _tasks(event.payload.get("tasks", ())))


def _tasks_deleted(parts: Parts, event: Event) -> None:
    parts.registry.delete_tasks(event.project, [int(t["id"]) for t in event.payload.get("tasks", ())])


def _annotations_saved(parts: Parts, event: Event) -> None:
    parts.registry.save_tasks(event.project, _tasks(event.payload.get("tasks", ())))
    annotations = [annotation_of(a) for a in event.payload.get("annotations", ())]
    parts.registry.save_annotations(event.project, annotations, changed=event.id)


def _annotations_deleted(parts: Parts, event: Event) -> None:
    parts.registry.delete_annotations(event.project, [int(a["id"]) for a in event.payload.get("annotations", ())])


def _activation_asked(parts: Parts, event: Event) -> None:
    """As former releases wrote it down."""
    records.wish(parts.registry, event.project, str(event.payload.get("version")))


def _tasks(tasks: Iterable[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    return [(int(t["id"]), t.get("data") or {}) for t in tasks]


_HANDLERS: Mapping[str, Callable[[Parts, Event], None]] = {
    "SETUP": _project_changed,
    "PROJECT_UPDATED": _project_changed,
    "TASKS_CREATED": _tasks_created,
    "TASKS_DELETED": _tasks_deleted,
    "ANNOTATION_CREATED": _annotations_saved,
    "ANNOTATION_UPDATED": _annotations_saved,
    "ANNOTATIONS_CREATED": _annotations_saved,
    "ANNOTATIONS_DELETED": _annotations_deleted,
    "ACTIVATE": _activation_asked,
}


# ------------------------------------------------------------------------------------------------------- comparison
def reconcile(parts: Parts, key: str) -> bool:
    """Make the mirror equal to Label Studio; whether anything differed.

    Three cheap numbers of the project tell whether tasks or annotations came or went; annotations that changed since
    the last comparison are asked for by time. A project that Label Studio no longer has is forgotten.
    """
    started = parts.registry.time()
    try:
        remote = parts.studio.project(project_id(key))
    except NotFound:
        remote = None
    if remote is None or project_key(remote) != key:
        log.warning("project is gone from Label Studio; forgetting it", project=key)
        parts.registry.forget_project(key)
        parts.pools.forget(key)
        return False
    before = parts.registry.project(key)
    project = save_project(parts, remote)
    changed = before is None or (before.label_config, before.schema) != (project.label_config, project.schema)
    changed |= _compare_tasks(parts, project, remote)
    changed |= _compare_annotations(parts, project, remote)
    parts.registry.mark_reconciled(key, started)
    return changed


def _compare_tasks(parts: Parts, project: Project, remote: Mapping[str, Any]) -> bool:
    """Save what is new or changed since the last comparison; where the numbers differ then, compare all."""
    new: list[tuple[int, Any]] = []
    if project.reconciled_at:
        since = _since(parts, project)
        new = _save_changed(parts, project, parts.studio.all_tasks(project.id, since), few=since is not None)[0]
        if parts.registry.task_count(project.key) == int(remote.get("task_number") or 0):
            return bool(new)
    more, theirs = _save_changed(parts, project, parts.studio.all_tasks(project.id))
    gone = [i for i in parts.registry.tasks(project.key) if i not in theirs]
    if gone:
        parts.registry.delete_tasks(project.key, gone)
    return bool(new or more or gone)


def _save_changed(
    parts: Parts, project: Project, tasks: Iterable[Mapping[str, Any]], *, few: bool = False
) -> tuple[list[tuple[int, Any]], set[int]]:
    """Those of these tasks that the mirror has not or has otherwise, and the ids of all; ``few``: compared with many in
    the mirror."""
    theirs = {int(t["id"]): t["data"] for t in tasks}
    ours = parts.registry.tasks(project.key, list(theirs) if few else None) if theirs else {}
    new = [(i, data) for i, data in theirs.items() if ours.get(i) != data]
    parts.registry.save_tasks(project.key, new)
    return new, set(theirs)


def _since(parts: Parts, project: Project) -> float | None:
    """Label Studio's changes from then on are looked at: one period more than there was since the last comparison, a
    minute at least. All where there was none, or the clock was set back since."""
    known = 0 < project.reconciled_at <= parts.registry.time()
    return project.reconciled_at - max(parts.settings.reconcile_seconds, CLOCKS_APART_S) if known else None


def _compare_annotations(parts: Parts, project: Project, remote: Mapping[str, Any]) -> bool:
    total = int(remote.get("total_annotations_number") or 0) + int(remote.get("skipped_annotations_number") or 0)
    before = parts.registry.newest_change(project.key)
    _save_labelled(parts, project, parts.studio.labelled(project.id, _since(parts, project)))
    ours = parts.registry.annotation_count(project.key)
    if ours != total:  # something was deleted, or missed for longer than one comparison
        seen = _save_labelled(parts, project, parts.studio.labelled(project.id, None))
        gone = [a.annotation_id for a in parts.registry.annotations(project.key) if a.annotation_id not in seen]
        parts.registry.delete_annotations(project.key, gone)
        return bool(gone) or parts.registry.newest_change(project.key) != before
    return parts.registry.newest_change(project.key) != before


def _save_labelled(parts: Parts, project: Project, tasks: Iterable[Mapping[str, Any]]) -> set[int]:
    found: Sequence[Annotation] = [
        annotation_of(a, int(task["id"])) for task in tasks for a in task.get("annotations") or ()
    ]
    if found:
        parts.registry.save_annotations(project.key, found, changed=parts.registry.next_change(project.key))
    return {a.annotation_id for a in found}
