"""Ordered classes, such as stars: one direction in the features, and from where on along it each class begins.

Targets (N, K) are distributions over K classes from low to high. Logits (N, K - 1) are those of "it is above class k":
the proportional odds model (McCullagh, Regression Models for Ordinal Data, 1980), fitted as K - 1 binary questions (Li
and Lin, Ordinal Regression by Extended Binary Classification, 2006). With one shared direction the thresholds come out
in order (Cao, Mirjalili and Raschka, Rank Consistent Ordinal Regression, 2020).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active.folds import out_of_fold
from backend.active.head import HELD_OUT_COUNTS, LinearHead
from backend.active.multilabel import fit_scale, scaled, sigmoid

Numbers = NDArray[np.float64]

STRENGTH = 8.0  # variance of the scores of texts before any is seen, low = flatter; 1 / C is D / this
ITERATIONS = 100
HALF = 1e-6  # shares of annotators so near to one half are one half


def above(targets: ArrayLike) -> Numbers:
    """Shares (N, K - 1) above each class but the highest, of distributions (N, K)."""
    return 1 - np.cumsum(np.asarray(targets, np.float64), axis=1)[:, :-1]


def class_probs(exceed: ArrayLike) -> Numbers:
    """Probabilities (N, K), rows summing to 1, of those (N, K - 1) of being above each class but the highest.

    Where these rise from a class to the next, which they cannot, they stay as they are.
    """
    falling = np.minimum.accumulate(np.asarray(exceed, np.float64), axis=1)
    ends = np.ones((len(falling), 1))
    return -np.diff(np.concatenate([ends, falling, 0 * ends], axis=1), axis=1)


def medians(targets: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lowest and the highest class (N,) that has half of a distribution (N, K) on either side.

    Both are the same but where exactly half is above. A median has the least expected distance.
    """
    exceed = above(targets)
    return (exceed > 0.5 + HALF).sum(axis=1), (exceed > 0.5 - HALF).sum(axis=1)


def expected_distance(probs: ArrayLike, answers: ArrayLike) -> Numbers:
    """Expected distance (N,) in classes of the answers (N,) under distributions (N, K)."""
    p = np.asarray(probs, np.float64)
    return np.asarray((p * np.abs(np.arange(p.shape[1]) - np.asarray(answers)[:, None])).sum(axis=1))


def fit_ordinal_head(features: ArrayLike, targets: ArrayLike, *, strength: float = STRENGTH) -> LinearHead:
    """The head with K - 1 equal rows, and the thresholds in its bias, that fits ``targets`` (N, K) on (N, D).

    A further example in the middle, which all classes share, keeps classes possible that have not been seen.
    """
    from scipy.optimize import minimize

    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) == 0 or y.shape[1] < 2:
        raise ValueError(f"features {x.shape} and targets {y.shape} must be (N, D) and (N, K), N at least 1, K 2")
    centre, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    k, penalty = y.shape[1], x.shape[1] / strength
    x = np.concatenate([(x - centre) / scale, np.zeros((1, x.shape[1]))])
    wanted = above(np.concatenate([y, np.full((1, k), 1 / k)]))

    def cost(at: Numbers) -> tuple[float, Numbers]:
        w, b = at[: 1 - k], at[1 - k :]
        z = (x @ w)[:, None] + b
        value = (np.logaddexp(0, z) - wanted * z).sum() / (k - 1) + penalty / 2 * (w**2).sum()
        error = (sigmoid(z) - wanted) / (k - 1)
        return float(value), np.concatenate([x.T @ error.sum(axis=1) + penalty * w, error.sum(axis=0)])

    mean = wanted.mean(axis=0)
    start = np.concatenate([np.zeros(x.shape[1]), np.log(mean) - np.log1p(-mean)])
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x  # type: ignore[no-untyped-call]
    weight = found[: 1 - k] / scale
    bias = found[1 - k :] - weight @ centre
    return LinearHead(np.tile(weight, (k - 1, 1)).astype(np.float32), bias.astype(np.float32))


def fit_calibrated_ordinal(
    head: LinearHead, features: ArrayLike, targets: ArrayLike, held_features: ArrayLike, held_targets: ArrayLike,
    *, seed: int,
) -> LinearHead:  # fmt: skip
    """A head fitted to (N, D) and (N, K), with honest probabilities: see :func:`calibrate`.

    By cross-validation on what it was fitted to, and on held-out examples (M may be 0), which count for four each.
    """
    x, y = np.asarray(features), np.asarray(targets)
    folded, at = out_of_fold(x, lambda rest, out: fit_ordinal_head(x[rest], y[rest]).logits(x[out]), seed=seed)
    held = head.logits(np.asarray(held_features)).reshape(-1, len(head.bias))
    logits = np.concatenate([folded.reshape(-1, len(head.bias)), held])
    wanted = np.concatenate([y[at], np.asarray(held_targets)])
    return calibrate(head, logits, wanted, np.repeat([1.0, HELD_OUT_COUNTS], [len(at), len(held)]))


def calibrate(
    head: LinearHead, logits: ArrayLike, targets: ArrayLike, weights: ArrayLike, *, trust: float = 3.0
) -> LinearHead:
    """The head whose ``sigmoid(logits / temperature)`` are honest probabilities of being above each class.

    ``logits`` (M, K - 1) of examples that it was not fitted to, their ``targets`` (M, K) and ``weights`` (M,); M may be
    0. One slope and a shift of each threshold, see :func:`backend.active.multilabel.fit_scale`.
    """
    return scaled(head, fit_scale(logits, above(targets), weights, trust=trust))


def quadratic_agreement(said: ArrayLike, wanted: ArrayLike) -> float:
    """Kappa with quadratic weights of two ratings (N,), in [-1, 1], high = good; 1 where both are one same number.

    Cohen 1968. It is also Lin's concordance correlation coefficient (1989), and so defined for any numbers.
    """
    a, b = np.asarray(said, np.float64), np.asarray(wanted, np.float64)
    by_chance = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(1 - ((a - b) ** 2).mean() / by_chance) if by_chance > 0 else 1.0
