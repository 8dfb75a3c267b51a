"""What texts teach a head that reads tokens: rows of targets, each for the mean of some tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.problems.schema import Floats
from backend.problems.units import Ints, Units, row_means

if TYPE_CHECKING:
    from torch import Tensor

    from backend.models.encoder import Encoder

MOST_WINDOWS = 16  # of one text that train


@dataclass(frozen=True)
class Lesson:
    """What one text teaches. ``sequences``: the token ids of its windows; ``at`` (T, 3): window, place in it and row of
    ``targets`` (R, K) of each token; a token may be of several rows."""

    sequences: list[list[int]]
    at: NDArray[np.int64]
    targets: Floats


def lesson(units: Units, pairs: NDArray[np.int64], targets: Floats, leading: NDArray[np.bool_], seed: int) -> Lesson:
    """The lesson of a text of which ``pairs`` (P, 2) say which of its tokens are of which row of ``targets`` (R, K).

    Of a long text ``MOST_WINDOWS`` windows teach: first those with tokens of ``leading`` (R,) rows, others at random.
    """
    windows = np.arange(len(units.sequences))
    if len(windows) > MOST_WINDOWS:
        first = np.unique(units.places[pairs[leading[pairs[:, 1]], 0], 0])
        others = np.random.default_rng(seed).permutation(np.setdiff1d(windows, first))
        windows = np.sort(np.concatenate([first, others])[:MOST_WINDOWS])
    pairs = pairs[np.isin(units.places[pairs[:, 0], 0], windows)]
    rows, row = np.unique(pairs[:, 1], return_inverse=True)
    places = units.places[pairs[:, 0]]
    at = np.column_stack([np.searchsorted(windows, places[:, 0]), places[:, 1], row.ravel()])
    return Lesson([units.sequences[w] for w in windows], at.astype(np.int64), targets[rows])


def lesson_states(encoder: "Encoder", lessons: Sequence[Lesson], rows: Ints) -> Floats:
    """The mean hidden states (N, D) of the tokens of some ``rows`` (N,), numbers of rows of all lessons in order."""
    sequences: list[list[int]] = []
    at, total = [], 0
    for one in lessons:
        at.append(one.at + np.array([len(sequences), 0, total]))
        sequences += one.sequences
        total += len(one.targets)
    where = np.full(total, -1)
    where[rows] = np.arange(len(rows))
    tokens = np.concatenate(at)
    tokens[:, 2] = where[tokens[:, 2]]
    return row_means(encoder, sequences, tokens[tokens[:, 2] >= 0], len(rows))


def token_loss(
    parts: Sequence[slice], lessons: Mapping[int, Lesson], usual: float, smoothing: float
) -> "Callable[[Tensor, NDArray[np.int64]], Tensor]":
    """Cross entropy with soft, smoothed targets, summed over the rows of an example, of which ``usual`` weigh 1.

    ``parts`` of the logits are distributions of their own. A row's logits are the mean of its tokens'.
    """
    import torch

    def loss(logits: "Tensor", batch: NDArray[np.int64]) -> "Tensor":
        places, owner, targets = [], [], []
        window, row = 0, 0
        for number, example in enumerate(batch.tolist()):
            one = lessons[example]
            places.append(one.at + np.array([window, 0, row]))
            owner += [number] * len(one.targets)
            targets.append(one.targets)
            window, row = window + len(one.sequences), row + len(one.targets)
        at = torch.from_numpy(np.concatenate(places)).to(logits.device)
        wanted = torch.from_numpy(np.concatenate(targets)).to(logits.device)
        tokens = logits[at[:, 0], at[:, 1]].float()  # (T, K)
        sums = torch.zeros(row, tokens.shape[1], device=logits.device).index_add(0, at[:, 2], tokens)
        means = sums / torch.bincount(at[:, 2], minlength=row).clamp(min=1)[:, None]
        losses = torch.zeros(row, device=logits.device)
        for part in parts:
            share = wanted[:, part]
            smooth = (1 - smoothing) * share + smoothing / share.shape[1]
            losses = losses - (smooth * torch.log_softmax(means[:, part], dim=1)).sum(dim=1)
        by_example = torch.zeros(len(batch), device=logits.device)
        return by_example.index_add(0, torch.tensor(owner, dtype=torch.long, device=logits.device), losses) / usual

    return loss
