"""Moving tasks to the top: the order holds, the changes are the fewest, the scores stay in their part of the scale."""

from itertools import combinations
from math import nextafter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.order import moves


def after(scores: dict[int, float], changes: dict[int, float]) -> list[int]:
    merged = {**scores, **changes}
    assert len(set(merged.values())) == len(merged), "scores must be distinct, or the order is chance"
    return sorted(merged, key=merged.__getitem__)


def fewest_changes(scores: dict[int, float], top: list[int], new: set[int]) -> int:
    """By trying all sets of tasks that keep their score."""
    floor = min([s for t, s in scores.items() if t not in top], default=0.5)
    for size in range(len(top), -1, -1):
        for kept in combinations([t for t in top if t in scores and t not in new], size):
            values = [scores[t] for t in kept]
            if values == sorted(values) and all(0 < v < floor for v in values):
                return len(top) - size
    raise AssertionError("unreachable")


@st.composite
def queues(draw: st.DrawFn) -> tuple[dict[int, float], list[int], set[int]]:
    places = draw(st.lists(st.integers(1, 400), unique=True, max_size=9))
    scores = {task: 0.25 + place * 1e-5 for task, place in enumerate(places)}
    top = draw(st.permutations(range(12)))[: draw(st.integers(0, 6))]
    return scores, list(top), set(draw(st.lists(st.sampled_from(top), max_size=2))) if top else set()


@given(queues())
def test_the_queue_begins_with_the_top_after_the_fewest_changes(
    queue: tuple[dict[int, float], list[int], set[int]],
) -> None:
    scores, top, new = queue
    changes = moves(scores, top, new)
    order = after(scores, changes)
    assert order[: len(top)] == top
    assert set(changes) <= set(top)
    assert all(0 < score < 0.5 for score in changes.values())
    assert len(changes) == fewest_changes(scores, top, new)
    assert [t for t in order if t not in top] == sorted((t for t in scores if t not in top), key=scores.__getitem__)


def test_a_queue_in_order_is_left_alone() -> None:
    scores = {task: 0.25 + task * 1e-5 for task in range(50)}
    assert moves(scores, range(8)) == {}
    assert moves(scores, []) == {}


def test_one_task_from_below_is_one_change() -> None:
    scores = {task: 0.25 + task * 1e-5 for task in range(50)}
    assert set(moves(scores, [0, 1, 30, 2, 3])) == {30}


@pytest.mark.parametrize("seed", range(5))
def test_thousands_of_moves_find_room(seed: int) -> None:
    chance = Random(seed)
    scores = {task: 0.25 + task * 1e-5 for task in range(20)}
    for _ in range(2000):
        top = chance.sample(range(20), 8)
        scores |= moves(scores, top)
        assert after(scores, {})[:8] == top


def test_a_narrow_gap_makes_room_by_scoring_the_whole_top_again() -> None:
    scores = {1: 0.2, 2: nextafter(0.2, 1), 3: 0.3}
    changes = moves(scores, [1, 9, 2])
    assert set(changes) == {1, 9, 2}
    assert after(scores, changes)[:3] == [1, 9, 2]


def test_the_floor_of_the_scale_is_not_crossed() -> None:
    scores = {1: 2e-5, 2: 3e-5}
    changes = moves(scores, [5, 6, 7, 8])
    assert after(scores, changes)[:4] == [5, 6, 7, 8]
    assert min(changes.values()) > 0


def test_no_room_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no room"):
        moves({1: 5e-324}, [2, 3])


def test_a_repeated_task_is_refused() -> None:
    with pytest.raises(ValueError, match="repeats"):
        moves({}, [1, 1])
