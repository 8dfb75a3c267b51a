"""``<Number>``: a result holds ``{"number": 3.5}``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Control, Item, Output
from backend.studio import refuse, results

KIND = "number"
LARGEST = 1e30  # number, up or down, that counts where an answer is read


def no_labels(element: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A number has no labels. Raises UnsupportedConfig for a tag that asks about something else than the task."""
    refuse.unless_about_the_task(element)
    return (), ()


def options(element: Element) -> dict[str, float]:
    """``min``, ``max`` and ``step``, those that the tag has. Raises UnsupportedConfig where they make no sense.

    Without ``step`` any number is accepted: the usual 1 is only what the arrows add.
    """
    found = {name: _number(name, text) for name in ("min", "max", "step") if (text := element.get(name, "").strip())}
    if found.get("step", 1.0) <= 0:
        raise UnsupportedConfig(f'<Number step="{element.get("step")}"> is not supported.', "Give one above 0.")
    if found.get("min", -math.inf) >= found.get("max", math.inf):
        raise UnsupportedConfig(
            f'<Number min="{element.get("min")}" max="{element.get("max")}"> leaves nothing to say.',
            "Give a max above the min.",
        )
    return found


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnsupportedConfig(f'<Number {name}="{text}"> is no number.', "Give one, or remove it.")
    return value


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> float | None:
    """The number that one annotation gives the task; None where it gives none, or two different ones."""
    found = {number for region in regions if (number := _given(region)) is not None}
    return found.pop() if len(found) == 1 else None


def _given(region: Mapping[str, Any]) -> float | None:
    given = results.value_of(region).get("number")
    if not isinstance(given, int | float) or isinstance(given, bool) or abs(given) > LARGEST:
        return None
    return float(given) if math.isfinite(given) else None


def combine(control: Control, votes: Sequence[float]) -> float:
    """The median."""
    return float(np.median(votes))


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with the number; its ``score`` is the probability that it is near enough. Empty without an answer."""
    if output.answer is None or not math.isfinite(output.answer) or not math.isfinite(output.confidence):
        return []
    number = float(output.answer)
    value = {"number": int(number) if number.is_integer() else number}
    return [results.suggestion(control, KIND, value, output.confidence)]
