"""How often a model is wrong, told without a label by how often another one disagrees with it.

Two models that learned from labels of their own disagree as often as they are wrong (Jiang et al., Assessing
Generalization of SGD via Disagreement, 2022). Two versions of a project share labels, and with them mistakes.
"""

import numpy as np
from numpy.typing import ArrayLike

from backend.active.calibration import softmax

# How often two versions that share six in ten labels or more disagree, for each time that one is wrong, on unlabelled
# tasks of the pools of TREC, SST-2 and AG News: 0.26 to 0.75, and up to 0.98 where the labels between them were chosen
# and taught much. Of what was tried on these pools, 0.75 does most for SST-2 that costs TREC less than a point.
SHARED = 0.75
LEAST = 100  # examples: a tenth of fewer is told to three points at best
HOTTEST = 20.0


def least_errors(disagreement: float, classes: int) -> float:
    """The share of examples, in [0, 1), that a model of so many ``classes`` is thought wrong on at least, where another
    one that shares labels with it disagrees on this share; no more than chance makes it."""
    return min(disagreement / SHARED, 1 - 1 / classes)


def no_surer(logits: ArrayLike, others: ArrayLike, temperature: float) -> float:
    """The temperature, at least the given one, with which a model is no surer on average than it can be right.

    ``logits`` (N, K) of examples that neither model learned from, ``others`` (N,) the classes that the other one gives
    them. Below a hundred examples the temperature stays. That they agree says nothing: models share mistakes.
    """
    values, classes = np.asarray(logits, np.float64), np.asarray(others)
    if values.ndim != 2 or classes.shape != values.shape[:1]:
        raise ValueError(f"logits {values.shape} and classes {classes.shape} must be (N, K) and (N,)")
    if len(values) < LEAST:
        return temperature
    right = 1 - least_errors(float((values.argmax(axis=1) != classes).mean()), values.shape[1])
    low, high = np.log(temperature), np.log(max(HOTTEST, temperature))
    if _confidence(values, low) <= right:
        return temperature
    while high - low > 1e-4:  # the hotter, the less sure
        middle = (low + high) / 2
        low, high = (middle, high) if _confidence(values, middle) > right else (low, middle)
    return float(np.exp(high))


def _confidence(logits: np.ndarray[tuple[int, ...], np.dtype[np.float64]], log_t: float) -> float:
    return float(softmax(logits * np.exp(-log_t)).max(axis=1).mean())
