"""BADGE: batches that are diverse in the gradients they would give the head."""

import numpy as np

from backend.active import uncertainty
from backend.active.selection.greedy import greedily
from backend.active.selection.pool import Floats, Numbers, Pool, Positions

TINY = 1e-12  # chance of an item that is worth nothing, so that these come last, in random order


def badge(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """A draw by k-means++ on gradient embeddings: long gradients, far from those of the picks.

    Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, 2020. The embedding of an item
    is a (x) h with a = p - e_y for the answer y and features h; it is never built: N * (K + D) numbers are enough.
    """
    errors, h = _errors(pool), np.asarray(pool.features, np.float32)
    lengths = squared_lengths(errors, h)
    nearest = lengths.copy()  # the first: by its own length, as if 0 had been picked

    def after(pick: int) -> Numbers:
        np.minimum(nearest, squared_distances_to(pick, errors, h, lengths), out=nearest)
        return _race(nearest, rng)

    return greedily(n, _race(nearest, rng), after)


def _errors(pool: Pool) -> Floats:
    """p - e_y (N, K) for the most probable class y; with -p instead sure items would have the longest gradients."""
    probs = uncertainty.check_probs(pool.probs)
    probs[np.arange(len(probs)), probs.argmax(axis=1)] -= 1
    return np.asarray(probs, np.float32)


def squared_lengths(errors: Floats, h: Floats) -> Numbers:
    """Squared lengths (N,) of the embeddings: |a|^2 |h|^2."""
    return np.asarray((errors**2).sum(axis=1, dtype=np.float64) * (h**2).sum(axis=1, dtype=np.float64))


def squared_distances_to(pick: int, errors: Floats, h: Floats, lengths: Numbers) -> Numbers:
    """Squared distances (N,) of all embeddings to one, at least 0: |a|^2 |h|^2 + |b|^2 |g|^2 - 2 (a·b) (h·g)."""
    products = (errors @ errors[pick]).astype(np.float64) * (h @ h[pick])
    return np.asarray(np.maximum(lengths + lengths[pick] - 2 * products, 0))


def _race(weights: Numbers, rng: np.random.Generator) -> Numbers:
    """Numbers (N,) whose highest is item i with a probability proportional to its weight (exponential race)."""
    least = TINY * max(float(weights.max(initial=0)), TINY)
    return np.asarray(np.maximum(weights, least) / np.maximum(rng.standard_exponential(len(weights)), 1e-300))
