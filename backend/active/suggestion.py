"""When a suggestion helps: from how often annotators kept what they were shown.

Uncertain tasks come first, so suggestions are wrong most often exactly where they are shown. A suggestion saves a
correction where it is right and causes one where it is wrong; below the break-even a blank task is the better help.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]

REACH = 0.1  # confidences nearer than this tell of each other, less with the distance
PRIOR_WEIGHT = 10.0  # answers that the calibrated confidence is worth
STEPS = 101


def keep_probability(
    confidence: ArrayLike, shown: ArrayLike, kept: ArrayLike, *, prior_weight: float = PRIOR_WEIGHT
) -> Numbers:
    """How likely a suggestion of each ``confidence`` (N,) is kept, (N,), in [0, 1], never falling with the confidence.

    ``shown`` (M,) confidences of past suggestions and whether they were ``kept`` (M,) of bool. The mean of a beta
    distribution whose prior is the confidence itself, so that it is the answer for M = 0; past suggestions count by
    their nearness (a triangular kernel), and the result is made monotone by isotonic regression.
    """
    from sklearn.isotonic import isotonic_regression

    wanted, past, stayed = (np.asarray(a, np.float64) for a in (confidence, shown, kept))
    if past.shape != stayed.shape or past.ndim != 1:
        raise ValueError(f"{past.shape} confidences of shown suggestions, {stayed.shape} of whether they were kept")
    if (np.concatenate([wanted, past]) < 0).any() or (np.concatenate([wanted, past]) > 1).any():
        raise ValueError("confidences must be in [0, 1]")
    grid = np.linspace(0, 1, STEPS)
    near = np.clip(1 - np.abs(grid[:, None] - past) / REACH, 0, None)  # (STEPS, M)
    surplus = (near * (stayed - past)).sum(axis=1) / (prior_weight + near.sum(axis=1))
    smooth = isotonic_regression(np.clip(grid + surplus, 0, 1), sample_weight=prior_weight + near.sum(axis=1))
    return np.asarray(np.interp(wanted, grid, smooth))


def threshold(shown: ArrayLike, kept: ArrayLike, above: float) -> float:
    """The confidence in [0, 1] from which a suggestion is kept with a probability of more than ``above``.

    Show those that exceed it. It is ``above`` itself without past suggestions; 0 where all may be shown, 1 where none.
    """
    if not 0 <= above <= 1:
        raise ValueError(f"above is {above}, expected a number in [0, 1]")
    if above == 0:
        return 0.0
    grid = np.linspace(0, 1, STEPS)
    helps = np.flatnonzero(keep_probability(grid, shown, kept) > above + 1e-9)
    return float(grid[max(helps[0] - 1, 0)]) if len(helps) else 1.0
