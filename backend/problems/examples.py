"""Labelled examples: as JSON, for snapshots; and which controls can learn from them."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.problems.base import problem_for
from backend.problems.schema import Control, Example, Item, Schema


def learnable(schema: Schema, train: Sequence[Example], *, texts: bool = False) -> list[Control]:
    """The controls of which there are enough different targets to learn from; ``texts``: a generator can learn too."""
    return [
        c
        for c in schema.controls
        if (texts or problem_for(c).reads != "generator")
        and problem_for(c).can_fit(c, [e.targets[c.name] for e in train if c.name in e.targets])
    ]


def example_json(schema: Schema, example: Example) -> dict[str, Any]:
    """An example as JSON values."""
    targets = {
        c.name: problem_for(c).target_json(example.targets[c.name])
        for c in schema.controls
        if c.name in example.targets
    }
    return {"task": example.task_id, "item": example.item.to_json(), "targets": targets, "weight": example.weight}


def example_from(schema: Schema, value: Mapping[str, Any]) -> Example:
    """The example of :func:`example_json`."""
    targets = {
        c.name: problem_for(c).target_from_json(value["targets"][c.name])
        for c in schema.controls
        if c.name in value["targets"]
    }
    plain = "item" not in value  # a snapshot of a former build, which knew one text
    item = Item.of(value["text"], schema.fields[0]) if plain else Item.from_json(value["item"])
    return Example(value["task"], item, targets, value.get("weight", 1.0))
