"""``<Pairwise>`` on two texts: a result holds ``{"selected": "left"}``.

A click names the control itself as the object (``to_name``); of a prediction, Label Studio accepts only one of the two
object tags. An annotation without a selection prefers neither: Label Studio lets it be submitted.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Control, Floats, Item, Output
from backend.studio import multiple, results

KIND = "pairwise"

SIDES = ("left", "right")
NEITHER = 0.5


def read_labels(element: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Left and right. Raises UnsupportedConfig where these are not two object tags."""
    names = element.get("toName", "").split(",")
    if len(set(names)) != 2 or len(names) != 2:
        raise UnsupportedConfig(
            f'<Pairwise toName="{element.get("toName")}"> does not name two object tags.', 'Such as toName="a,b".'
        )
    return SIDES, SIDES


def options(element: Element) -> dict[str, bool]:
    """See :func:`backend.studio.multiple.answers`."""
    return multiple.answers(element)


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> float | None:
    """How much one annotation prefers the left text: 1, 0, or one half where it is empty and that is an answer."""
    if not regions:
        return NEITHER if control.options.get("empty") else None
    said = [results.value_of(region).get("selected") for region in regions]
    found = {side for side in said if side in SIDES}
    return float(found.pop() == "left") if len(found) == 1 else None


def combine(control: Control, votes: Sequence[float]) -> Floats:
    """Target of a task, (2,): the share of the annotators who prefer the left text, and the right one."""
    left = float(np.mean(votes))
    return np.array([left, 1 - left], np.float32)


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with the side that is more probable; its ``score`` is that probability. Empty without an answer."""
    if output.probs is None or not np.isfinite(output.probs).all():
        return []
    best = int(np.argmax(output.probs))
    return [results.suggestion(control, KIND, {"selected": SIDES[best]}, output.probs[best])]
