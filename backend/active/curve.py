"""How much the next labels should add: a learning curve with an honest spread.

Accuracy follows an inverse power law of the number of labels, ``acc(n) = a - d * (n / 50) ** -c`` (Hestness et al.,
Deep Learning Scaling Is Predictable, Empirically, 2017; Figueroa et al., Predicting sample size required for
classification performance, 2012). A least-squares fit of three numbers to a few noisy points is worth little, so all
curves are weighed by how well they explain the points: given ``c`` the rest is linear and has a closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active.metrics import Interval

Numbers = NDArray[np.float64]

REFERENCE = 50.0  # labels; d is what is still to be gained there
EXPONENTS = np.linspace(0.2, 1.4, 13)  # equally likely before anything was measured
CEILING, CEILING_SPREAD = 0.85, 0.15  # of a
DROP_SPREAD = 0.2  # of d, half-normal
OFFSET_SPREAD = 0.2  # between the production model's accuracy and the measured head's
NOISE = 2.0  # times the binomial variance: the same few labels are asked again and again
# Standard deviation, at REFERENCE labels, of what one training adds to or takes from the curve; it falls with the root
# of the labels. The smallest that made 95 % intervals hold 95 % of the gains on each of THUCNews, SMS spam and SST-2.
TRAINING_NOISE = 0.035


@dataclass(frozen=True)
class Point:
    """An accuracy in [0, 1] measured on ``n`` examples after learning from ``labels``.

    ``audit``: of the production model on held-out tasks; else of the linear head by cross-validation.
    """

    labels: float
    accuracy: float
    n: int
    audit: bool = False

    def __post_init__(self) -> None:
        if self.labels < 1 or self.n < 1 or not 0 <= self.accuracy <= 1:
            raise ValueError(f"{self}: expected labels and n of at least 1 and an accuracy in [0, 1]")


def predicted_gain(points: Sequence[Point], labels: float, more: float, *, level: float = 0.95) -> Interval:
    """Accuracy, in [0, 1], that ``more`` labels add to ``labels``; the interval is to hold ``level`` of realised gains.

    The value is never negative, because curves do not fall; the interval may begin below 0, because a training may come
    out worse than its curve. Without points it is what curves in general do. 95 % intervals held 95 % of the gains on
    TREC, AG News and Waimai together (85 % on TREC), which they were not made on, and 94 % with LoRA on TREC; on 151
    classes they are too narrow.
    """
    if labels < 0 or more < 0 or not 0 < level < 1:
        raise ValueError(f"labels {labels}, more {more}, level {level}: expected 0 or more, and a level in (0, 1)")
    now, then = max(labels, 1.0), max(labels, 1.0) + more
    gains, weights = [], []
    for c in EXPONENTS:
        mean, spread, evidence = _posterior(points, float(c))
        drops = _truncated(mean, spread)  # quantiles instead of random draws: the same points give the same answer
        gains.append(drops * (_shape(now, c) - _shape(then, c)))
        weights.append(np.full(len(drops), evidence))
    gain, log_weight = np.concatenate(gains), np.concatenate(weights)
    weight = np.exp(log_weight - log_weight.max())
    curves = _summary(np.clip(gain, 0, 1), weight / weight.sum(), level)
    return _with_training_noise(curves, now, level) if more else curves


def _with_training_noise(curves: Interval, labels: float, level: float) -> Interval:
    """The interval of curves, made as much wider as an independent normal noise makes it."""
    noise = NormalDist().inv_cdf((1 + level) / 2) * TRAINING_NOISE * float((REFERENCE / labels) ** 0.5)
    low = curves.value - float(np.hypot(curves.value - curves.low, noise))
    high = curves.value + float(np.hypot(curves.high - curves.value, noise))
    return Interval(curves.value, max(low, -1.0), min(high, 1.0))


def _shape(labels: ArrayLike, c: float) -> Numbers:
    return np.asarray((np.asarray(labels, np.float64) / REFERENCE) ** -c)


def _posterior(points: Sequence[Point], c: float) -> tuple[float, float, float]:
    """(mean, standard deviation) of the drop ``d`` and the log evidence for ``c``: linear regression, normal prior.

    Unknowns: ceiling, drop, and the distance of the audited model from the cross-validated head.
    """
    prior_mean = np.array([CEILING, 0.0, 0.0])
    prior = np.diag(np.array([CEILING_SPREAD, DROP_SPREAD, OFFSET_SPREAD]) ** 2)
    if not points:
        return 0.0, DROP_SPREAD, 0.0
    audit = np.array([float(p.audit) for p in points])
    design = np.stack([np.ones(len(points)), -_shape([p.labels for p in points], c), audit], axis=1)  # (P, 3)
    measured = np.array([p.accuracy for p in points])
    noise = np.diag([_variance(p) for p in points])
    spread = design @ prior @ design.T + noise  # (P, P), of what is measured
    surprise = measured - design @ prior_mean
    gain = np.linalg.solve(spread, design @ prior).T  # (3, P)
    mean = prior_mean + gain @ surprise
    covariance = prior - gain @ design @ prior
    evidence = -0.5 * (surprise @ np.linalg.solve(spread, surprise) + np.linalg.slogdet(spread)[1])
    sd = float(np.sqrt(max(covariance[1, 1], 1e-12)))
    positive = max(1 - NormalDist(float(mean[1]), sd).cdf(0.0), 1e-12)  # a curve that falls is none
    return float(mean[1]), sd, float(evidence + np.log(positive))


def _variance(point: Point) -> float:
    """Of a share of n; one example is added to each side, so that 5 of 5 is not certainty."""
    share = (point.accuracy * point.n + 1) / (point.n + 2)
    return NOISE * share * (1 - share) / point.n


def _truncated(mean: float, sd: float, n: int = 41) -> Numbers:
    """``n`` equally likely values of a normal variable that is not negative."""
    below = NormalDist(mean, sd).cdf(0.0)
    if below > 1 - 1e-9:
        return np.zeros(n)
    shares = below + (1 - below) * (np.arange(n) + 0.5) / n
    return np.array([NormalDist(mean, sd).inv_cdf(min(float(q), 1 - 1e-12)) for q in shares]).clip(0)


def _summary(values: Numbers, weights: Numbers, level: float) -> Interval:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    low, middle, high = (
        float(values[order][min(int(np.searchsorted(reached, q)), len(order) - 1)])
        for q in ((1 - level) / 2, 0.5, (1 + level) / 2)
    )
    return Interval(middle, low, high)
