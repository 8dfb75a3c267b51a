"""Regions, of which results are made, as Label Studio writes them whatever the kind of control."""

from collections.abc import Mapping
from typing import Any

from backend.problems.schema import Control


def value_of(region: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a region says; empty where it says nothing."""
    value = region.get("value")
    return value if isinstance(value, Mapping) else {}


def suggestion(control: Control, kind: str, value: Mapping[str, Any], score: float) -> dict[str, Any]:
    """A region of a prediction; its ``score``, the probability that it is right, is clipped to [0, 1]."""
    return {
        "from_name": control.name,
        "to_name": control.about,
        "type": kind,
        "value": dict(value),
        "score": min(1.0, max(0.0, float(score))),
    }
