"""Selection: what every strategy must keep, and what makes each worth having."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backend.active.head import LinearHead
from backend.active.selection import CLUSTERED, STRATEGIES, Pool, choose, cluster, cluster_count, surroundings
from backend.active.uncertainty import margin


def make_pool(n: int, k: int = 3, *, labelled: int = 0, seed: int = 0, groups: int = 5) -> Pool:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 8)) * 4
    member = rng.integers(0, groups, n)
    near = rng.integers(0, groups, labelled)
    return Pool(
        features=(centres[member] + rng.normal(size=(n, 8))).astype(np.float32),
        probs=rng.dirichlet(np.ones(k), n).astype(np.float32),
        labelled_features=(centres[near] + rng.normal(size=(labelled, 8))).astype(np.float32),
        labelled_classes=rng.integers(0, k, labelled),
        clusters=member,
        head=LinearHead(rng.normal(size=(k, 8)).astype(np.float32), np.zeros(k, np.float32)),
        texts=[f"group {g} item {rng.integers(0, 30)}" for g in member],
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 150), wanted=st.integers(0, 160), labelled=st.integers(0, 20), seed=st.integers(0, 9))
def test_picks_are_distinct_repeatable_and_do_not_depend_on_how_many_are_wanted(
    strategy: str, n: int, wanted: int, labelled: int, seed: int
) -> None:
    pool = make_pool(n, labelled=labelled, seed=seed)
    picks = choose(strategy, pool, wanted, seed=seed)
    assert len(picks) == min(n, wanted) == len(set(picks.tolist()))
    assert picks.dtype == np.int64
    assert ((picks >= 0) & (picks < n)).all()
    assert picks.tolist() == choose(strategy, pool, n, seed=seed)[: len(picks)].tolist()


@pytest.mark.parametrize("strategy", ["auto", "typiclust", "cluster-margin"])
def test_clusters_are_made_where_the_caller_has_none(strategy: str) -> None:
    pool = make_pool(120, labelled=30)
    without = Pool(pool.features, pool.probs, pool.labelled_features, pool.labelled_classes)
    assert len(set(choose(strategy, without, 20, seed=0).tolist())) == 20


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_surroundings_count_the_cluster_and_its_labels(strategy: str) -> None:
    pool = make_pool(120, labelled=30)
    found = surroundings(strategy, pool, np.arange(120))
    if strategy not in CLUSTERED:
        assert found == [{}] * 120
        return
    by_cluster = {said["cluster"]: said for said in found}
    assert sum(said["cluster_size"] for said in by_cluster.values()) == 120
    assert sum(said["cluster_labelled"] for said in by_cluster.values()) == 30
    assert surroundings(strategy, pool, np.arange(0)) == []


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'best'.*cluster-margin"):
        choose("best", make_pool(5), 2, seed=0)


@pytest.mark.parametrize("strategy", ["margin", "entropy", "least-confidence"])
def test_the_uncertain_come_first(strategy: str) -> None:
    pool = make_pool(200)
    picks = choose(strategy, pool, 200, seed=0)
    certainty = pool.probs.max(axis=1)[picks]
    assert certainty[:20].mean() < certainty[-20:].mean() - 0.3


@given(seed=st.integers(0, 30))
@settings(max_examples=20, deadline=None)
def test_cluster_margin_never_puts_an_uncertain_task_behind_a_certain_one_of_its_cluster(seed: int) -> None:
    pool = make_pool(60, seed=seed)
    picks = choose("cluster-margin", pool, 60, seed=seed)
    worth = margin(pool.probs)[picks]
    assert pool.clusters is not None
    block = picks[:20]
    for c in np.unique(pool.clusters[block]):
        taken = worth[:20][pool.clusters[block] == c]
        left = worth[20:][pool.clusters[picks[20:]] == c]
        assert (np.diff(taken) <= 1e-9).all()
        assert not len(left) or taken.min() >= left.max() - 1e-9


def test_cluster_margin_covers_clusters_that_margin_ignores() -> None:
    pool = make_pool(400, groups=10)
    assert pool.clusters is not None
    probs = pool.probs.copy()
    probs[pool.clusters == 0] = [0.3334, 0.3333, 0.3333]  # the most uncertain are all alike
    one_sided = Pool(pool.features, probs, pool.labelled_features, pool.labelled_classes, pool.clusters)
    covered = {s: len(np.unique(pool.clusters[choose(s, one_sided, 20, seed=0)])) for s in ("margin", "cluster-margin")}
    assert covered["margin"] == 1
    assert covered["cluster-margin"] >= 8


def test_typiclust_takes_one_of_each_cluster_the_unlabelled_and_big_first() -> None:
    pool = make_pool(300, groups=6, seed=3)
    assert pool.clusters is not None
    sizes = np.bincount(pool.clusters)
    first = pool.clusters[choose("typiclust", pool, 6, seed=0)]
    assert sizes[first].tolist() == sorted(sizes, reverse=True)
    biggest = int(sizes.argmax())
    labelled = pool.features[pool.clusters == biggest][:2]
    with_labels = Pool(pool.features, pool.probs, labelled, np.zeros(2, np.int64), pool.clusters)
    assert biggest not in pool.clusters[choose("typiclust", with_labels, 5, seed=0)]


def test_typiclust_prefers_the_middle_of_a_cluster_to_its_rim() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([np.tile([5.0, 0, 0], (40, 1)), np.tile([0, 5.0, 0], (40, 1))])
    features += rng.normal(size=features.shape) * np.linspace(0.01, 3, 80)[:, None]
    pool = Pool(
        features.astype(np.float32), np.full((80, 2), 0.5, np.float32), np.zeros((0, 3), np.float32),
        np.zeros(0, np.int64), np.zeros(80, np.int64),
    )  # fmt: skip
    picks = choose("typiclust", pool, 80, seed=0)
    assert np.mean(picks[:20]) < np.mean(picks[-20:])


def test_auto_is_representative_first_and_uncertain_later() -> None:
    few, many = make_pool(200, labelled=5), make_pool(200, labelled=30)
    assert choose("auto", few, 50, seed=0).tolist() == choose("typiclust", few, 50, seed=0).tolist()
    assert choose("auto", many, 50, seed=0).tolist() == choose("herding", many, 50, seed=0).tolist()


def test_random_is_uniform() -> None:
    pool = make_pool(10)
    counts = np.bincount([choose("random", pool, 1, seed=s)[0] for s in range(2000)], minlength=10)
    assert counts == pytest.approx(200, rel=0.35)


def test_clusters_are_by_direction() -> None:
    rng = np.random.default_rng(0)
    member = rng.integers(0, 3, 90)
    features = (np.eye(3)[member] * rng.uniform(1, 9, (90, 1)) + 0.05 * rng.normal(size=(90, 3))).astype(np.float32)
    found = cluster(features, 3, seed=0)
    pairs: NDArray[np.int64] = np.unique(np.stack([member, found]), axis=1)
    assert pairs.shape == (2, 3)
    assert cluster(features[:2], 5, seed=0).tolist() == [0, 1]
    assert cluster(features[:0], 5, seed=0).shape == (0,)
    assert [cluster_count(n) for n in (0, 4, 10**6)] == [1, 2, 100]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ten_thousand_tasks_cost_a_fraction_of_a_second(strategy: str) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10_000, 384)).astype(np.float32)
    pool = Pool(
        features, rng.dirichlet(np.ones(6), 10_000).astype(np.float32), features[:50],
        rng.integers(0, 6, 50), rng.integers(0, 100, 10_000),
        LinearHead(rng.normal(size=(6, 384)).astype(np.float32), np.zeros(6, np.float32)),
        [" ".join(map(str, words)) for words in rng.integers(0, 2_000, (10_000, 12))],
    )  # fmt: skip
    with threadpool_limits(1):  # threads that wait for a core another process has count as time of this one
        start = time.process_time()
        choose(strategy, pool, 500, seed=0)
        seconds = time.process_time() - start
    # at most 0.6 on an idle core; k-center, which nobody should choose, takes 1.4
    assert seconds < (5.0 if strategy == "k-center" else 2.0)


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    x, p = np.zeros((3, 2), np.float32), np.full((3, 2), 0.5, np.float32)
    none = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
    wrong = ((x, p[:2], *none), (x, p, x, none[1]), (x, p, *none, none[1]), (x, p, *none, None, None, ["one"]))
    for arguments in wrong:
        with pytest.raises(ValueError, match=r"must be|features of"):
            Pool(*arguments)
