"""Tasks, annotations and results as Label Studio has them <-> texts, targets and outputs as the rest knows them.

Answers that Label Studio would choke on (a null result, a version that is no string, a score that is no number: the
whole batch is lost and the annotator cannot open the task) cannot be made here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from backend.errors import UserError
from backend.problems.schema import Content, Control, Item, Output, Schema
from backend.studio.kinds import KINDS
from backend.studio.objects import READERS


def read_item(schema: Schema, data: Mapping[str, Any]) -> Item:
    """What a task holds. Raises UserError, with the reason, where no control finds all that it reads.

    Fields of other controls may be missing or empty: these then say nothing of the task.
    """
    contents: dict[str, Content] = {}
    missing: dict[str, UserError] = {}
    shown_by = {name: control for control in reversed(schema.controls) for name in control.shown}
    for name in schema.fields:
        try:
            contents[name] = _content(shown_by.get(name), name, data)
        except UserError as error:
            missing[name] = error
    readable = {n for c in schema.controls if set(c.fields) <= set(contents) for n in c.fields}
    if not readable:
        raise next(iter(missing.values()))
    return Item({name: contents[name] for name in schema.fields if name in readable})


def _content(control: Control | None, name: str, data: Mapping[str, Any]) -> Content:
    """What a field holds, as the control reads it whose object tag shows it; a plain text where there is none."""
    if not isinstance(data, Mapping) or name not in data:
        raise UserError(f"The task's data has no field {name!r}.")
    if control is None:
        return READERS["text"](name, data[name], {})
    return READERS[control.object](name, data[name], control.options)


def decode(schema: Schema, annotations: Sequence[Mapping[str, Any]], item: Item | None = None) -> dict[str, Any] | None:
    """Targets of one task by control name, made of all its annotations; None where nobody answered usably.

    Each annotator has one vote: the newest annotation that was not cancelled. ``item``: what the task holds, for
    controls whose answers are places in it.
    """
    return _combined(schema, list(_newest_by_annotator(annotations).values()), item) or None


def decode_each(
    schema: Schema, annotations: Sequence[Mapping[str, Any]], item: Item | None = None
) -> dict[Any, dict[str, Any]]:
    """Annotator -> what :func:`decode` makes of that person's answer alone; those without a usable one are left out."""
    alone = {who: _combined(schema, [a], item) for who, a in _newest_by_annotator(annotations).items()}
    return {who: targets for who, targets in alone.items() if targets}


def _combined(schema: Schema, annotations: Sequence[Mapping[str, Any]], item: Item | None) -> dict[str, Any]:
    targets = {}
    for control in schema.controls:
        kind = KINDS[control.kind]
        said = [(_regions(control, annotation), annotation["result"]) for annotation in annotations]
        # results of another control, or relations of its regions, are no empty answer to this one
        votes = [kind.decode(control, regions, item) for regions, result in said if regions or not result]
        usable = [vote for vote in votes if vote is not None]
        if usable:
            targets[control.name] = kind.combine(control, usable)
    return targets


def _newest_by_annotator(annotations: Sequence[Mapping[str, Any]]) -> dict[Any, Mapping[str, Any]]:
    given = [a for a in annotations if not a.get("was_cancelled") and isinstance(a.get("result"), list)]
    by_annotator: dict[Any, Mapping[str, Any]] = {}
    for annotation in sorted(given, key=lambda a: (str(a.get("updated_at") or ""), _number(a.get("id")))):
        by_annotator[_annotator(annotation)] = annotation
    return by_annotator


def _annotator(annotation: Mapping[str, Any]) -> Any:
    """Who answered. An export has a dict for it; an answer whose author was deleted counts as a person of its own."""
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("id")
    return who if isinstance(who, int | str) else ("annotation", _number(annotation.get("id")))


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _regions(control: Control, annotation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    result = annotation.get("result")
    regions = result if isinstance(result, list) else []
    return [r for r in regions if isinstance(r, Mapping) and r.get("from_name") == control.name]


def pieces(control: Control, result: Sequence[Mapping[str, Any]]) -> list[tuple[float | None, list[Mapping[str, Any]]]]:
    """The regions of one control in a prediction, those together that are shown or left out together, with their
    confidence: the least ``score`` in [0, 1], None where they have none."""
    regions = _regions(control, {"result": result})
    together = [[r] for r in regions] if KINDS[control.kind].apart else [regions] if regions else []
    return [(_confidence(some), some) for some in together]


def _confidence(regions: Sequence[Mapping[str, Any]]) -> float | None:
    scores = [r["score"] for r in regions if isinstance(r.get("score"), int | float) and 0 <= r["score"] <= 1]
    return float(min(scores)) if scores else None


def encode_result(schema: Schema, outputs: Mapping[str, Output], item: Item) -> list[dict[str, Any]]:
    """Regions of a prediction, valid against the config; each has a ``score``, its calibrated probability in [0, 1]."""
    said = [(KINDS[c.kind], c) for c in schema.controls if c.name in outputs and item.has(c)]
    found = [r for kind, c in said if kind.attach is None for r in kind.encode(c, outputs[c.name], item)]
    attached = [r for kind, c in said if kind.attach is not None for r in kind.attach(c, outputs[c.name], item, found)]
    return found + attached


def encode_prediction(
    schema: Schema,
    outputs: Mapping[str, Output],
    item: Item | None,
    score: float,
    model_version: str,
    *,
    above: float | Mapping[str, float] = 0.0,
) -> dict[str, Any]:
    """A prediction that Label Studio can store; ``result`` is empty where nothing can be said or there is no ``item``.

    What has a confidence that does not exceed ``above``, in [0, 1], for all controls or by their names, is left out
    (:func:`pieces`); with 0 nothing is.
    ``score`` in [0, 1], low = label sooner; NaN counts as 1, the end of the queue, and values outside are clipped.
    """
    sound = 1.0 if math.isnan(score) else min(1.0, max(0.0, float(score)))
    result = encode_result(schema, outputs, item) if item is not None else []
    limits = above if isinstance(above, Mapping) else {c.name: above for c in schema.controls}
    shown = [
        r
        for c in schema.controls
        for sure, part in pieces(c, result)
        if limits[c.name] == 0 or (sure or 0) > limits[c.name]
        for r in part
    ]
    attached = {c.name for c in schema.controls if KINDS[c.kind].attach is not None}
    marked = {r.get("id") for r in shown if r["from_name"] not in attached}
    shown = [r for r in shown if r["from_name"] not in attached or r["id"] in marked]
    return {
        "result": shown,
        "score": sound,
        "model_version": str(model_version),
    }
