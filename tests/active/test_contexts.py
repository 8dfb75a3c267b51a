"""Items that share a context: one of each first, or one context after another."""

from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.active import uncertainty
from backend.active.selection import STRATEGIES, Pool, choose, choosing, companions, contexts
from tests.active.test_rules import make

ALL = 10_000
POOLS = given(n=st.integers(1, 40), texts=st.integers(1, 12), labelled=st.integers(0, 9), seed=st.integers(0, 99))


def shared(n: int = 40, texts: int = 8, *, labelled: int = 5, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    pool = make(n, labelled=labelled, seed=seed)
    return replace(pool, contexts=rng.integers(0, texts, n), labelled_contexts=rng.integers(0, texts, labelled))


def counts(pool: Pool) -> Counter[int]:
    return Counter(pool.labelled_contexts.tolist())


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "random"])
@settings(max_examples=6, deadline=None)
@POOLS
def test_no_context_has_its_next_turn_before_all_had_theirs(name: str, n: int, texts: int, labelled: int, seed: int):
    pool = shared(n, texts, labelled=labelled, seed=seed)
    picks = choose(name, pool, ALL, seed=1).tolist()
    assert sorted(picks) == list(range(n))
    had, turns = counts(pool), []
    for context in pool.contexts[picks].tolist():
        turns.append(had[context])
        had[context] += 1
    assert turns == sorted(turns)


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=6, deadline=None)
@POOLS
def test_a_context_is_finished_before_the_next_is_begun(name: str, n: int, texts: int, labelled: int, seed: int):
    pool = shared(n, texts, labelled=labelled, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "STRETCH", ALL)
        picks = choose(f"{name}@whole-contexts", pool, ALL, seed=1).tolist()
    assert sorted(picks) == list(range(n))
    runs = [context for context, _ in groupby(pool.contexts[picks].tolist())]
    assert len(runs) == len(set(runs))
    begun = [counts(pool)[context] for context in runs]
    assert begun == sorted(begun, reverse=True)


@pytest.mark.parametrize("stretch", [1, 2, 3])
@settings(max_examples=10, deadline=None)
@POOLS
def test_a_context_with_many_items_waits_for_the_others(stretch: int, n: int, texts: int, labelled: int, seed: int):
    pool = shared(n, texts, labelled=labelled, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "STRETCH", stretch)
        picks = choose("random@whole-contexts", pool, ALL, seed=1).tolist()
    assert sorted(picks) == list(range(n))
    had, pieces = counts(pool), []
    unfinished = {context for context, labels in had.items() if labels % stretch}
    for context in pool.contexts[picks].tolist():
        pieces.append((context, had[context] // stretch))
        had[context] += 1
    runs = [piece for piece, _ in groupby(pieces)]
    assert len(runs) == len(set(runs))
    before = counts(pool)
    late = [number for context, number in runs if context not in unfinished or number > before[context] // stretch]
    assert late == sorted(late)
    assert unfinished >= {context for context, _ in runs[: len(runs) - len(late)]}


@pytest.mark.parametrize("name", ["margin", "random-diverse", "badge@balanced", "herding@whole-contexts", "random"])
def test_a_longer_queue_begins_with_the_shorter_in_large_pools_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = shared(230, 40)
    for large in (100_000, 20):
        for constant, value in {"LARGE": large, "ROUND": 10, "UNCERTAIN": 50, "RANDOM": 20}.items():
            monkeypatch.setattr(choosing, constant, value)
        whole = choose(name, pool, ALL, seed=1).tolist()
        assert sorted(whole) == list(range(230))
        for n in (1, 39, 60):
            assert choose(name, pool, n, seed=1).tolist() == whole[:n]


@pytest.mark.parametrize("name", ["random-diverse", "random-diverse@whole-contexts", "margin", "margin@whole-contexts"])
def test_the_rest_of_the_order_stays_when_its_first_item_is_labelled(name: str) -> None:
    pool = shared(labelled=0)
    order = choose(name, pool, ALL, seed=1)
    rest = pool.labelled_too(order[:1]).take(np.sort(order[1:]))
    again = np.sort(order[1:])[choose(name, rest, ALL, seed=2)]
    head = 7 if name == "random-diverse" else 39  # later turns know of all labels before them
    assert again[:head].tolist() == order[1 : head + 1].tolist()


def test_of_a_context_the_most_uncertain_item_is_asked_first() -> None:
    pool = shared()
    margin = uncertainty.margin(pool.probs)
    for name in ("margin", "margin@whole-contexts"):
        picks = choose(name, pool, ALL, seed=1)
        for context in np.unique(pool.contexts):
            mine = margin[picks[pool.contexts[picks] == context]]
            assert (np.diff(mine) <= 0).all()


def test_contexts_of_one_item_each_change_nothing() -> None:
    plain = make(40, labelled=5)
    pool = replace(plain, contexts=np.arange(40), labelled_contexts=np.arange(40, 45))
    for name in ("margin", "random-diverse", "herding", "random"):
        expected = choose(name, plain, 20, seed=1).tolist()
        assert choose(name, pool, 20, seed=1).tolist() == expected
        assert choose(f"{name}@whole-contexts", pool, 20, seed=1).tolist() == expected
        assert choose(f"{name}@whole-contexts", plain, 20, seed=1).tolist() == expected


def test_random_order_knows_no_contexts() -> None:
    pool = shared()
    assert choose("random", pool, 40, seed=3).tolist() == choose("random", make(40), 40, seed=3).tolist()


def test_contexts_come_for_both_or_neither() -> None:
    with pytest.raises(ValueError, match="None contexts of 5 labelled items"):
        replace(make(40, labelled=5), contexts=np.zeros(40, np.int64))
    with pytest.raises(ValueError, match=r"contexts \(3,\) must be \(40,\)"):
        replace(shared(), contexts=np.zeros(3, np.int64))


def test_companions_are_counted_in_the_pool_and_among_the_labels() -> None:
    pool = replace(make(4, labelled=3), contexts=np.array([5, 0, 5, 5]), labelled_contexts=np.array([5, 9, 5]))
    assert companions(pool, np.array([1, 3])) == [
        {"context_size": 1, "context_labelled": 0},
        {"context_size": 3, "context_labelled": 2},
    ]
    assert companions(make(4), np.array([1, 3])) == [{}, {}]
