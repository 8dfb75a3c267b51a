"""In-domain diversity: the formula, by brute force; and what it keeps away from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.selection import Pool, choose, parse
from backend.active.selection.representative import EXPLORE, SHORTLIST, UNLABELLED
from backend.active.uncertainty import margin
from tests.active.test_rules import make


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def score(x: np.ndarray, left: list[int], labelled: np.ndarray, at: int) -> float:
    """The paper's formula as it stands there."""
    to_left = np.mean([x[at] @ x[other] for other in left])
    to_labelled = np.mean([x[at] @ other for other in labelled]) if len(labelled) else 0.0
    return UNLABELLED * to_left - (1 - UNLABELLED) * to_labelled


@given(n=st.integers(1, 12), labelled=st.integers(0, 5), seed=st.integers(0, 99))
def test_each_pick_has_the_highest_score_given_those_before(n: int, labelled: int, seed: int) -> None:
    pool = make(n, labelled=labelled, seed=seed)
    x, known = unit(pool.features), unit(pool.labelled_features) if labelled else pool.labelled_features
    left = list(range(n))
    for pick in choose("idds", pool, n, seed=seed).tolist():
        scores = {at: score(x, left, known, at) for at in left}
        assert scores[pick] == pytest.approx(max(scores.values()), abs=1e-5)
        left.remove(pick)
        known = np.concatenate([known, x[pick : pick + 1]])


def test_the_dense_comes_before_the_odd_and_the_labelled_region_last() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(4)[[0] * 40 + [1] * 40 + [2]]  # two topics of one size, and one odd text
    features = (centres + 0.1 * rng.normal(size=(81, 4))).astype(np.float32)
    probs = np.full((81, 2), 0.5, np.float32)
    pool = Pool(features, probs, features[:5] + 0.01, np.zeros(5, np.int64))  # the first topic has labels
    picks = choose("idds", pool, 81, seed=0).tolist()
    assert all(40 <= pick < 80 for pick in picks[:5])
    assert picks.index(80) > 20
    assert {pick < 40 for pick in picks[:30]} == {True, False}  # what is picked counts as labelled: it comes back


@given(seed=st.integers(0, 30))
def test_dual_takes_the_most_uncertain_of_the_most_representative_and_some_by_chance(seed: int) -> None:
    pool = make(60, labelled=5, seed=seed)
    ranked, doubt = choose("idds", pool, 60, seed=seed).tolist(), margin(pool.probs)
    x, known = unit(pool.features), unit(pool.labelled_features)
    first = sorted(range(60), key=lambda at: -score(x, list(range(60)), known, at))[:SHORTLIST]
    pick, other = choose("dual", pool, 2, seed=seed).tolist()
    assert pick == max(first, key=lambda at: doubt[at])
    assert other not in first  # those that were looked at wait
    assert ranked[0] == first[0]


def test_the_random_share_of_dual_looks_at_nothing() -> None:
    pool = make(400, labelled=5)
    ranked = choose("idds", pool, 400, seed=0).tolist()
    drawn = [ranked.index(choose("dual", pool, EXPLORE, seed=seed)[-1]) for seed in range(60)]
    assert np.mean(drawn) == pytest.approx(200, abs=50)
    assert parse("idds").blind
    assert not parse("dual").blind
