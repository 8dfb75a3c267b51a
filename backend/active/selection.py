"""What to label next: ``choose`` turns a pool into an order of positions, best first.

A strategy is a function ``(pool, n, rng) -> (n,)`` positions and an entry in ``STRATEGIES``. What it gives for a small
``n`` is the beginning of what it gives for a larger one, so that the length of the queue does not change its head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.active import uncertainty

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]

BLOCK = 20  # picks that cover clusters together
CANDIDATES = 5 * BLOCK  # most uncertain items that a block is chosen from
NEIGHBOURS = 20  # as in TypiClust
REFERENCES = 512  # members of a cluster that typicality is measured against
REPRESENTATIVE_PER_CLASS = 3


@dataclass(frozen=True)
class Pool:
    """What may be chosen, and what is labelled already.

    ``features`` (N, D), ``probs`` (N, K) of the items to choose from; ``labelled_features`` (L, D) and
    ``labelled_classes`` (L,) of the labelled ones; ``clusters`` (N,) numbers of :func:`cluster` where the caller has
    them, else they are computed when a strategy needs them.
    """

    features: Floats
    probs: Floats
    labelled_features: Floats
    labelled_classes: NDArray[np.int64]
    clusters: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.features)
        if self.features.ndim != 2 or self.probs.ndim != 2 or len(self.probs) != n:
            raise ValueError(f"features {self.features.shape} and probs {self.probs.shape} must be (N, D) and (N, K)")
        if self.clusters is not None and self.clusters.shape != (n,):
            raise ValueError(f"clusters {self.clusters.shape} must be ({n},)")
        if len(self.labelled_features) != len(self.labelled_classes):
            raise ValueError(f"{len(self.labelled_features)} features of {len(self.labelled_classes)} labelled items")

    def __len__(self) -> int:
        return len(self.features)


Strategy = Callable[[Pool, int, np.random.Generator], Positions]


def choose(strategy: str, pool: Pool, n: int, *, seed: int) -> Positions:
    """The ``min(n, N)`` positions to label next, distinct, best first. Raises ValueError for an unknown strategy."""
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    n = min(n, len(pool))
    if n <= 0:
        return np.zeros(0, np.int64)
    return STRATEGIES[strategy](pool, n, np.random.default_rng(seed))[:n]


def cluster(features: Floats, k: int, seed: int) -> NDArray[np.int64]:
    """Cluster numbers (N,) of features (N, D), in [0, k), by direction: lengths do not matter."""
    from sklearn.cluster import MiniBatchKMeans

    if len(features) <= max(k, 1):
        return np.arange(len(features), dtype=np.int64)
    model = MiniBatchKMeans(k, random_state=seed, batch_size=2048, n_init=1, max_iter=20)  # type: ignore[no-untyped-call]
    return np.asarray(model.fit_predict(_directions(features)), np.int64)  # type: ignore[no-untyped-call]


def surroundings(strategy: str, pool: Pool, positions: Positions) -> list[dict[str, int]]:
    """What else there is to say of each position: ``{"cluster", "cluster_size", "cluster_labelled"}``.

    The numbers of its cluster, of its cluster's items in the pool and of the labelled items nearest to that cluster;
    empty for a strategy that does not look at clusters, or where the pool came without them.
    """
    if strategy not in CLUSTERED or pool.clusters is None or not len(positions):
        return [{} for _ in positions]
    sizes = np.bincount(pool.clusters)
    labelled = _labelled_per_cluster(pool, _directions(pool.features), pool.clusters)
    return [
        {"cluster": int(c), "cluster_size": int(sizes[c]), "cluster_labelled": int(labelled[c])}
        for c in pool.clusters[positions]
    ]


def cluster_count(n: int) -> int:
    """How many clusters a pool of ``n`` is cut into: enough that one holds one matter, at most 100."""
    return int(np.clip(np.sqrt(n), 1, 100))


# ------------------------------------------------------------------------------------------------------- strategies
def _random(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Uniform: the yardstick of all others."""
    return rng.permutation(len(pool))


