"""Predictions for tasks that Label Studio sends: one for each, in order, from the models in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.errors import UserError
from backend.pipeline.parts import Parts
from backend.pipeline.publish import PREVIEW, served_score
from backend.pipeline.suggestions import show_above
from backend.problems.schema import Item, Output, Schema
from backend.problems.version import Version
from backend.registry import versions as records
from backend.registry.records import Activation, Project
from backend.studio.codec import decode, encode_prediction, read_item
from backend.telemetry import logger

log = logger("predict")

# Tasks predicted in one turn at the model: a call with thousands of tasks lets others in between.
TURN = 64


def predict(
    parts: Parts,
    project: Project | None,
    schema: Schema,
    tasks: Sequence[tuple[int | None, Mapping[str, Any]]],
    *,
    above: float | None = None,
    context: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Label Studio predictions of tasks given as (task id, data).

    The active version answers where it knows this schema; else the base model with label names, under a name of its
    own, so that Label Studio asks again as soon as there is a version. A task of the published window keeps its
    published score, whatever the model says now: the queue's order is not changed by looking at a task.
    A suggestion whose confidence does not exceed ``above`` is left blank; by default its control's threshold decides.
    ``context``: the regions that an annotator who is working on the only task has made so far; where they change what
    is said of a control, that alone is answered, and all of it: the annotator asked.
    """
    limits = show_above(parts, project, schema) if above is None else above
    active = _active(parts, project, schema)
    name = active.name if active else PREVIEW
    places = _places(parts, project, active, [task_id for task_id, _ in tasks])
    items, reasons = _items(parts, schema, tasks)
    with parts.host.admitted():
        guided = _guided(parts, project, schema, active, items, context) if len(tasks) == 1 else {}
        said = {} if guided else _said(parts, project, schema, active, items)
    if guided:
        return [encode_prediction(schema, guided, items[0], served_score(0.0), name)]
    found = []
    for at, (task_id, _) in enumerate(tasks):
        if at not in said:
            log.info("task cannot be predicted", task=task_id, reason=reasons[at])
            found.append(encode_prediction(schema, {}, None, served_score(0.0), name))
            continue
        outputs, worth = said[at]
        score = places.get(task_id, served_score(worth)) if task_id is not None else served_score(worth)
        found.append(encode_prediction(schema, outputs, items[at], score, name, above=limits))
    return found


def _active(parts: Parts, project: Project | None, schema: Schema) -> Activation | None:
    """The project's activation, where its version was made for this schema."""
    if project is None:
        return None
    active = records.active(parts.registry, project.key)
    row = records.version(parts.registry, project.key, active.version) if active else None
    return active if row is not None and row.schema_hash == schema.hash and parts.host.fits(row) else None


def _places(
    parts: Parts, project: Project | None, active: Activation | None, task_ids: Sequence[int | None]
) -> dict[int, float]:
    if project is None or active is None:
        return {}
    return records.published_scores(parts.registry, project.key, active.name, [i for i in task_ids if i is not None])


def _items(
    parts: Parts, schema: Schema, tasks: Sequence[tuple[int | None, Mapping[str, Any]]]
) -> tuple[dict[int, Item], dict[int, str]]:
    """(position -> item, position -> why there is none)."""
    items: dict[int, Item] = {}
    reasons: dict[int, str] = {}
    for at, (_, data) in enumerate(tasks):
        try:
            item = read_item(schema, data)
        except UserError as error:
            reasons[at] = str(error)
            continue
        if len(item.text) > parts.settings.max_text_chars:
            reasons[at] = (
                f"{len(item.text)} characters; at most MAX_TEXT_CHARS = {parts.settings.max_text_chars} are read"
            )
        else:
            items[at] = item
    return items, reasons


def _said(
    parts: Parts, project: Project | None, schema: Schema, active: Activation | None, items: Mapping[int, Item]
) -> dict[int, tuple[dict[str, Output], float]]:
    """Position -> (control -> output, what a label is worth). Tasks go through the model in order of length, a turn at
    a time."""
    if not items:
        return {}
    version = _version(parts, project, schema, active).within(parts.settings.text_seconds)
    order = sorted(items, key=lambda at: (len(items[at].text), at))
    found: dict[int, tuple[dict[str, Output], float]] = {}
    for start in range(0, len(order), TURN):
        part = order[start : start + TURN]
        with parts.host.turn():
            rows, by_control = version.rows_and_outputs([items[at] for at in part])
        worth = version.judge.worth(rows)
        for i, at in enumerate(part):
            found[at] = ({name: outputs[i] for name, outputs in by_control.items()}, float(worth[i]))
    return found


def _guided(
    parts: Parts,
    project: Project | None,
    schema: Schema,
    active: Activation | None,
    items: Mapping[int, Item],
    context: Sequence[Mapping[str, Any]],
) -> dict[str, Output]:
    """What is said of the only item in the light of what its annotator has answered so far."""
    given = decode(schema, [{"result": list(context)}], items[0]) if context and items else None
    if not given:
        return {}
    version = _version(parts, project, schema, active).within(parts.settings.text_seconds)
    with parts.host.turn():
        return version.guided(items[0], given)


def _version(parts: Parts, project: Project | None, schema: Schema, active: Activation | None) -> Version:
    if project is not None and active is not None:
        return parts.host.version(project.key, active.version, schema)
    return parts.host.cold(schema)
