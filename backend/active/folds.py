"""What heads say of examples that they were not fitted to."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
Positions = NDArray[np.int64]

FOLDS = 5


def out_of_fold(
    n: int, predict: Callable[[Positions, Positions], ArrayLike], *, seed: int
) -> tuple[Numbers, Positions]:
    """What ``predict(rest, out)`` says of examples ``out`` after it was fitted to the ``rest``, and which those are.

    All ``n`` in five folds by chance, as rows (n, …) and positions (n,); none of fewer than two.
    """
    order = np.random.default_rng(seed).permutation(n)
    fold = np.arange(n) % min(FOLDS, max(n, 1))
    parts = [(order[fold != number], order[fold == number]) for number in range(min(FOLDS, n))] if n > 1 else []
    said = [np.asarray(predict(rest, out), np.float64) for rest, out in parts]
    at = [out for _, out in parts]
    return (np.concatenate(said), np.concatenate(at)) if parts else (np.zeros(0), np.zeros(0, np.int64))
