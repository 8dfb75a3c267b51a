"""How unsure a classifier is: ``(N, K)`` probabilities to ``(N,)`` numbers, high = uncertain.

Those of one distribution (margin, entropy, least confidence, loss) are 0 for a certain answer and 1 for a uniform one,
whatever K is; with one class there is nothing to be unsure about and they are 0. Those of several distributions for
each item are made of samples (S, N, K), as :mod:`backend.active.dropout` draws them. Definitions: Settles, Active
Learning Literature Survey, 2009, section 3.
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


def loss(probs: ArrayLike) -> Numbers:
    """The model's log loss on its own answer divided by log K, shape (N,), in [0, 1], high = uncertain.

    That is -log of the largest probability: the order of ``least_confidence``, but spread out where answers are sure.
    """
    checked = check_probs(probs)
    k = checked.shape[1]
    if k == 1:
        return np.zeros(len(checked))
    return np.asarray(np.clip(-np.log(checked.max(axis=1)) / np.log(k), 0, 1))


def expected_gradient_length(probs: ArrayLike, features: ArrayLike) -> Numbers:
    """Expected length of the gradient that a label would give the head, shape (N,), at least 0, high = uncertain.

    ``features`` (N, D). For a linear softmax head with a bias the gradient of label y is (p - e_y) (x) [h, 1], and so
    its length is |p - e_y| * sqrt(|h|^2 + 1); no gradient is built. Not bounded: long features have long gradients.
    Settles et al., Multiple-Instance Active Learning, 2008.
    """
    checked, h = check_probs(probs), np.asarray(features)
    if h.ndim != 2 or len(h) != len(checked):
        raise ValueError(f"features {h.shape} must be ({len(checked)}, D), one row for each of probs")
    squares = (checked**2).sum(axis=1, keepdims=True)
    errors = np.sqrt(np.maximum(squares - 2 * checked + 1, 0))  # (N, K): |p - e_y| for each y
    lengths = np.sqrt(np.einsum("nd,nd->n", h, h, dtype=np.float64) + 1)
    return np.asarray((checked * errors).sum(axis=1) * lengths)


def mean_entropy(samples: ArrayLike) -> Numbers:
    """Mean entropy of the samples (S, N, K) divided by log K, shape (N,), in [0, 1], high = uncertain.

    The doubt that every sampled model has, which more labels would not remove (aleatoric).
    """
    return np.asarray(np.mean([entropy(probs) for probs in _check_samples(samples)], axis=0))


def bald(samples: ArrayLike) -> Numbers:
    """How much the samples (S, N, K) disagree, divided by log K, shape (N,), in [0, 1], high = uncertain.

    Mutual information of label and model: the entropy of the mean minus the mean entropy. 0 where all samples agree,
    however unsure each is. Houlsby et al., Bayesian Active Learning for Classification, 2011; with dropout: Gal et
    al., Deep Bayesian Active Learning with Image Data, 2017.
    """
    checked = _check_samples(samples)
    return np.asarray(np.clip(entropy(np.mean(checked, axis=0)) - mean_entropy(checked), 0, 1))


def _check_samples(samples: ArrayLike) -> Numbers:
    """The samples as float64. Raises ValueError for another shape than (S, N, K) with S of at least 1."""
    checked = np.asarray(samples, np.float64)
    if checked.ndim != 3 or len(checked) == 0:
        raise ValueError(f"samples of probs have shape {checked.shape}, expected (S, N, K) with S of at least 1")
    return checked
