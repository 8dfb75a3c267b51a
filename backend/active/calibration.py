"""Making probabilities honest: temperature scaling, and how far off they are.

Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

Numbers = NDArray[np.float64]

LOG_BOUND = 3.0  # temperatures from 1/20 to 20


def softmax(logits: ArrayLike) -> Numbers:
    """Probabilities (N, K) of logits (N, K), rows summing to 1."""
    return np.exp(log_softmax(logits))


def log_softmax(logits: ArrayLike) -> Numbers:
    """Logarithms of the probabilities (N, K) of logits (N, K)."""
    values = np.asarray(logits, np.float64)
    shifted = values - values.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def fit_temperature(
    logits: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None, prior_weight: float = 3.0
) -> float:
    """The temperature T in [0.05, 20] for which ``softmax(logits / T)`` fits ``targets`` (N, K) best.

    ``weights`` (N,): how many examples each one counts for; all 1 without.

    Maximum a posteriori: log T is normal around 0, and the prior costs ``prior_weight * log(T)**2`` nats. So T is 1
    without examples, moves little with five and freely with hundreds; there is no smallest number of examples.
    """
    values, wanted = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    if values.shape != wanted.shape or values.ndim != 2:
        raise ValueError(f"logits {values.shape} and targets {wanted.shape} must both be (N, K)")
    if len(values) == 0:
        return 1.0

    if weights is not None:
        wanted = wanted * np.asarray(weights, np.float64)[:, None]

    def cost(log_t: float) -> float:
        fit = -(wanted * log_softmax(values * np.exp(-log_t))).sum()
        return float(fit + prior_weight * log_t**2)

    return _best_temperature(cost)


def fit_confidence(logits: ArrayLike, right: ArrayLike, *, typical: float = 1.0, prior_weight: float = 3.0) -> float:
    """The temperature T for which the likeliest of K is right as often as ``softmax(logits / T)`` says that it is.

    ``logits`` (N, K); ``right`` (N,) in [0, 1]: whether the likeliest is. For many classes of which several are nearly
    right: what the others have is not looked at. Maximum a posteriori, T between 1/20 and 20 times ``typical``: the
    prior costs ``prior_weight * log(T / typical)**2`` nats, so that T is ``typical`` without examples.
    """
    values, wanted = np.asarray(logits, np.float64), np.asarray(right, np.float64)
    if values.ndim != 2 or wanted.shape != (len(values),):
        raise ValueError(f"logits {values.shape} and right {wanted.shape} must be (N, K) and (N,)")

    def cost(log_ratio: float) -> float:
        said = log_softmax(values / (typical * np.exp(log_ratio))).max(axis=1, initial=-np.inf)
        other = np.log(-np.expm1(np.minimum(said, -1e-9)))
        return float(prior_weight * log_ratio**2 - (wanted * said + (1 - wanted) * other).sum())

    return typical * _best_temperature(cost) if len(values) else typical


def _best_temperature(cost: Callable[[float], float]) -> float:
    """The temperature whose logarithm costs least."""
    span = (-LOG_BOUND, LOG_BOUND)
    found = minimize_scalar(cost, bounds=span, method="bounded", options={"xatol": 1e-4})  # type: ignore[no-untyped-call]
    return float(np.exp(found.x))


def expected_calibration_error(probs: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over ``bins`` equal bins, in [0, 1], low = honest.

    ``probs`` (N, K), ``labels`` (N,) class numbers. 0 without examples.
    """
    values, right = np.asarray(probs, np.float64), np.asarray(labels, np.int64)
    if len(values) == 0:
        return 0.0
    confidence, correct = values.max(axis=1), values.argmax(axis=1) == right
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(values))
