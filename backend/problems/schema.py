"""The values that cross borders: what a project asks (:class:`Schema`), what was answered, what the model says.

Everything here is immutable and checked once, at construction. Nothing here knows Label Studio's JSON, torch or HTTP.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Control:
    """One question to the annotator: a control tag and the object it is about.

    ``labels`` are in config order; their order is part of every version that is trained on it. ``descriptions`` are
    readable texts for the labels (``hint`` or ``alias`` where the config has them, else the label), same length.
    ``text_field`` is the key of the task's data that holds the text.
    """

    name: str
    kind: str
    to_name: str
    text_field: str
    labels: tuple[str, ...]
    descriptions: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels of control {self.name!r} are not distinct: {self.labels}")
        if len(self.descriptions) != len(self.labels):
            raise ValueError(f"{len(self.descriptions)} descriptions for {len(self.labels)} labels")


@dataclass(frozen=True)
class Schema:
    """All that a project asks about one task."""

    controls: tuple[Control, ...]

    def __post_init__(self) -> None:
        if not self.controls:
            raise ValueError("a schema needs at least one control")

    @property
    def hash(self) -> str:
        """16 hex digits; two configs that ask the same in the same label order have the same hash."""
        content = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Schema":
        return cls(
            tuple(
                Control(**{**c, "labels": tuple(c["labels"]), "descriptions": tuple(c["descriptions"])})
                for c in value["controls"]
            )
        )


@dataclass(frozen=True)
class Example:
    """A labelled text. ``targets`` maps a control's name to its target, as made by the control's problem.

    For ``Choices`` with ``choice="single"`` a target is a distribution over the labels, shape ``(K,)``, sum 1: one-hot
    for a majority, shared where annotators tie. ``weight`` in (0, 1]: how much it counts; below 1 where a model, not an
    annotator, gave the target.
    """

    task_id: int
    text: str
    targets: Mapping[str, Floats]
    weight: float = 1.0


@dataclass(frozen=True)
class Output:
    """What a model says about one task and one control.

    ``probs`` are calibrated probabilities over the control's labels, shape ``(K,)``, sum 1. ``None`` where the task
    could not be predicted; ``reason`` then says why.
    """

    probs: Floats | None
    reason: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
