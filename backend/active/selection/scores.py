"""Strategies that score each item for itself: the highest first, ties in random order.

A score is a function ``(pool, rng) -> (N,)``, high = label it first, at least 0. It sees large pools in blocks.
"""

from collections.abc import Callable, Iterable

import numpy as np

from backend.active import uncertainty
from backend.active.dropout import sample_blocks
from backend.active.selection.directions import directions
from backend.active.selection.pool import Numbers, Pool, Positions, Score, Strategy, descending, in_blocks, slices


def of_probs(measure: Callable[..., Numbers]) -> Score:
    """The score that is a measure of the probabilities alone."""

    def score(pool: Pool, rng: np.random.Generator) -> Numbers:
        return in_blocks(len(pool), lambda rows: measure(pool.probs[rows]))

    return score


def gradient_length(pool: Pool, rng: np.random.Generator) -> Numbers:
    """Expected gradient length (N,), at least 0: see :func:`uncertainty.expected_gradient_length`."""
    measure = uncertainty.expected_gradient_length
    return in_blocks(len(pool), lambda rows: measure(pool.probs[rows], pool.features[rows]))


def of_samples(measure: Callable[..., Numbers]) -> Score:
    """The score that is a measure of dropout samples of the pool's head. Raises ValueError for a pool without one."""

    def score(pool: Pool, rng: np.random.Generator) -> Numbers:
        if pool.head is None:
            raise ValueError("MC-dropout strategies need the head that made the probabilities: give Pool(head=...)")
        blocks = sample_blocks(pool.head, pool.features, seed=int(rng.integers(2**31)))
        return np.concatenate([np.zeros(0), *map(measure, blocks)])

    return score


def density(pool: Pool, rng: np.random.Generator) -> Numbers:
    """Mean cosine similarity to the whole pool, scaled to [0, 1], shape (N,), high = in the middle of many.

    The mean of dot products is the dot product with the mean, so no sample of the pool is needed and N * D steps do.
    """
    total = sum((directions(pool.features[rows]).sum(axis=0, dtype=np.float64) for rows in slices(len(pool))), 0.0)
    middle = np.asarray(total / max(len(pool), 1), np.float32)
    found = in_blocks(len(pool), lambda rows: np.asarray(directions(pool.features[rows]) @ middle, np.float64))
    return np.clip((1 + found) / 2, 0, 1)


SCORES: dict[str, Score] = {
    "margin": of_probs(uncertainty.margin),
    "entropy": of_probs(uncertainty.entropy),
    "least-confidence": of_probs(uncertainty.least_confidence),
    "loss": of_probs(uncertainty.loss),
    "gradient-length": gradient_length,
    "mc-entropy": of_samples(uncertainty.mean_entropy),
    "bald": of_samples(uncertainty.bald),
    "density": density,
}


def highest(score: Score) -> Strategy:
    """The strategy that takes the highest score first, ties in random order."""

    def strategy(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
        return descending(score(pool, rng), rng)

    return strategy


def weighted(parts: Iterable[tuple[Score, float]]) -> Score:
    """The score that is a weighted mean of the ranks of others, in [0, 1]; ranks, as scales cannot be compared."""
    listed = list(parts)
    whole = sum(weight for _, weight in listed)

    def score(pool: Pool, rng: np.random.Generator) -> Numbers:
        return np.asarray(sum(weight / whole * ranks(part(pool, rng)) for part, weight in listed))

    return score


def ranks(scores: Numbers) -> Numbers:
    """The share of items (N,) with a lower score, those with the same counted half, in (0, 1), high = high score."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    return np.asarray((below + counts / 2)[inverse] / max(len(scores), 1))


def stochastic(score: Score) -> Score:
    """The logarithm of a score plus Gumbel noise: its order is a draw without replacement by probability ~ score.

    Annotators side by side, each with a seed, then do not get near-duplicates. Items with a score of 0 stay last.
    Kirsch et al., Stochastic Batch Acquisition for Deep Active Learning, 2021 (power acquisition, beta = 1).
    """

    def noisy(pool: Pool, rng: np.random.Generator) -> Numbers:
        values = score(pool, rng)
        logs = np.log(values, out=np.full(len(values), -np.inf), where=values > 0)
        return np.asarray(logs + rng.gumbel(size=len(values)))

    return noisy
