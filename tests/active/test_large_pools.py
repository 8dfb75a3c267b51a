"""Large pools: cut to candidates in rounds, with all that small pools promise."""

import numpy as np
import pytest

from backend.active.selection import STRATEGIES, Pool, choose, choosing
from tests.active.test_rules import make

NAMES = [*STRATEGIES, "badge@balanced", "auto@balanced", "margin:2+bald@stochastic@balanced"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LARGE": 100, "ROUND": 10, "UNCERTAIN": 50, "RANDOM": 20}.items():
        monkeypatch.setattr(choosing, name, value)
    monkeypatch.setattr("backend.active.selection.pool.ROWS", 64)


@pytest.mark.parametrize("name", NAMES)
def test_picks_are_distinct_and_a_longer_queue_begins_with_the_shorter(name: str) -> None:
    pool = make(230, labelled=6)
    all_of_them = choose(name, pool, 500, seed=1).tolist()
    assert sorted(all_of_them) == list(range(230))
    for n in (1, 10, 37):
        assert choose(name, pool, n, seed=1).tolist() == all_of_them[:n]


@pytest.mark.parametrize("name", ["margin", "entropy", "density", "random"])
def test_cheap_scores_see_all_of_a_large_pool(name: str) -> None:
    pool = make(230)
    whole = choose(name, pool, 30, seed=0).tolist()
    choosing.LARGE = 1000
    assert choose(name, pool, 30, seed=0).tolist() == whole


def test_candidates_hold_the_most_uncertain_and_the_neighbours_of_a_rare_class() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3000, 8)).astype(np.float32)
    rare = features[17:18] + 0.01
    probs = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (3000, 1))
    probs[100:140] = 1 / 3
    pool = Pool(features, probs, np.concatenate([features[-40:], rare]), np.array([0] * 40 + [1]))
    shortlist = choosing.Shortlist.of(pool, np.random.default_rng(0), blind=False)
    candidates = shortlist.next(np.zeros(0, np.int64))
    assert set(range(100, 140)) <= set(candidates.tolist())
    assert 17 in candidates
    assert set(candidates.tolist()).isdisjoint(shortlist.next(candidates).tolist())


def test_auto_stays_representative_while_there_are_few_labels() -> None:
    few = make(230, labelled=2)
    assert choose("auto", few, 60, seed=0).tolist() == choose("typiclust", few, 60, seed=0).tolist()
