"""The ML backend protocol of Label Studio: every route it calls, and those that other clients of the protocol know."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from backend import __version__
from backend.errors import NotFound, TooLarge, UnsupportedConfig, UserError
from backend.pipeline import predict as predicting
from backend.pipeline import publish
from backend.pipeline.parts import Parts
from backend.pipeline.requests import request_training
from backend.problems.schema import Schema
from backend.registry import versions as records
from backend.registry.records import Project
from backend.studio.identity import project_id, project_key
from backend.studio.objects import HALF_A_PAIR
from backend.studio.schema import parse_schema
from backend.telemetry import EVENTS, PREDICTED, logger
from backend.web import messages

log = logger("protocol")
router = APIRouter()


def get_parts(request: Request) -> Parts:
    """The parts the application was built from."""
    parts: Parts = request.app.state.parts
    return parts


Wired = Annotated[Parts, Depends(get_parts)]


@router.get("/")
@router.get("/health")
async def health() -> dict[str, str]:
    """Alive. Touches nothing: Label Studio asks before every ``/setup`` and waits one second."""
    return {"status": "UP", "model_class": "ls-active", "version": __version__}


@router.post("/setup")
def setup(body: messages.Setup, parts: Wired) -> dict[str, str]:
    """The version whose predictions are current. Label Studio asks all the time: this reads the database only, and
    leaves a note for the worker when the project is new or asks something else than before."""
    schema_of(body.label_config)
    project = find_project(parts, body.project)
    key = project.key if project else _new_key(body.project)
    if project is None or project.label_config != body.label_config:
        parts.registry.add_event(key, "SETUP", {"project": {"label_config": body.label_config}})
    active = records.active(parts.registry, key)
    return {"model_version": active.name if active else publish.PREVIEW}


@router.post("/predict")
def predict(body: messages.Predict, parts: Wired) -> dict[str, Any]:
    """Exactly one result for each task, in order; an empty one where a task cannot be predicted."""
    limit = parts.settings.max_tasks
    if len(body.tasks) > limit:
        raise TooLarge(f"{len(body.tasks)} tasks in one call; at most {limit} are taken.", "Or set MAX_TASKS.")
    project = find_project(parts, body.project)
    if project is None and body.project and not body.label_config:
        raise NotFound(
            f"Project {body.project!r} is not known here.",
            "Send its label_config along, or connect it first: `ls-active connect PROJECT`.",
        )
    config = body.label_config or (project.label_config if project else "")
    schema = schema_of(config)
    tasks = [(task.id, task.data) for task in body.tasks]
    above = body.params.suggest_above if body.params else None
    context = body.params.regions if body.params else []
    found = predicting.predict(parts, project, schema, tasks, above=above, context=context)
    PREDICTED.inc(len(tasks))
    return {"results": found, "model_version": found[0]["model_version"] if found else publish.PREVIEW}


@router.post("/webhook", status_code=201)
def webhook(body: messages.Webhook, request: Request, parts: Wired) -> dict[str, Any]:
    """Store the event and answer; the worker does the rest. Label Studio waits one second and never asks again."""
    credentials = request.scope.get("state", {})
    trusted = credentials.get("secret") or credentials.get("basic")
    if not trusted and body.action != "START_TRAINING":
        raise Forbidden("The webhook's secret is missing or wrong.", "`ls-active connect PROJECT` sets the header.")
    return accept_event(parts, body)


@router.post("/train", status_code=201)
def train(body: messages.ProjectOnly, parts: Wired) -> dict[str, str]:
    """Ask for a training now; the id of its job."""
    return {"job": request_training(parts, must_find(parts, body.project).key)}


@router.get("/versions")
@router.post("/versions")
def versions(parts: Wired, project: str | None = None) -> dict[str, list[str]]:
    """Names of versions, newest first; Label Studio asks without naming a project, so of all."""
    keys = [must_find(parts, project).key] if project else [p.key for p in parts.registry.projects()]
    names = [a.name for key in keys for a in reversed(records.activations(parts.registry, key))]
    return {"versions": list(dict.fromkeys(names))}


@router.post("/job_status")
def job_status(body: messages.JobStatus, parts: Wired) -> dict[str, Any]:
    """State (``queued``, ``running``, ``done``, ``failed``), progress in [0, 1] and a sentence."""
    job = records.job(parts.registry, body.job)
    if job is None:
        raise NotFound(f"There is no job {body.job!r}.", "`ls-active status PROJECT` shows the newest.")
    return {
        "job": job.id,
        "status": job.state,
        "job_status": job.state,
        "progress": round(job.progress, 4),
        "message": job.message,
        "created_at": job.created_at,
    }


@router.get("/is_training")
def is_training(parts: Wired, project: str | None = None) -> dict[str, bool]:
    """Whether a training is queued or running, in one project or in any."""
    key = must_find(parts, project).key if project else None
    return {"is_training": bool(records.active_jobs(parts.registry, key))}


@router.post("/validate")
def validate(body: messages.ValidateConfig) -> dict[str, str]:
    """Whether a label config can be learned; 422 with a sentence that names the tag where it cannot."""
    schema_of(body.config or body.label_config or "")
    return {"status": "ok"}


@router.post("/delete")
def delete(body: messages.ProjectOnly, parts: Wired) -> dict[str, str]:
    """Forget a project. Annotations are Label Studio's and stay there; trained versions stay in the storage."""
    project = must_find(parts, body.project)
    parts.registry.forget_project(project.key)
    return {"status": "deleted"}


