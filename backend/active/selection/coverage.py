"""Strategies that cover the space of features: far from what is labelled, or near to what is uncertain."""

import numpy as np

from backend.active import uncertainty
from backend.active.selection.directions import directions, distance_to_labelled, repeats_last, squared_distances
from backend.active.selection.greedy import STEPS, greedily
from backend.active.selection.pool import Floats, Numbers, Pool, Positions, descending, slices

# Items of the pool that herding wants to cover, of smaller pools all: as many as the similarities allow, within bounds.
# Few of them make picks of chance: an item that is one of them covers itself, and that counts too much.
REFERENCES = 1_024, 4_096
SIMILARITIES = 2**24  # between items and references, kept while picks are made: 64 MB
NEAREST = 1_024  # references of which the reach is measured
REACH = 50  # an item covers about one in so many of the references, but at least NEIGHBOURS
NEIGHBOURS = 10
FRESH = 64  # gains that are computed again at a time


def nearest_labelled(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The farthest from all labelled items first; without labels a random order."""
    return descending(distance_to_labelled(pool), rng)


def k_center(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The farthest from all labelled items and earlier picks first; without labels the first is random.

    Greedy k-center: Gonzalez 1985; Sener & Savarese, A Core-Set Approach, 2018. A pick costs N * D, because only
    distances to it are new.
    """
    order = rng.permutation(len(pool))  # ties
    x = directions(pool.features)[order]
    distance = distance_to_labelled(pool)[order] ** 2

    def after(pick: int) -> Numbers:
        np.minimum(distance, squared_distances(x, x[pick : pick + 1])[:, 0], out=distance)
        return distance

    return order[greedily(n, distance, after)]


def herding(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """What adds most to the coverage of uncertain items by labelled ones and picks.

    The coverage of a reference is its highest similarity exp(-d^2 / s^2) to one of them, weighted by its margin. Bae
    et al., Uncertainty Herding, 2024. References are a sample of the pool, at most 4,096, and 1,024 where it is large,
    so that similarities take 64 MB or N * 4 KB; s is the distance within which a reference has one in 50 of the others.
    """
    x = directions(pool.features)
    order = rng.permutation(len(pool))
    sample = order[: int(np.clip(SIMILARITIES // max(1, len(pool)), *REFERENCES))]
    worth = uncertainty.margin(pool.probs)[sample]
    worth = worth if worth.any() else np.ones(len(sample))
    scale = _reach(x[sample[:NEAREST]])
    kernel = _kernel(x[order], x[sample], scale)
    covered = np.zeros(len(sample), np.float32)
    labelled = directions(pool.labelled_features)
    for rows in slices(len(labelled)):
        covered = np.maximum(covered, _kernel(labelled[rows], x[sample], scale).max(axis=0))
    return order[_cover(kernel, worth.astype(np.float32), covered, n)]


def _reach(references: Floats) -> float:
    """The median squared distance of a reference to the last neighbour that it should cover; never 0."""
    squares = squared_distances(references, references)
    rank = min(len(references) - 1, max(NEIGHBOURS, len(references) // REACH))
    return max(float(np.median(np.partition(squares, rank, axis=1)[:, rank])), 1e-6)


def _kernel(a: Floats, b: Floats, scale: float) -> Floats:
    """Similarities (N, M) in [0, 1] of rows (N, D) to rows (M, D)."""
    return np.concatenate([np.exp(squared_distances(a[rows], b) / -scale) for rows in slices(len(a))])


def _cover(kernel: Floats, worth: Floats, covered: Floats, n: int) -> Positions:
    """The ``n`` rows of a kernel (N, R) that add most to the coverage, one after the other.

    Gains only fall, so an old gain is a bound and few are computed again (accelerated greedy, Minoux 1978).
    """
    gains = np.concatenate([np.maximum(kernel[rows] - covered, 0) @ worth for rows in slices(len(kernel))])
    picks: list[int] = []
    while len(picks) < min(n, STEPS, len(kernel)):
        gains, pick = _best(gains, kernel, worth, covered)
        picks.append(pick)
        gains[pick] = -np.inf
        covered = np.maximum(covered, kernel[pick])
    rest = np.setdiff1d(np.arange(len(kernel)), picks) if n > len(picks) else np.zeros(0, np.int64)
    order = [np.array(picks, np.int64), rest[np.argsort(-gains[rest], kind="stable")]]
    return np.asarray(np.concatenate(order)[:n])


def _best(gains: Floats, kernel: Floats, worth: Floats, covered: Floats) -> tuple[Floats, int]:
    """Gains of which the highest is up to date, and where it is. ``gains`` are upper bounds."""
    stale = np.isfinite(gains)
    while True:
        pick = int(np.argmax(gains))
        if not stale[pick]:
            return gains, pick
        bounds = np.where(stale, gains, -np.inf)
        top = np.argpartition(-bounds, min(FRESH, len(bounds)) - 1)[:FRESH]
        top = top[stale[top]]
        gains[top] = np.maximum(kernel[top] - covered, 0) @ worth
        stale[top] = False


COVERAGE = {
    "nearest-labelled": repeats_last(nearest_labelled),
    "k-center": repeats_last(k_center),
    "herding": repeats_last(herding),
}
