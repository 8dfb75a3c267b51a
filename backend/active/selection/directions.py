"""Geometry of features by direction: lengths do not matter, and a zero vector is at a right angle to everything."""

import numpy as np
from numpy.typing import NDArray

from backend.active.selection.pool import Floats, Numbers, Pool, Positions, Strategy, slices


def directions(features: Floats) -> Floats:
    """Features (N, D) scaled to length 1, float32; zero vectors stay zero."""
    values = np.asarray(features, np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(norms, 1e-12), np.float32)


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Squared distances (N, M) of rows (N, D) to rows (M, D), at least 0."""
    lengths = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2 * (a @ b.T), 0), np.float32)


def distance_to_labelled(pool: Pool) -> Numbers:
    """Distance (N,) of each item to the nearest labelled one, in [0, 2]; infinite without labelled items."""
    nearest = np.full(len(pool), np.inf)
    x = directions(pool.features)
    labelled = directions(pool.labelled_features)
    for rows in slices(len(labelled) and len(pool)):
        for others in slices(len(labelled)):
            found = squared_distances(x[rows], labelled[others]).min(axis=1)
            nearest[rows] = np.minimum(nearest[rows], found)
    return np.asarray(np.sqrt(nearest))


def repeats_last(strategy: Strategy) -> Strategy:
    """The strategy on distinct items; exact copies of an earlier item or of a labelled one come after all others.

    For rules of coverage: a copy covers nothing new, and rounding must not hide that.
    """

    def on_distinct(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
        fresh = first_of_each(pool)
        if fresh.all():
            return strategy(pool, n, rng)
        distinct = np.flatnonzero(fresh)
        picks = strategy(pool.take(distinct), min(n, len(distinct)), rng) if len(distinct) else distinct
        return np.concatenate([distinct[picks], np.flatnonzero(~fresh)])[:n]

    return on_distinct


def first_of_each(pool: Pool) -> NDArray[np.bool_]:
    """Whether each item (N,) is the first with its features and none with them is labelled."""
    marks = fingerprints(pool.features)
    _, firsts = np.unique(marks, return_index=True)
    first = np.zeros(len(pool), bool)
    first[firsts] = True
    return first & ~np.isin(marks, fingerprints(pool.labelled_features))


def fingerprints(features: Floats) -> NDArray[np.uint64]:
    """A number (N,) for each row (N, D), the same for the same row: a linear hash of the bits, with 64 of them.

    In integers, because a floating-point sum depends on where in the array a row is.
    """
    values = np.ascontiguousarray(features, np.float32) + np.float32(0)  # -0.0 becomes 0.0
    weights = np.random.default_rng(0).integers(0, 2**63, values.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    marks = np.zeros(len(values), np.uint64)
    for rows in slices(len(values)):
        marks[rows] = values[rows].view(np.uint32).astype(np.uint64) @ weights
    return marks
