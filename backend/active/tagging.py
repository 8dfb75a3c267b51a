"""Spans as tags of the units (words, tokens) of a text, and back: BIO with a decoder that only yields valid spans.

Tags come in ``layers``. With one layer spans of all labels share one sequence: none overlap, and tags are O, then B and
I of each label in turn. With one layer for each label spans of different labels may overlap or nest: each layer is O, B
and I of its label. Ramshaw and Marcus, Text Chunking using Transformation-Based Learning, 1995.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active.calibration import log_softmax

Numbers = NDArray[np.float64]
UnitSpan = tuple[int, int, int]  # first unit, unit after the last, label


@dataclass(frozen=True)
class Tags:
    """The tags of K ``labels`` in one layer, or in one for each label."""

    labels: int
    layered: bool = False

    def __len__(self) -> int:
        return 3 * self.labels if self.layered else 1 + 2 * self.labels

    def layers(self) -> list[slice]:
        """Where the tags of each layer are: its first is O, then B and I of its labels."""
        return [slice(3 * k, 3 * k + 3) for k in range(self.labels)] if self.layered else [slice(0, len(self))]

    def label(self, layer: int, within: int) -> int:
        """Which label the B or I at a place ``within`` a layer is of."""
        return layer if self.layered else (within - 1) // 2

    def log_probs(self, logits: ArrayLike) -> Numbers:
        """Logarithms of the probabilities (U, T) of logits (U, T); those of a layer sum to 1."""
        values = np.asarray(logits, np.float64)
        return np.concatenate([log_softmax(values[:, part]) for part in self.layers()], axis=1)

    def targets(self, units: int, spans: Iterable[tuple[int, int, int, float]]) -> Numbers:
        """Distributions (U, T) over the tags of each layer, of spans (first unit, unit after the last, label, share).

        ``share`` in (0, 1] is how many of the annotators saw the span. In one layer the longer of two overlapping spans
        of all annotators wins.
        """
        wanted = np.zeros((units, len(self)))
        for first, last, label, share in sorted(spans, key=lambda s: s[0] - s[1]):
            part = self.layers()[label if self.layered else 0]
            begin = part.start + 1 + (0 if self.layered else 2 * label)
            room = 1 - wanted[first:last, part].sum(axis=1)
            added = np.minimum(share, np.maximum(room, 0))
            if len(added) == 0 or added.min() <= 0:
                continue
            wanted[first, begin] += added[0]
            wanted[first + 1 : last, begin + 1] += added[1:]
        for part in self.layers():
            wanted[:, part.start] = 1 - wanted[:, part].sum(axis=1)
        return np.clip(wanted, 0, 1)

    def best(self, log_probs: Numbers) -> list[NDArray[np.int64]]:
        """The most probable valid sequence of tags of each layer, each (U,) as places within the layer."""
        return [best_path(log_probs[:, part]) for part in self.layers()]

    def spans(self, paths: Sequence[NDArray[np.int64]]) -> list[UnitSpan]:
        """The spans that sequences of tags say, by place."""
        found = [(a, b, self.label(at, tag)) for at, path in enumerate(paths) for a, b, tag in spans_of(path)]
        return sorted(found)


def best_path(log_probs: Numbers) -> NDArray[np.int64]:
    """The sequence of tags (U,) of the largest sum of ``log_probs`` (U, 1 + 2K) in which I only follows B or I of its
    label. Viterbi 1967; since only I looks back, a step costs O(K)."""
    units, tags = log_probs.shape
    if not units:
        return np.zeros(0, np.int64)
    inside = np.arange(2, tags, 2)
    total = log_probs[0].copy()
    total[inside] = -np.inf
    back = np.zeros((units, tags), np.int64)
    for at in range(1, units):
        top = int(total.argmax())
        score = np.full(tags, total[top])
        back[at] = top
        go_on = total[inside] > total[inside - 1]
        back[at, inside] = np.where(go_on, inside, inside - 1)
        score[inside] = np.where(go_on, total[inside], total[inside - 1])
        total = score + log_probs[at]
    path = np.zeros(units, np.int64)
    path[-1] = total.argmax()
    for at in range(units - 1, 0, -1):
        path[at - 1] = back[at, path[at]]
    return path


def spans_of(path: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """First unit, unit after the last and tag B of each span of a valid sequence of tags."""
    found = []
    starts = np.flatnonzero(path % 2 == 1)
    for first in starts.tolist():
        last = first + 1
        while last < len(path) and path[last] == path[first] + 1:
            last += 1
        found.append((first, last, int(path[first])))
    return found
