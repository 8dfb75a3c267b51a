"""What questions and their answers teach: windows of the text, the spans that are right, and a loss over all of them.

A target is that of :mod:`backend.problems.question`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active.extractive import NULL_SLOPE, token_spans
from backend.active.head import LinearHead
from backend.problems.nearness import Nearness
from backend.problems.schema import Floats

if TYPE_CHECKING:
    from torch import Tensor

    from backend.models.tokens import Window

Target = Mapping[str, Any]

ROWS = 3  # of the head: a span's first token, its last one, no answer
SHORTEST_LIMIT, LONGEST_LIMIT = 16, 100  # tokens of an answer, at most, are between these, whatever the examples have
TRAINED_WINDOWS = 3  # of one example: long texts would take all of the time
SURELY_NOT = -1e4  # logit in the loss


@dataclass(frozen=True)
class Lesson:
    """What one example teaches: windows; ``pulls``: what the tokens of each have ahead of others; ``places``: the
    acceptable spans as (window, first token, tokens more); ``none``: the share of no answer."""

    windows: "list[Window]"
    pulls: list[NDArray[np.float64]]
    places: list[tuple[int, int, int]]
    none: float


def places_of(windows: "Sequence[Window]", target: Target | None) -> list[tuple[int, int, int]]:
    """Window, first and last token of each acceptable span wherever it is whole."""
    offsets = [window.offsets for window in windows]
    spans = target["spans"] if target is not None else []
    return [place for start, end, _ in spans for place in token_spans(offsets, start, end)]


def lesson_of(
    windows: "list[Window]",
    pulls: Sequence[NDArray[np.float64]],
    places: Sequence[tuple[int, int, int]],
    target: Target | None,
    longest: int,
    rng: np.random.Generator,
) -> Lesson:
    """Some of the windows: all that have an answer before others, ``TRAINED_WINDOWS`` at most. None where what is
    marked is no span of tokens, or too long a one."""
    fitting = [place for place in places if place[2] - place[1] < longest]
    if target is None or (not fitting and target["none"] < 1):
        return Lesson([], [], [], 0.0)
    having = list(dict.fromkeys(number for number, _, _ in fitting))
    others = [int(n) for n in rng.permutation(len(windows)) if n not in having]
    chosen = sorted([*having, *others][:TRAINED_WINDOWS])
    kept = [(chosen.index(n), first, last - first) for n, first, last in fitting if n in chosen]
    return Lesson([windows[n] for n in chosen], [pulls[n] for n in chosen], kept, float(target["none"]))


def longest_answer(places: Sequence[Sequence[tuple[int, int, int]]]) -> int:
    """Tokens that an answer has at most: those of the longest one, within limits."""
    longest = max((last - first + 1 for found in places for _, first, last in found), default=0)
    return min(max(longest, SHORTEST_LIMIT), LONGEST_LIMIT)


def start_head(
    lessons: Sequence[Lesson], longest: int, sharpness: float, none: Sequence[float], dim: int
) -> LinearHead:
    """The head that says of every text that it has no answer, with the same probability, and prefers no span.

    ``none``: the shares without an answer of the examples, to which one is added that is half of either kind
    (Krichevsky and Trofimov 1981): what was never seen is not impossible.
    """
    spans = [
        longest * sum(float(np.exp(pull[w.inside]).sum()) for w, pull in zip(one.windows, one.pulls, strict=True))
        for one in lessons
        if one.windows
    ]
    share = (sum(none) + 0.5) / (len(none) + 1)
    odds = float(np.log(share / (1 - share)))
    bias = np.array([0, 0, np.log(max(1.0, float(np.mean(spans or [0])))) + odds], np.float32)
    extra = {
        "longest": np.array([longest], np.float32),
        "sharpness": np.array([sharpness], np.float32),
        "null": np.array([NULL_SLOPE, odds], np.float32),
        "labels": np.array([len(none)], np.float32),
    }
    return LinearHead(np.zeros((ROWS, dim), np.float32), bias, extra=extra)


def pulled(logits: Floats, window: "Window", near: Nearness, sharpness: float) -> Floats:
    """Logits (T, 3) of a window whose spans begin rather in sentences that are near to the question."""
    found = logits.copy()
    found[:, 0] += near.at(window.offsets, sharpness)
    return found


def answer_loss(
    lessons: Sequence[Lesson], longest: int, *, empty: bool
) -> "Callable[[Tensor, NDArray[np.int64]], Tensor]":
    """Logits (S, T, 3) of the windows of a batch's examples, and their numbers (B,), to losses (B,)."""
    import torch

    def loss(logits: "Tensor", batch: NDArray[np.int64]) -> "Tensor":
        own = [lessons[at] for at in batch]
        windows = [window for lesson in own for window in lesson.windows]
        spans = span_logits(logits, windows, [pull for lesson in own for pull in lesson.pulls], longest)  # (S, T, L)
        null = spans.new_tensor([0.0 if empty else SURELY_NOT])
        losses, first = [], 0
        for lesson in own:
            part = spans[first : first + len(lesson.windows)]
            first += len(lesson.windows)
            whole = torch.logsumexp(torch.cat([null, part.flatten()]), dim=0)
            value = lesson.none * (whole - null[0])
            if lesson.places:
                right = torch.stack([part[place] for place in lesson.places])
                value = value + (1 - lesson.none) * (whole - torch.logsumexp(right, dim=0))
            losses.append(value)
        return torch.stack(losses)

    return loss


def span_logits(
    logits: "Tensor", windows: "Sequence[Window]", pulls: Sequence[NDArray[np.float64]], longest: int
) -> "Tensor":
    """As :func:`backend.active.extractive.span_logits`, of windows padded to one length: (S, T, 3) to (S, T, L)."""
    import torch

    inside = torch.zeros(logits.shape[:2], dtype=torch.bool)
    ahead = torch.zeros(logits.shape[:2])
    for row, (window, pull) in enumerate(zip(windows, pulls, strict=True)):
        inside[row, : len(window.ids)] = torch.from_numpy(window.inside)
        ahead[row, : len(window.ids)] = torch.from_numpy(pull)
    inside, ahead = inside.to(logits.device), ahead.to(logits.device)
    values = logits.float()
    padding = (0, longest - 1)
    last = torch.nn.functional.pad(values[..., 1], padding).unfold(1, longest, 1)  # (S, T, L)
    ended = torch.nn.functional.pad(inside, padding).unfold(1, longest, 1)
    both = (values[..., 0] + ahead)[..., None] + last - values[:, 0, 2, None, None]
    return both.masked_fill(~(inside[..., None] & ended), SURELY_NOT)
