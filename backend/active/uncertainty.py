"""How unsure a classifier is: ``(N, K)`` probabilities to ``(N,)`` numbers in [0, 1], high = uncertain.

All three are 0 for a certain answer and 1 for a uniform one, whatever K is; with one class there is nothing to be
unsure about and they are 0. Definitions: Settles, Active Learning Literature Survey, 2009, section 3.1.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


def check_probs(probs: ArrayLike) -> Numbers:
    """The probabilities as float64, rows summing to 1. Raises ValueError that says what is wrong with them."""
    checked = np.asarray(probs, np.float64)
    if checked.ndim != 2 or checked.shape[1] == 0:
        raise ValueError(f"probs have shape {checked.shape}, expected (N, K) with K of at least 1")
    if not np.isfinite(checked).all():
        raise ValueError("probs hold values that are not finite")
    sums = checked.sum(axis=1)
    if (checked < -1e-6).any() or (np.abs(sums - 1) > 1e-3).any():
        raise ValueError("probs must not be negative and each row must sum to 1")
    return np.asarray(np.clip(checked, 0, None) / sums[:, None])


def margin(probs: ArrayLike) -> Numbers:
    """1 minus the distance between the two most probable classes, shape (N,), in [0, 1], high = uncertain.

    Scheffer et al., Active Hidden Markov Models for Information Extraction, 2001.
    """
    checked = check_probs(probs)
    if checked.shape[1] == 1:
        return np.zeros(len(checked))
    second, first = np.partition(checked, -2, axis=1)[:, -2:].T
    return np.asarray(np.clip(1 - (first - second), 0, 1))


def entropy(probs: ArrayLike) -> Numbers:
    """Entropy divided by log K, shape (N,), in [0, 1], high = uncertain.

    Shannon 1948. With many classes it follows the tail of improbable ones and loses to ``margin``.
    """
    checked = check_probs(probs)
    if checked.shape[1] == 1:
        return np.zeros(len(checked))
    logs = np.log(checked, out=np.zeros_like(checked), where=checked > 0)
    return np.asarray(np.clip(-(checked * logs).sum(axis=1) / np.log(checked.shape[1]), 0, 1))


def least_confidence(probs: ArrayLike) -> Numbers:
    """1 minus the largest probability, scaled by K / (K - 1), shape (N,), in [0, 1], high = uncertain.

    Lewis & Gale, A Sequential Algorithm for Training Text Classifiers, 1994.
    """
    checked = check_probs(probs)
    k = checked.shape[1]
    if k == 1:
        return np.zeros(len(checked))
    return np.asarray(np.clip((1 - checked.max(axis=1)) * k / (k - 1), 0, 1))
