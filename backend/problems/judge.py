"""What is known of tasks without their model: rows of numbers, and what the heads make of them.

A row (W,) is the features of the document, then the columns that each control keeps beside them. A control whose
problem reads the document itself keeps none: the features are its columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.active.uncertainty import margin
from backend.problems.base import problem_for
from backend.problems.common import two_classes
from backend.problems.schema import Control, Floats, Schema


@dataclass(frozen=True)
class Layout:
    """Where in a row of ``width`` numbers the columns of each control are. ``dim``: size of the document's features."""

    dim: int
    width: int
    slices: Mapping[str, slice]

    def own(self, control: str) -> bool:
        """Whether a control has columns beside the features. They are 0 for a task that lacks what it reads."""
        where = self.slices[control]
        return bool(0 < where.start < where.stop)

    @classmethod
    def of(cls, schema: Schema, dim: int) -> "Layout":
        """The layout of the rows of a schema."""
        slices: dict[str, slice] = {}
        width = dim
        for control in schema.controls:
            columns = problem_for(control).width(control, dim)
            if columns == dim and control.fields == schema.fields:
                slices[control.name] = slice(0, dim)
            else:
                slices[control.name] = slice(width, width + columns)
                width += columns
        return cls(dim, width, slices)


@dataclass(frozen=True)
class Judge:
    """Heads that judge rows. ``weights``: what the uncertainty about a control counts for among several, 1 without."""

    schema: Schema
    heads: Mapping[str, LinearHead]
    dim: int
    weights: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        return Layout.of(self.schema, self.dim)

    def with_heads(self, heads: Mapping[str, LinearHead]) -> "Judge":
        """The judge with some of its heads replaced."""
        return replace(self, heads={**self.heads, **heads})

    def columns(self, name: str, rows: Floats) -> Floats:
        """What rows (N, W) hold for one control."""
        return rows[:, self.layout.slices[name]]

    def features(self, rows: Floats) -> Floats:
        """Features (N, D) of the documents."""
        return rows[:, : self.dim]

    def profile(self, rows: Floats) -> Floats:
        """Probabilities (N, K) whose margin is the worth of a label: level where it is worth most.

        With one control they are its problem's; with several the two numbers that have the combined worth as margin.
        """
        if len(self.schema.controls) == 1:
            (control,) = self.schema.controls
            columns = self.columns(control.name, rows)
            return problem_for(control).profile(control, self.heads[control.name], columns)
        return two_classes(self.worth(rows))

    def worth(self, rows: Floats) -> NDArray[np.float64]:
        """What a label is worth (N,), in [0, 1], high = label sooner: the weighted mean over the controls."""
        total: NDArray[np.float64] = np.zeros(len(rows))
        whole = 0.0
        for name, worth in self.worths(rows).items():
            weight = self.weights.get(name, 1.0)
            total, whole = total + weight * worth, whole + weight
        return total / whole if whole else total

    def worths(self, rows: Floats) -> dict[str, NDArray[np.float64]]:
        """What a label is worth by control, each (N,) in [0, 1]; 0 where a task lacks what the control reads."""
        return {c.name: self._worth(c, self.columns(c.name, rows)) for c in self.schema.controls}

    def _worth(self, control: Control, columns: Floats) -> NDArray[np.float64]:
        worth = margin(problem_for(control).profile(control, self.heads[control.name], columns))
        return worth * columns.any(axis=1) if self.layout.own(control.name) else worth

    def mc_head(self) -> LinearHead | None:
        """The head that MC-dropout samples from; None where there is no such one."""
        (control, *more) = self.schema.controls
        whole = self.layout.slices[control.name] == slice(0, self.dim)
        return None if more or not whole else problem_for(control).mc_head(control, self.heads[control.name])

    def classes(self) -> int:
        """How many different things there are to be seen, at least 2: labels of all controls."""
        return max(2, sum(len(c.labels) for c in self.schema.controls))

    def hard_class(self, targets: Mapping[str, Any]) -> int:
        """Which class of the profile a task's targets are."""
        (control, *more) = self.schema.controls
        return 0 if more else problem_for(control).hard_class(targets[control.name])

    @property
    def auto(self) -> str:
        """The strategy that ``auto`` stands for: that of the only control, or of all where they agree."""
        names = {problem_for(c).auto for c in self.schema.controls}
        return names.pop() if len(names) == 1 else "auto"
