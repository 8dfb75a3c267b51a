"""Clusters of the pool, and the strategies that spread picks over them."""

import numpy as np
from numpy.typing import NDArray

from backend.active import uncertainty
from backend.active.selection.directions import directions, first_of_each
from backend.active.selection.pool import Floats, Pool, Positions, descending

BLOCK = 20  # picks that cover clusters together
CANDIDATES = 5 * BLOCK  # most uncertain items that a block is chosen from
NEIGHBOURS = 20  # as in TypiClust
REFERENCES = 512  # members of a cluster that typicality is measured against
CLUSTERED = ("auto", "typiclust", "cluster-margin")  # strategies that look at clusters


def cluster(features: Floats, k: int, seed: int) -> NDArray[np.int64]:
    """Cluster numbers (N,) of features (N, D), in [0, k), by direction: lengths do not matter."""
    from sklearn.cluster import MiniBatchKMeans

    if len(features) <= max(k, 1):
        return np.arange(len(features), dtype=np.int64)
    model = MiniBatchKMeans(k, random_state=seed, batch_size=2048, n_init=1, max_iter=20)  # type: ignore[no-untyped-call]
    return np.asarray(model.fit_predict(directions(features)), np.int64)  # type: ignore[no-untyped-call]


def cluster_count(n: int) -> int:
    """How many clusters a pool of ``n`` is cut into: enough that one holds one matter, at most 100."""
    return int(np.clip(np.sqrt(n), 1, 100))


def surroundings(strategy: str, pool: Pool, positions: Positions) -> list[dict[str, int]]:
    """What else there is to say of each position: ``{"cluster", "cluster_size", "cluster_labelled"}``.

    The numbers of its cluster, of its cluster's items in the pool and of the labelled items nearest to that cluster;
    empty for a strategy that does not look at clusters, or where the pool came without them.
    """
    if strategy.partition("@")[0] not in CLUSTERED or pool.clusters is None or not len(positions):
        return [{} for _ in positions]
    sizes = np.bincount(pool.clusters)
    labelled = _labelled_per_cluster(pool, directions(pool.features), pool.clusters)
    return [
        {"cluster": int(c), "cluster_size": int(sizes[c]), "cluster_labelled": int(labelled[c])}
        for c in pool.clusters[positions]
    ]


def typiclust(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The most typical item of each cluster; clusters with the fewest labels first, among them the biggest.

    Hacohen et al., Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, 2022. Typicality is the
    inverse of the mean distance to the 20 nearest neighbours in the cluster. Copies of an earlier item or of a labelled
    one, which are as typical, come after all others.
    """
    clusters = _clusters(pool, rng)
    x, copies = directions(pool.features), ~first_of_each(pool)
    counts = _labelled_per_cluster(pool, x, clusters)
    sizes = np.bincount(clusters, minlength=len(counts))
    members = {int(c): _by_typicality(x, np.flatnonzero(clusters == c), rng) for c in np.unique(clusters)}
    members = {c: m[np.argsort(copies[m], kind="stable")] for c, m in members.items()}
    ahead = np.concatenate([counts[c] + np.arange(len(m)) for c, m in members.items()])  # labels before this one
    size = np.concatenate([np.full(len(m), sizes[c]) for c, m in members.items()])
    position = np.concatenate(list(members.values()))
    return np.asarray(position[np.lexsort((-size, ahead, copies[position]))])


def cluster_margin(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Uncertain items of different clusters: of the most uncertain ones, one of each cluster, smallest clusters first.

    Citovsky et al., Batch Active Learning at Scale, 2021. Done in blocks of 20 out of the 100 most uncertain that are
    left; a block is ordered by uncertainty, because the queue is sorted again before it is used up.
    """
    clusters = _clusters(pool, rng)
    waiting = descending(uncertainty.margin(pool.probs), rng)
    picks: list[Positions] = []
    while len(waiting) and sum(map(len, picks)) < n:
        candidates = waiting[:CANDIDATES]
        chosen = np.sort(_round_robin(clusters[candidates])[:BLOCK])
        picks.append(candidates[chosen])
        waiting = np.concatenate([np.delete(candidates, chosen), waiting[CANDIDATES:]])
    return np.concatenate(picks)


def _clusters(pool: Pool, rng: np.random.Generator) -> NDArray[np.int64]:
    if pool.clusters is not None:
        return pool.clusters
    return cluster(pool.features, cluster_count(len(pool)), int(rng.integers(2**31)))


def _labelled_per_cluster(pool: Pool, x: Floats, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many labelled items are nearest to each cluster's centre, shape (largest cluster number + 1,)."""
    numbers = np.unique(clusters)
    counts = np.zeros(numbers[-1] + 1, np.int64)
    if len(pool.labelled_features):
        centres = np.stack([x[clusters == c].mean(axis=0) for c in numbers])
        # nearest by distance, as k-means assigns
        reach = directions(pool.labelled_features) @ centres.T - 0.5 * (centres**2).sum(axis=1)
        np.add.at(counts, numbers[reach.argmax(axis=1)], 1)
    return counts


def _by_typicality(x: Floats, members: Positions, rng: np.random.Generator) -> Positions:
    """The members of one cluster, most typical first. Big clusters are measured against a sample of themselves."""
    references = members if len(members) <= REFERENCES else rng.choice(members, REFERENCES, replace=False)
    similarity = x[members] @ x[references].T
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