@router.post("/duplicate_model")
def duplicate_model() -> dict[str, str]:
    """A copied project gets versions of its own from its own annotations: there is nothing to copy."""
    return {"status": "ok"}


# ---------------------------------------------------------------------------------------------------------- helpers
def accept_event(parts: Parts, body: messages.Webhook) -> dict[str, Any]:
    """Write an event down for the worker. Raises BadEvent for one that could not be applied."""
    EVENTS.labels(body.action if body.action in KNOWN_ACTIONS else "other").inc()
    if body.action not in KNOWN_ACTIONS:
        return {"status": "ignored", "reason": f"{body.action} changes nothing here"}
    key = project_key(body.project)
    if body.action != "START_TRAINING":
        return {"status": "ok", "event": parts.registry.add_event(key, body.action, _essence(body))}
    if parts.registry.project(key) is None:
        raise NotFound("This project is not known yet.", "Open it in Label Studio once, or run `ls-active connect`.")
    return {"status": "ok", "job": request_training(parts, key)}


KNOWN_ACTIONS = frozenset(
    {
        "START_TRAINING",
        "TASKS_CREATED",
        "TASKS_DELETED",
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATIONS_DELETED",
        "PROJECT_UPDATED",
    }
)


class Forbidden(UserError):
    """A webhook without its secret."""

    status = 401


@lru_cache(maxsize=256)
def _parse(label_config: str) -> Schema | str:
    try:
        return parse_schema(label_config)
    except UserError as error:
        return error.sentence()


def schema_of(label_config: str) -> Schema:
    """The schema of a label config, parsed once. Raises UnsupportedConfig."""
    found = _parse(label_config)
    if isinstance(found, str):
        raise UnsupportedConfig(found)
    return found


def find_project(parts: Parts, name: str | int | None) -> Project | None:
    """A project by Label Studio's key (``"2.1795548626"``) or its number."""
    if name is None or str(name).strip() == "":
        return None
    key = str(name)
    number = project_id(key)
    return parts.registry.project(key) if "." in key else parts.registry.newest_project(number)


def must_find(parts: Parts, name: str | int | None) -> Project:
    """Like :func:`find_project`. Raises NotFound."""
    project = find_project(parts, name)
    if project is None:
        raise NotFound(f"Project {name!r} is not known here.", "Connect it first: `ls-active connect PROJECT`.")
    return project


def _new_key(name: str | int) -> str:
    key = str(name)
    project_id(key)
    if "." not in key:
        raise UserError(f"Project {key!r} is not known.", 'Label Studio names projects "<id>.<time of creation>".')
    return key


def _essence(body: messages.Webhook) -> dict[str, Any]:
    """What the worker needs of an event, in one form for all actions: lists of tasks and of annotations."""
    annotations = _listed(body.annotation) + _listed(body.annotations)
    tasks = _listed(body.task) + _listed(body.tasks)
    keep = ("id", "task", "result", "was_cancelled", "completed_by", "updated_at", "prediction")
    essence: dict[str, Any] = {
        "annotations": [{k: a[k] for k in keep if k in a} for a in annotations],
        "tasks": [{k: t[k] for k in ("id", "data") if k in t} for t in tasks],
    }
    if body.action == "PROJECT_UPDATED":
        essence["project"] = {k: body.project.get(k) for k in ("title", "label_config")}
    _check(body.action, essence)
    return essence


def _listed(value: Mapping[str, Any] | list[dict[str, Any]] | None) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    return [value] if isinstance(value, Mapping) else list(value)


def _check(action: str, essence: Mapping[str, Any]) -> None:
    """Refuse now what the worker could not apply later: an event in the table is always one that can be applied."""
    for kind in ("annotations", "tasks"):
        for item in essence[kind]:
            if not _is_id(item.get("id")):
                raise BadEvent(f"{action}: an item of {kind} has no integer id.")
    if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"):
        for item in essence["annotations"]:
            if lacking := [what for what, fits in _of_annotation(item).items() if not fits]:
                raise BadEvent(f"{action}: annotation {item['id']} needs {lacking[0]}.")
    for item in essence["tasks"]:
        if not isinstance(item.get("data", {}), dict):
            raise BadEvent(f"{action}: the data of task {item['id']} is not an object.")
    for name, value in essence.get("project", {}).items():
        if not _is_text(value):
            raise BadEvent(f"{action}: the {name} of the project is not a text.")


def _of_annotation(item: Mapping[str, Any]) -> dict[str, bool]:
    """What an annotation must have, and whether it does; all but the first two may be missing."""
    who, shown = item.get("completed_by"), item.get("prediction")
    who = who.get("id") if isinstance(who, Mapping) else who
    shown = shown.get("result") if isinstance(shown, Mapping) else shown
    return {
        "an integer task": _is_id(item.get("task")),
        "a list of objects as result": _is_result(item.get("result")),
        "an integer as completed_by": who is None or _is_id(who),
        "a text as updated_at": _is_text(item.get("updated_at")),
        "a list of objects as its prediction's result": shown is None or _is_result(shown),
    }


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_result(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(region, dict) for region in value)


def _is_text(value: object) -> bool:
    """Whether it is missing, or a text that can be stored: without half of a surrogate pair."""
    return value is None or (isinstance(value, str) and not HALF_A_PAIR.search(value))


class BadEvent(UserError):
    """An event that Label Studio would not send."""

    status = 422
