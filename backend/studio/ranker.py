"""``<Ranker>`` over a ``<List>``: a result holds ``{"ranker": {name of the control: ids, best first}}``."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Control, Item, Output
from backend.studio import refuse, results

KIND = "ranker"

Order = tuple[int, ...]


def no_labels(element: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """An order has no labels. Raises UnsupportedConfig for buckets, which ask for something else."""
    refuse.unless_about_the_task(element)
    if any(tag.tag.lower() == "bucket" for tag in element.iter()):
        raise UnsupportedConfig(
            "<Ranker> with <Bucket> sorts entries into groups, which is not supported.",
            "Remove the buckets, so that entries are put in order.",
        )
    return (), ()


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> Order | None:
    """The order that one annotation gives, as positions in the task's list; None where it is not one of all entries."""
    if item is None or not item.has(control):
        return None
    position = {name: at for at, name in enumerate(item.fields[control.text_field].names)}
    found = {tuple(ids) for region in regions if (ids := _ids(control, region)) is not None}
    if len(found) != 1 or sorted(only := found.pop()) != sorted(position):
        return None
    return tuple(position[name] for name in only)


def _ids(control: Control, region: Mapping[str, Any]) -> list[str] | None:
    """The ids of a region; Label Studio once wrote them without the control's name."""
    ranker = results.value_of(region).get("ranker")
    ids = ranker.get(control.name) if isinstance(ranker, Mapping) else ranker
    return ids if isinstance(ids, list) and all(isinstance(name, str) for name in ids) else None


def combine(control: Control, votes: Sequence[Order]) -> tuple[Order, ...]:
    """The orders of all annotators."""
    return tuple(votes)


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with all ids in order; its ``score`` is the probability that it is exactly right. Empty without an
    answer."""
    if output.answer is None or not np.isfinite(output.confidence):
        return []
    (order,), names = output.answer, item.fields[control.text_field].names
    value = {"ranker": {control.name: [names[at] for at in order]}}
    return [results.suggestion(control, KIND, value, output.confidence)]