def _most(score: Callable[[Floats], NDArray[np.float64]]) -> Strategy:
    """The strategy that takes the highest score first, ties in random order."""

    def strategy(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
        return _descending(score(pool.probs), rng)

    return strategy


def _typiclust(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The most typical item of each cluster; clusters with the fewest labels first, among them the biggest.

    Hacohen et al., Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, 2022. Typicality is the
    inverse of the mean distance to the 20 nearest neighbours in the cluster.
    """
    clusters = _clusters(pool, rng)
    directions = _directions(pool.features)
    counts = _labelled_per_cluster(pool, directions, clusters)
    sizes = np.bincount(clusters, minlength=len(counts))
    members = {int(c): _by_typicality(directions, np.flatnonzero(clusters == c), rng) for c in np.unique(clusters)}
    ahead = np.concatenate([counts[c] + np.arange(len(m)) for c, m in members.items()])  # labels before this one
    size = np.concatenate([np.full(len(m), sizes[c]) for c, m in members.items()])
    position = np.concatenate(list(members.values()))
    return np.asarray(position[np.lexsort((-size, ahead))])


def _cluster_margin(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Uncertain items of different clusters: of the most uncertain ones, one of each cluster, smallest clusters first.

    Citovsky et al., Batch Active Learning at Scale, 2021. Done in blocks of 20 out of the 100 most uncertain that are
    left; a block is ordered by uncertainty, because the queue is sorted again before it is used up.
    """
    clusters = _clusters(pool, rng)
    waiting = _descending(uncertainty.margin(pool.probs), rng)
    picks: list[Positions] = []
    while len(waiting) and sum(map(len, picks)) < n:
        candidates = waiting[:CANDIDATES]
        chosen = np.sort(_round_robin(clusters[candidates])[:BLOCK])
        picks.append(candidates[chosen])
        waiting = np.concatenate([np.delete(candidates, chosen), waiting[CANDIDATES:]])
    return np.concatenate(picks)


def _auto(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Representative while there are few labels, then uncertain with coverage.

    A model of a handful of labels is sure of nonsense, so its uncertainty is worth little (Hacohen et al. 2022).
    """
    few = REPRESENTATIVE_PER_CLASS * pool.probs.shape[1]
    return (_typiclust if len(pool.labelled_classes) < few else _cluster_margin)(pool, n, rng)


STRATEGIES: dict[str, Strategy] = {
    "auto": _auto,
    "random": _random,
    "margin": _most(uncertainty.margin),
    "entropy": _most(uncertainty.entropy),
    "least-confidence": _most(uncertainty.least_confidence),
    "typiclust": _typiclust,
    "cluster-margin": _cluster_margin,
}
CLUSTERED = ("auto", "typiclust", "cluster-margin")


# ------------------------------------------------------------------------------------------------------------ parts
def _directions(features: Floats) -> Floats:
    """Features scaled to length 1."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), np.float32)


def _descending(scores: NDArray[np.float64], rng: np.random.Generator) -> Positions:
    """Positions by falling score, ties in random order."""
    shuffled = rng.permutation(len(scores))
    return shuffled[np.argsort(-scores[shuffled], kind="stable")]


def _clusters(pool: Pool, rng: np.random.Generator) -> NDArray[np.int64]:
    if pool.clusters is not None:
        return pool.clusters
    return cluster(pool.features, cluster_count(len(pool)), int(rng.integers(2**31)))


def _labelled_per_cluster(pool: Pool, directions: Floats, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many labelled items are nearest to each cluster's centre, shape (largest cluster number + 1,)."""
    numbers = np.unique(clusters)
    counts = np.zeros(numbers[-1] + 1, np.int64)
    if len(pool.labelled_features):
        centres = np.stack([directions[clusters == c].mean(axis=0) for c in numbers])
        # nearest by distance, as k-means assigns
        reach = _directions(pool.labelled_features) @ centres.T - 0.5 * (centres**2).sum(axis=1)
        np.add.at(counts, numbers[reach.argmax(axis=1)], 1)
    return counts


def _by_typicality(directions: Floats, members: Positions, rng: np.random.Generator) -> Positions:
    """The members of one cluster, most typical first. Big clusters are measured against a sample of themselves."""
    references = members if len(members) <= REFERENCES else rng.choice(members, REFERENCES, replace=False)
    similarity = directions[members] @ directions[references].T
    k = min(NEIGHBOURS, len(references))
    nearest = np.partition(similarity, -k, axis=1)[:, -k:]
    distance = np.sqrt(np.maximum(2 - 2 * nearest, 0)).mean(axis=1)
    return np.asarray(members[np.argsort(distance, kind="stable")])


def _round_robin(groups: NDArray[np.int64]) -> Positions:
    """Places in the order: the first of each group, then the second of each; smaller groups first in every round."""
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    turn = np.empty(len(groups), np.int64)
    turn[order] = np.arange(len(groups)) - np.repeat(starts, sizes)
    return np.asarray(np.lexsort((np.arange(len(groups)), sizes[inverse], turn)))
