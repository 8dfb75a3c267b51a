"""``<Rating>``: numbers of stars. A result holds ``{"rating": 4}``; no star at all is no answer."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Control, Floats, Item, Output
from backend.studio import refuse, results

KIND = "rating"

MOST = 100  # stars
USUAL = "5"  # stars, where the tag does not say


def read_labels(element: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The numbers of stars from 1 on. Raises UnsupportedConfig."""
    refuse.unless_about_the_task(element)
    most = element.get("maxRating", USUAL).strip()
    if not (most.isascii() and most.isdecimal() and len(most) < 4 and 2 <= int(most) <= MOST):
        raise UnsupportedConfig(f'<Rating maxRating="{most}"> is not supported.', f"Give a number from 2 to {MOST}.")
    labels = tuple(str(stars) for stars in range(1, int(most) + 1))
    return labels, labels


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> int | None:
    """The position of the stars that one annotation gives the task; None where it gives none, or two different ones."""
    found = {stars for region in regions if (stars := _stars(region)) is not None and stars <= len(control.labels)}
    return found.pop() - 1 if len(found) == 1 else None


def _stars(region: Mapping[str, Any]) -> int | None:
    stars = results.value_of(region).get("rating")
    sound = isinstance(stars, int | float) and not isinstance(stars, bool) and stars >= 1 and stars == stars // 1
    return int(stars) if sound and stars is not None else None


def combine(control: Control, votes: Sequence[int]) -> Floats:
    """Target of a task, shape (K,), sum 1: the share of the annotators who gave each number of stars."""
    counts = np.bincount(np.asarray(votes, np.int64), minlength=len(control.labels))
    return np.asarray(counts / len(votes), np.float32)


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with the stars of the answer; its ``score`` is the probability that these are exactly right."""
    if output.answer is None or not np.isfinite(output.answer).all() or not np.isfinite(output.confidence):
        return []
    return [results.suggestion(control, KIND, {"rating": int(np.argmax(output.answer)) + 1}, output.confidence)]
