"""Predictions for tasks that Label Studio sends: one for each, in order, from the models in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.errors import UserError
from backend.pipeline.parts import Parts, main_control
from backend.pipeline.publish import PREVIEW, served_score
from backend.pipeline.suggestions import show_above
from backend.problems.schema import Output, Schema
from backend.problems.version import Version
from backend.registry import versions as records
from backend.registry.records import Activation, Project
from backend.studio.codec import encode_prediction, read_text
from backend.telemetry import logger

log = logger("predict")

# Texts predicted in one turn at the model: a call with thousands of tasks lets others in between.
TURN = 64


def predict(
    parts: Parts,
    project: Project | None,
    schema: Schema,
    tasks: Sequence[tuple[int | None, Mapping[str, Any]]],
    *,
    above: float | None = None,
) -> list[dict[str, Any]]:
    """Label Studio predictions of tasks given as (task id, data).

    The active version answers where it knows this schema; else the base model with label names, under a name of its
    own, so that Label Studio asks again as soon as there is a version. A task of the published window keeps its
    published score, whatever the model says now: the queue's order is not changed by looking at a task.
    A suggestion whose confidence does not exceed ``above`` is left blank; by default the project's threshold decides.
    """
    above = show_above(parts, project) if above is None else above
    active = _active(parts, project, schema)
    name = active.name if active else PREVIEW
    places = _places(parts, project, active, [task_id for task_id, _ in tasks])
    texts, reasons = _texts(parts, schema, tasks)
    outputs = _outputs(parts, project, schema, active, texts)
    control, problem = main_control(schema)
    found = []
    for at, (task_id, _) in enumerate(tasks):
        output = outputs.get(at)
        if output is None:
            log.info("task cannot be predicted", task=task_id, reason=reasons[at])
            found.append(encode_prediction(schema, {}, served_score(0.0), name))
            continue
        worth = float(problem.uncertainty([output[control.name]])[0])
        score = places.get(task_id, served_score(worth)) if task_id is not None else served_score(worth)
        found.append(encode_prediction(schema, output, score, name, above=above))
    return found


def _active(parts: Parts, project: Project | None, schema: Schema) -> Activation | None:
    """The project's activation, where its version was made for this schema."""
    if project is None:
        return None
    active = records.active(parts.registry, project.key)
    row = records.version(parts.registry, project.key, active.version) if active else None
    return active if row is not None and row.schema_hash == schema.hash else None


def _places(
    parts: Parts, project: Project | None, active: Activation | None, task_ids: Sequence[int | None]
) -> dict[int, float]:
    if project is None or active is None:
        return {}
    return records.published_scores(parts.registry, project.key, active.name, [i for i in task_ids if i is not None])


def _texts(
    parts: Parts, schema: Schema, tasks: Sequence[tuple[int | None, Mapping[str, Any]]]
) -> tuple[dict[int, str], dict[int, str]]:
    """(position -> text, position -> why there is none)."""
    control, _ = main_control(schema)
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for at, (_, data) in enumerate(tasks):
        try:
            text = read_text(control, data)
        except UserError as error:
            reasons[at] = str(error)
            continue
        if len(text) > parts.settings.max_text_chars:
            reasons[at] = f"{len(text)} characters; at most MAX_TEXT_CHARS = {parts.settings.max_text_chars} are read"
        else:
            texts[at] = text
    return texts, reasons


def _outputs(
    parts: Parts, project: Project | None, schema: Schema, active: Activation | None, texts: Mapping[int, str]
) -> dict[int, dict[str, Output]]:
    """Position -> control -> output. Texts go through the model in order of length, a turn at a time."""
    if not texts:
        return {}
    version = _version(parts, project, schema, active)
    order = sorted(texts, key=lambda at: (len(texts[at]), at))
    found: dict[int, dict[str, Output]] = {}
    for start in range(0, len(order), TURN):
        part = order[start : start + TURN]
        with parts.host.turn():
            by_control = version.predict([texts[at] for at in part])
        for i, at in enumerate(part):
            found[at] = {name: outputs[i] for name, outputs in by_control.items()}
    return found


def _version(parts: Parts, project: Project | None, schema: Schema, active: Activation | None) -> Version:
    if project is not None and active is not None:
        return parts.host.version(project.key, active.version, schema)
    return parts.host.cold(schema)
