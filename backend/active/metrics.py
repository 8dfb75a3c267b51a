"""How good a model is on held-out tasks, and how sure that is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc, betaincinv


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its confidence interval: shares in [0, 1], or differences of shares in [-1, 1]."""

    value: float
    low: float
    high: float


def accuracy_interval(correct: float, n: float, level: float = 0.95) -> Interval:
    """Accuracy ``correct / n`` with its exact interval: it holds the truth with probability ``level`` at least, however
    few the examples are. An approximation such as Wilson's does so on average only, and less often near 0 and 1.

    ``correct`` may be a sum of qualities in [0, 1]: their variance is at most that of answers which are right or wrong.
    ``n`` may be a number of examples that tell as much. Clopper and Pearson, The Use of Confidence or Fiducial Limits
    Illustrated in the Case of the Binomial, 1934.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}: expected 0 <= correct <= n and n of at least 1")
    tail = (1 - level) / 2
    low = betaincinv(correct, n - correct + 1, tail) if correct else 0.0
    high = betaincinv(correct + 1, n - correct, 1 - tail) if correct < n else 1.0
    return Interval(correct / n, float(low), float(high))


def macro_f1(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Mean F1 over the classes that occur in ``actual`` (N,), in [0, 1], high = good. 0 without examples."""
    said, true = np.asarray(predicted), np.asarray(actual)
    if said.shape != true.shape:
        raise ValueError(f"{said.shape} predictions for {true.shape} labels")
    scores = [2 * ((said == c) & (true == c)).sum() / ((said == c).sum() + (true == c).sum()) for c in np.unique(true)]
    return float(np.mean(scores)) if scores else 0.0


def bootstrap_interval(
    measure: Callable[[NDArray[np.int64]], float], n: int, *, seed: int, level: float = 0.95, draws: int = 200
) -> Interval:
    """What ``measure`` says of all ``n`` examples, with the percentile interval of a bootstrap over them (Efron 1979).

    ``measure`` is given positions (n,), some more than once. The same seed gives the same ends. Of a share of right
    answers it says too little of what may be: see :func:`accuracy_interval`.
    """
    value = measure(np.arange(n))
    samples = np.random.default_rng(seed).integers(n, size=(draws, n))
    low, high = np.quantile([measure(at) for at in samples], [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def macro_f1_interval(
    predicted: ArrayLike, actual: ArrayLike, *, seed: int, level: float = 0.95, draws: int = 1000
) -> Interval:
    """Macro-F1 with the percentile interval of a bootstrap over the examples (Efron 1979); both (N,), N at least 1.

    F1 is no mean over examples, so there is no closed form as for the accuracy. The same seed gives the same ends. A
    handful of examples that are all right has the interval [1, 1]: read the accuracy's beside it.
    """
    said, true = np.asarray(predicted), np.asarray(actual)
    if not len(true):
        raise ValueError("macro-F1 of no examples: expected at least 1")
    return bootstrap_interval(lambda at: macro_f1(said[at], true[at]), len(true), seed=seed, level=level, draws=draws)


def worse_beyond_noise(old_correct: ArrayLike, new_correct: ArrayLike, level: float = 0.05) -> bool:
    """Whether the new model is worse than the old one on the same examples by more than chance explains.

    Both (N,), how right each answer is in [0, 1] or bool. Exact one-sided sign test on the examples that one of them
    answers better (for right and wrong McNemar 1947): true if losing at least so many of them has a probability of at
    most ``level`` for equally good models. With few examples hardly anything is beyond noise, and so a new model is not
    held back by bad luck.
    """
    old, new = np.asarray(old_correct, np.float64), np.asarray(new_correct, np.float64)
    if old.shape != new.shape:
        raise ValueError(f"{old.shape} and {new.shape}: both models must answer the same examples")
    lost, won = int((old > new).sum()), int((old < new).sum())
    return lost > won and bool(bdtrc(lost - 1, lost + won, 0.5) <= level)
