"""A number from features: Bayesian linear regression, whose predictions come with a standard deviation.

Everything is in units of the targets' standard deviation, from their mean; the weights have a normal prior around 0
(ridge regression). The variance of a prediction is ``noise**2 * (1 + leverage)``: the leverage says how unlike the
labelled examples a text is. Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active.folds import distinct
from backend.active.head import HELD_OUT_COUNTS, LinearHead

Numbers = NDArray[np.float64]

PENALTIES = np.geomspace(0.1, 30, 11)  # ridge penalties that are tried, as multiples of D
DIRECTIONS = 128  # in which it is kept how well the labelled examples cover them
LEAST_WIDTH = 1e-30  # float32 knows little that is smaller
PRIOR_COUNT = 3.0  # examples whose error is a standard deviation of the targets: few examples fit too well


@dataclass(frozen=True)
class Scale:
    """``centre`` and ``width``: the mean and the standard deviation of targets."""

    centre: float
    width: float

    @classmethod
    def of(cls, targets: ArrayLike) -> "Scale":
        """The scale of targets (N,); of width 1 where they are all the same."""
        values = np.asarray(targets, np.float64)
        width = float(values.std())
        return cls(float(values.mean()), width if width > max(1e-9 * float(np.abs(values).max()), LEAST_WIDTH) else 1.0)

    def standard(self, targets: ArrayLike) -> Numbers:
        """Targets in widths from the centre."""
        return (np.asarray(targets, np.float64) - self.centre) / self.width


def fit_ridge(features: ArrayLike, targets: ArrayLike) -> LinearHead:
    """The head with one row that fits standardised ``targets`` (N,) on ``features`` (N, D).

    The penalty has the least leave-one-out error (in closed form, Golub, Heath and Wahba, 1979), where examples with
    the same features, copies of a text, are left out together. ``extra``: ``noise`` (1,), in widths; and what
    :func:`leverage` needs.
    """
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or len(x) == 0:
        raise ValueError(f"features {x.shape} and targets {y.shape} must be (N, D) and (N,) with N of at least 1")
    middle, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    u, d, v = np.linalg.svd((x - middle) / spread, full_matrices=False)  # (N, R), (R,), (R, D)
    level = float(y.mean())
    along = u.T @ (y - level)  # (R,)

    copy = distinct(x)
    copies = np.bincount(copy)[copy]  # (N,), itself among them

    def left_out(penalty: float) -> tuple[Numbers, Numbers]:
        """Residuals (N,), and what they are where an example and its copies are left out, (N,)."""
        shrink = d**2 / (d**2 + penalty)
        own = (u**2) @ shrink + 1 / len(x)  # how much each pulls its own prediction, below 1, and that of a copy
        residual = y - level - u @ (shrink * along)
        pulled = np.minimum(copies * own, 1 - 1e-3)
        return residual, residual + own / (1 - pulled) * np.bincount(copy, residual)[copy]

    def error(penalty: float) -> float:
        return float((left_out(penalty)[1] ** 2).mean())

    penalty = float(min(PENALTIES * x.shape[1], key=error)) if len(x) > 2 else float(PENALTIES[-1] * x.shape[1])
    residual, apart = left_out(penalty)
    weight = (d / (d**2 + penalty) * along) @ v / spread
    top = slice(0, DIRECTIONS)
    known = np.sqrt(d[top] ** 2 / (d[top] ** 2 + penalty))[:, None] * v[top]  # (R, D)
    extra = {
        "noise": _noise((residual * apart).sum(), len(x)),
        "examples": np.array([len(x)], np.float32),
        "middle": middle.astype(np.float32),
        "spread": spread.astype(np.float32),
        "known": known.astype(np.float32),
        "penalty": np.array([penalty], np.float32),
    }
    bias = np.array([level - weight @ middle], np.float32)
    return LinearHead(weight[None].astype(np.float32), bias, extra=extra)


def _noise(squares: float, count: float) -> NDArray[np.float32]:
    """The standard deviation (1,) of ``count`` errors with this sum of squares, with the prior."""
    return np.array([np.sqrt((squares + PRIOR_COUNT) / (count + PRIOR_COUNT))], np.float32)


def leverage(head: LinearHead, features: ArrayLike) -> Numbers:
    """How much the labels leave open about each of ``features`` (N, D), as a multiple of the noise's variance, (N,).

    At least 0. 0 for a head that was trained on since it was fitted: its features are others.
    """
    x = np.asarray(features, np.float64)
    if "known" not in head.extra:
        return np.zeros(len(x))
    standard = (x - head.extra["middle"]) / head.extra["spread"]
    open_ = (standard**2).sum(axis=1) - ((standard @ head.extra["known"].T) ** 2).sum(axis=1)
    return np.asarray(np.maximum(open_, 0) / float(head.extra["penalty"][0]))


def deviation(head: LinearHead, features: ArrayLike) -> Numbers:
    """Standard deviations (N,) of what is predicted of features (N, D), in widths."""
    return np.asarray(float(head.extra["noise"][0]) * np.sqrt(1 + leverage(head, features)))


def with_held_out(
    head: LinearHead, features: ArrayLike, targets: ArrayLike, *, known: float | None = None
) -> LinearHead:
    """The head with the noise that held-out ``features`` (M, D) and standardised ``targets`` (M,) show too; M may be 0.

    Each counts for four, because labels that a strategy chose are not like the pool. ``known``: the examples that the
    noise so far counts for, those that it was fitted to without.
    """
    errors = np.asarray(targets, np.float64) - head.logits(np.asarray(features)).reshape(-1)
    squares = errors**2 / (1 + leverage(head, features))
    before = float(head.extra["examples"][0]) if known is None else known
    total = before * float(head.extra["noise"][0]) ** 2 + HELD_OUT_COUNTS * squares.sum()
    noise = np.array([np.sqrt(total / (before + HELD_OUT_COUNTS * len(errors)))], np.float32)
    return LinearHead(head.weight, head.bias, extra={**head.extra, "noise": noise})


def trained(head: LinearHead) -> LinearHead:
    """The head without what is known of the features that it was fitted to."""
    kept = {name: array for name, array in head.extra.items() if name not in ("middle", "spread", "known", "penalty")}
    return LinearHead(head.weight, head.bias, extra=kept)


def within(low: ArrayLike, high: ArrayLike, mean: ArrayLike, deviation: ArrayLike) -> Numbers:
    """Probability (N,) that a normal variable is between two ends."""
    from scipy.special import ndtr

    below, above = (np.asarray(ndtr((np.asarray(e) - np.asarray(mean)) / np.asarray(deviation))) for e in (low, high))
    return np.asarray(above - below)
