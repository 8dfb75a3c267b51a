"""How often a model is wrong, told without a label by how often another one disagrees with it.

Two models that learned from labels of their own disagree as often as they are wrong (Jiang et al., Assessing
Generalization of SGD via Disagreement, 2022). Two versions of a project share labels, and with them mistakes.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from backend.active.calibration import LOG_BOUND, softmax

# How often two versions that share six in ten labels or more disagree, for each time that one is wrong, on unlabelled
# tasks of the pools of TREC, SST-2 and AG News: 0.26 to 0.75, and up to 0.98 where the labels between them were chosen
# and taught much. Of what was tried on these pools, 0.75 does most for SST-2 that costs TREC less than a point.
SHARED = 0.75
LEAST = 100  # examples: a tenth of fewer is told to three points at best


def least_errors(disagreement: float, classes: int) -> float:
    """The share of examples, in [0, 1), that a model of so many ``classes`` is thought wrong on at least, where another
    one that shares labels with it disagrees on this share; no more than chance makes it."""
    return min(disagreement / SHARED, 1 - 1 / classes)


def no_surer(logits: ArrayLike, others: ArrayLike, temperature: float) -> float:
    """The temperature, from the given one to 20, with which a model is no surer on average than it can be right.

    ``logits`` (N, K) of examples that neither model learned from, ``others`` (N,) the classes that the other one gives
    them. Below a hundred examples the temperature stays. That they agree says nothing: models share mistakes.
    """
    values, classes = np.asarray(logits, np.float64), np.asarray(others)
    if values.ndim != 2 or classes.shape != values.shape[:1]:
        raise ValueError(f"logits {values.shape} and classes {classes.shape} must be (N, K) and (N,)")
    if len(values) < LEAST:
        return temperature
    right = 1 - least_errors(float((values.argmax(axis=1) != classes).mean()), values.shape[1])

    def too_sure(log_t: float) -> float:
        return float(softmax(values * np.exp(-log_t)).max(axis=1).mean()) - right

    start = float(np.log(temperature))
    if too_sure(start) <= 0:
        return temperature
    if too_sure(LOG_BOUND) >= 0:  # the hotter, the less sure
        return max(temperature, float(np.exp(LOG_BOUND)))
    return float(np.exp(brentq(too_sure, start, LOG_BOUND)))  # type: ignore[no-untyped-call]
