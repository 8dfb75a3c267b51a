"""The joint probability of answer spans: numbers of tokens in, spans out.

A window of T tokens has logits (T, 3): of being an answer's first token, its last one, and, of the window's first
token alone, of there being no answer. A span's logit is start + end, told relative to no answer in its window, so that
spans of all windows of a text compete with each other and with one "no answer", whose logit is 0. Which span it is and
whether there is one are made honest apart: a model may know much of the one and nothing of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.active.calibration import softmax
from backend.active.multilabel import fit_scale, sigmoid

Numbers = NDArray[np.float64]

IMPOSSIBLE = -1e9  # logit of what is no span
# Of whether there is an answer a trained adapter is a tenth as sure as it seems: the best on held-out articles of SQuAD
# 2.0's training file after 200 labels, and after 500.
NULL_SLOPE = 0.1
NULL_KNOWN = 3.0  # nats by which held-out answers must be likelier if it is to be as sure as it seems
NULL_TRUST = 3.0  # nats that log slope and offset cost where they change by 1
LOOKED_AT = 512  # likeliest spans that have a probability; all others together have next to none


def span_logits(logits: NDArray[np.floating], inside: NDArray[np.bool_], longest: int) -> Numbers:
    """Logits (T, L) of the spans of one window: [t, n] is from token t to token t + n.

    ``logits`` (T, 3), ``inside`` (T,): which tokens are of the text; ``longest``: L, tokens of a span at most.
    """
    values = np.asarray(logits, np.float64)
    found = np.full((len(values), longest), IMPOSSIBLE)
    for n in range(min(longest, len(values))):
        last = len(values) - n
        both = values[:last, 0] + values[n:, 1] - values[0, 2]
        found[:last, n] = np.where(inside[:last] & inside[n:], both, IMPOSSIBLE)
    return found


@dataclass(frozen=True)
class Spans:
    """The likeliest spans of a text, at most ``LOOKED_AT``: first and last character (M, 2), end exclusive, all
    distinct; ``logits`` (M,), highest first, relative to no answer."""

    ends: NDArray[np.int64]
    logits: Numbers

    def probs(self, temperature: float = 1.0, slope: float = 1.0, offset: float = 0.0, *, empty: bool) -> Numbers:
        """Probabilities (M + 1,) of no answer and the spans; of no answer 0 unless that is possible (``empty``).

        Where there is an answer, each span has its share of the softmax of ``logits / temperature``; that there is none
        has the probability ``sigmoid(slope * null_logit + offset)``. By default that is one softmax of all.
        """
        if not len(self.logits):
            return np.ones(1)
        none = float(sigmoid(slope * self.null_logit() + offset)) if empty else 0.0
        return np.concatenate([[none], (1 - none) * softmax(self.logits / temperature)])

    def likeness(self, at: int) -> Numbers:
        """How like the span at a position each one (M,) is: F1 of their characters, in [0, 1], 1 of itself."""
        start, end = self.ends[:, 0], self.ends[:, 1]
        shared = np.minimum(end, end[at]) - np.maximum(start, start[at])
        return np.asarray(2 * np.maximum(shared, 0) / np.maximum(1, end - start + end[at] - start[at]))

    def null_logit(self) -> float:
        """The logit of no answer against all spans together, high = no answer; there must be a span."""
        return -float(np.logaddexp.reduce(self.logits))


def spans_of(windows: Sequence[tuple[NDArray[np.floating], NDArray[np.int64]]], longest: int) -> Spans:
    """The spans of a text in windows: for each its logits (T, 3) and its tokens' characters (T, 2), -1 outside.

    What two windows see of the same span adds up.
    """
    ends: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    logits: list[Numbers] = [np.zeros(0)]
    for values, offsets in windows:
        table = span_logits(values, offsets[:, 0] >= 0, longest)
        first, more = np.nonzero(table > IMPOSSIBLE / 2)
        ends.append(np.stack([offsets[first, 0], offsets[first + more, 1]], axis=1))
        logits.append(table[first, more])
    every, at = np.concatenate(ends), np.concatenate(logits)
    best = np.argsort(-at, kind="stable")[: 2 * LOOKED_AT]
    distinct, where = np.unique(every[best], axis=0, return_inverse=True)
    total = np.full(len(distinct), -np.inf)
    np.logaddexp.at(total, where.ravel(), at[best])
    order = np.argsort(-total, kind="stable")[:LOOKED_AT]
    return Spans(distinct[order], total[order])


def token_spans(windows: Sequence[NDArray[np.int64]], start: int, end: int) -> list[tuple[int, int, int]]:
    """Window, first and last token of the characters from ``start`` to ``end``, of each window that has all of them.

    ``windows``: offsets (T, 2) of each, -1 outside the text. An end inside a token takes the whole token.
    """
    found = []
    for number, offsets in enumerate(windows):
        inside = np.flatnonzero(offsets[:, 0] >= 0)
        touched = inside[(offsets[inside, 1] > start) & (offsets[inside, 0] < end)]
        if not len(touched):
            continue
        first, last = int(touched[0]), int(touched[-1])
        cut_left = number > 0 and first == inside[0] and offsets[first, 0] > start
        cut_right = number < len(windows) - 1 and last == inside[-1] and offsets[last, 1] < end
        if not cut_left and not cut_right:
            found.append((number, first, last))
    return found


def fit_null(logits: NDArray[np.floating], none: NDArray[np.floating], odds: float) -> NDArray[np.float32]:
    """Slope and offset (2,), for :meth:`Spans.probs`, that make null logits (N,) honest; N may be 0.

    ``none`` (N,) in [0, 1]: the shares of annotators who say that there is no answer. ``odds``: the logarithm of the
    odds of that among all examples; training need not leave the logits around it, so their mean is moved there.
    """
    told, wanted = np.asarray(logits, np.float64), np.asarray(none, np.float64)
    middle = float(told.mean()) if len(told) else 0.0

    def cost(slope: float) -> float:
        z = slope * (told - middle) + odds
        return float((np.logaddexp(0, z) - wanted * z).sum())

    slope = 1.0 if cost(1.0) + NULL_KNOWN < cost(NULL_SLOPE) else NULL_SLOPE
    offset = odds - slope * middle
    scale = fit_scale((slope * told + offset)[:, None], wanted[:, None], np.ones(len(told)), trust=NULL_TRUST)
    return np.array([scale.slope * slope, scale.slope * offset + scale.offset[0]], np.float32)
