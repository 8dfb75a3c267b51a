"""Several opinions of one linear head on cached features, by dropout; the encoder is not run again.

Gal & Ghahramani, Dropout as a Bayesian Approximation, 2016. A sample drops the same features of all items (consistent
dropout, as BatchBALD has it): it is one thinned head, so that items are compared under the same models and their order
in the pool does not matter.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from backend.active.calibration import softmax
from backend.active.head import Floats, LinearHead

SAMPLES = 20
RATE = 0.2  # share of features dropped
BLOCK_VALUES = 2_000_000  # probabilities held at once: 16 MB


def sample_probs(
    head: LinearHead, features: ArrayLike, *, seed: int, samples: int = SAMPLES, rate: float = RATE
) -> Floats:
    """Calibrated probabilities (S, N, K) of ``features`` (N, D), rows summing to 1; the same seed, the same samples.

    Holds all of them: :func:`sample_blocks` is for many items. Raises ValueError for a rate outside [0, 1).
    """
    blocks = list(sample_blocks(head, features, seed=seed, samples=samples, rate=rate))
    empty = np.zeros((samples, 0, len(head.bias)), np.float32)
    return np.concatenate([empty, *blocks], axis=1)


def sample_blocks(
    head: LinearHead, features: ArrayLike, *, seed: int, samples: int = SAMPLES, rate: float = RATE
) -> Iterator[Floats]:
    """The arrays of :func:`sample_probs` in pieces (S, B, K) of at most 16 MB, in the order of the items."""
    if samples < 1 or not 0 <= rate < 1:
        raise ValueError(f"{samples} samples at rate {rate}: expected at least 1 and a rate in [0, 1)")
    x, k = np.asarray(features), len(head.bias)
    thinned = _thinned_weights(head, samples, rate, seed)  # (S * K, D)
    size = max(1, BLOCK_VALUES // (samples * k))
    for start in range(0, len(x), size):
        block = np.asarray(x[start : start + size], np.float32)
        logits = (block @ thinned.T).reshape(len(block), samples, k) + head.bias
        yield softmax(logits / head.temperature).astype(np.float32).transpose(1, 0, 2)


def _thinned_weights(head: LinearHead, samples: int, rate: float, seed: int) -> Floats:
    """The weights of all samples, (S * K, D); what is kept is scaled up, so that the mean stays the head's."""
    kept = np.random.default_rng(seed).random((samples, 1, head.weight.shape[1])) >= rate
    return np.asarray(head.weight * kept / (1 - rate), np.float32).reshape(-1, head.weight.shape[1])
