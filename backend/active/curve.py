"""How much the next labels should add: a learning curve with an honest spread.

Accuracy follows an inverse power law of the number of labels, ``acc(n) = a - d * (n / 50) ** -c`` (Hestness et al.,
Deep Learning Scaling Is Predictable, Empirically, 2017; Figueroa et al., Predicting sample size required for
classification performance, 2012). A least-squares fit of three numbers to a few noisy points is worth little, so all
curves are weighed by how well they explain the points: given ``c`` the rest is linear and has a closed form.

Where there are many classes, what counts at first is how many of them have been met, and that is no power law: of
``k`` classes that are equally frequent a share of ``exp(-n / k)`` has no label after ``n``. So curves
``acc(n) = a - d * exp(-n / (t * k))`` are weighed beside the others.

How steep it still is shows in unlabelled tasks, of which there are many: where further labels changed few answers,
further labels will. Disagreement of versions bounds what lies between them, with no label asked for (that it stands for
the error: Jiang et al., Assessing Generalization of SGD via Disagreement, ICLR 2022).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active.metrics import Interval

Numbers = NDArray[np.float64]
Shape = Callable[[ArrayLike], Numbers]  # labels -> how much of the drop is left

REFERENCE = 50.0  # labels; d is what is still to be gained there
EXPONENTS = np.linspace(0.2, 1.4, 13)  # equally likely before anything was measured
CEILING, CEILING_SPREAD = 0.85, 0.15  # of a
DROP_SPREAD = 0.2  # of d, half-normal
TURNS = (0.7, 1.0, 1.5, 2.0, 3.0)  # t: labels for each class until about two thirds of it is done
SLOW = 20.0  # labels: a curve that bends sooner is over when the first version is trained
UNMET, UNMET_SPREAD = 0.8, 0.2  # of d there: without a label next to nothing is right
# How likely each of these curves is, against each power law, before anything was measured. With 1 too little is
# promised where there are many classes: on 30 and 80 of CLINC's the mean error is 5.1 points, not 3.9 (frozen features,
# 24 predictions, by a script that is not in the repository).
MEETING_ODDS = 2.0
OFFSET_SPREAD = 0.2  # between the production model's accuracy and the measured head's
# Of the answers that change: how many more become right than wrong. Between versions of adapters on six data sets from
# 0.1 (few classes) to 0.7 (thirty).
NET, NET_SPREAD = 0.45, 0.15
CHANGE_SPREAD = 0.01  # of that, for a pool of hundreds
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


@dataclass(frozen=True)
class Change:
    """The ``share``, in [0, 1], of answers to the same tasks that are others after learning from ``labels`` examples
    than after ``before``, which are fewer."""

    before: float
    labels: float
    share: float

    def __post_init__(self) -> None:
        if not 1 <= self.before < self.labels or not 0 <= self.share <= 1:
            raise ValueError(f"{self}: expected before of at least 1, more labels, and a share in [0, 1]")


def effective_classes(classes: ArrayLike) -> float:
    """How many equally frequent classes are as diverse as ``classes`` (N,), those of labelled examples; 1 to N.

    The exponential of Shannon's entropy: the Hill number of order 1, Hill 1973. 1 without examples.
    """
    _, counts = np.unique(np.asarray(classes), return_counts=True)
    shares = counts / max(1, counts.sum())
    return float(np.exp(-(shares * np.log(shares)).sum()))


def predicted_gain(
    points: Sequence[Point],
    labels: float,
    more: float,
    *,
    changes: Sequence[Change] = (),
    classes: float = 1.0,
    level: float = 0.95,
) -> Interval:
    """Accuracy, in [0, 1], that ``more`` labels add to ``labels``; the interval is to hold ``level`` of realised gains.

    ``changes``: of one model as its labels grew. ``classes``: the :func:`effective_classes` of the labels. The value
    is never negative, because curves do not fall; the interval may begin below 0, because a training may come out worse
    than its curve. Without points and changes it is what curves in general do. It is a prediction for the pool; how
    often intervals held is in the README.
    """
    if labels < 0 or more < 0 or classes < 1 or not 0 < level < 1:
        raise ValueError(
            f"labels {labels}, more {more}, classes {classes}, level {level}: expected 0 or more labels, at least 1 "
            "class, and a level in (0, 1)"
        )
    now, then = max(labels, 1.0), max(labels, 1.0) + more
    gains, weights = [], []
    for shape, prior_drop, prior_spread, odds in _curves(classes):
        mean, spread, evidence = _posterior(points, changes, shape, prior_drop, prior_spread)
        drops = _truncated(mean, spread)  # quantiles instead of random draws: the same points give the same answer
        gains.append(drops * (shape(now) - shape(then)))
        weights.append(np.full(len(drops), np.log(odds) + evidence))
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


def _curves(classes: float) -> list[tuple[Shape, float, float, float]]:
    """All curves that are weighed: the shape; before anything is known, mean and standard deviation of the drop, which
    is positive, and how likely the curve is against others."""

    def power(c: float) -> Shape:
        return lambda labels: np.asarray((np.asarray(labels, np.float64) / REFERENCE) ** -c)

    def meeting(scale: float) -> Shape:
        return lambda labels: np.asarray(np.exp(np.asarray(labels, np.float64) / -scale))

    slow = [t * classes for t in TURNS if t * classes >= SLOW]
    return [
        *((power(float(c)), 0.0, DROP_SPREAD, 1.0) for c in EXPONENTS),
        *((meeting(scale), UNMET, UNMET_SPREAD, MEETING_ODDS) for scale in slow),
    ]


def _posterior(
    points: Sequence[Point], changes: Sequence[Change], shape: Shape, drop: float, drop_spread: float
) -> tuple[float, float, float]:
    """(mean, standard deviation) of the drop ``d`` and the log evidence for a shape: linear regression, normal prior.

    Unknowns: ceiling, drop, and the distance of the audited model from the cross-validated head. A change says how far
    two points of the curve are apart.
    """
    prior_mean = np.array([CEILING, drop, 0.0])
    prior = np.diag(np.array([CEILING_SPREAD, drop_spread, OFFSET_SPREAD]) ** 2)
    if not points and not changes:
        return drop, drop_spread, 0.0
    levels = [(1.0, -float(shape(p.labels)), float(p.audit)) for p in points]
    rises = [(0.0, float(shape(c.before) - shape(c.labels)), 0.0) for c in changes]
    design = np.array([*levels, *rises])  # (M, 3)
    measured = np.array([*(p.accuracy for p in points), *(NET * c.share for c in changes)])
    noise = np.diag([*map(_variance, points), *((NET_SPREAD * c.share) ** 2 + CHANGE_SPREAD**2 for c in changes)])
    spread = design @ prior @ design.T + noise  # (M, M), of what is measured
    surprise = measured - design @ prior_mean
    gain = np.linalg.solve(spread, design @ prior).T  # (3, P)
    mean = prior_mean + gain @ surprise
    covariance = prior - gain @ design @ prior
    evidence = -0.5 * (surprise @ np.linalg.solve(spread, surprise) + np.linalg.slogdet(spread)[1])
    sd = float(np.sqrt(max(covariance[1, 1], 1e-12)))
    # a curve that falls is none: how much likelier it is that this one does not fall, now that something was measured
    rising = _positive(float(mean[1]), sd) / _positive(drop, drop_spread)
    return float(mean[1]), sd, float(evidence + np.log(rising))


def _positive(mean: float, sd: float) -> float:
    """The probability, never 0, that a normal variable is positive."""
    return max(1 - NormalDist(mean, sd).cdf(0.0), 1e-12)


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
