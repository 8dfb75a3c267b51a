"""What heads say of examples that they were not fitted to."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
Positions = NDArray[np.int64]

FOLDS = 5


def distinct(rows: ArrayLike) -> Positions:
    """Numbers (N,) of rows of features (N, D), from 0 in the order in which they are met: copies have the same."""
    seen: dict[bytes, int] = {}
    met = [seen.setdefault(row.tobytes(), len(seen)) for row in np.asarray(rows) + 0.0]  # -0.0 becomes 0.0
    return np.array(met, np.int64)


def folds_of(rows: ArrayLike, k: int) -> Positions:
    """The fold (N,) of each row of features (N, D), which are in the order of chance: by turns, numbers below ``k``.

    Copies of a row are in its fold, or a head would be asked what it was told. Of fewer than ``k`` distinct rows each
    has a fold of its own.
    """
    turns = distinct(rows)
    return np.asarray(turns % min(k, int(turns.max(initial=0)) + 1))


def out_of_fold(
    features: ArrayLike, predict: Callable[[Positions, Positions], ArrayLike], *, seed: int
) -> tuple[Numbers, Positions]:
    """What ``predict(rest, out)`` says of examples ``out`` after it was fitted to the ``rest``, and which those are.

    All of N examples with ``features`` (N, D) in five folds by chance, as rows (N, …) and positions (N,); none of fewer
    than two distinct ones.
    """
    x = np.asarray(features)
    order = np.random.default_rng(seed).permutation(len(x))
    fold = folds_of(x[order], FOLDS)
    parts = [(order[fold != number], order[fold == number]) for number in range(fold.max(initial=0) + 1) if fold.any()]
    said = [np.asarray(predict(rest, out), np.float64) for rest, out in parts]
    at = [out for _, out in parts]
    return (np.concatenate(said), np.concatenate(at)) if parts else (np.zeros(0), np.zeros(0, np.int64))
