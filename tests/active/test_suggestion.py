"""Whether a suggestion is shown: ranges, monotony, and that annotators' corrections move the threshold."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.suggestion import keep_probability, threshold

past = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40)
GRID = np.linspace(0, 1, 101)


def split(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c for c, _ in pairs]), np.array([k for _, k in pairs], bool)


@given(past)
def test_a_higher_confidence_is_never_less_likely_kept(pairs: list[tuple[float, bool]]) -> None:
    found = keep_probability(GRID, *split(pairs))
    assert found.min() >= 0
    assert found.max() <= 1
    assert (np.diff(found) >= -1e-12).all()


@given(past, st.randoms())
def test_the_order_of_the_past_makes_no_difference(pairs: list[tuple[float, bool]], random) -> None:
    shuffled = random.sample(pairs, len(pairs))
    assert keep_probability(GRID, *split(pairs)) == pytest.approx(keep_probability(GRID, *split(shuffled)))


@given(past)
def test_the_threshold_rises_with_the_break_even(pairs: list[tuple[float, bool]]) -> None:
    found = [threshold(*split(pairs), above) for above in (0, 0.3, 0.5, 0.8, 1)]
    assert found[0] == 0
    assert found[-1] == 1
    assert all(a <= b for a, b in itertools.pairwise(found))


def test_without_a_past_the_calibrated_confidence_decides() -> None:
    assert keep_probability(GRID, [], []) == pytest.approx(GRID)
    assert threshold([], [], 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(("kept_share", "low", "high"), [(0.95, 0.0, 0.45), (0.7, 0.2, 0.5), (0.1, 0.85, 1.0)])
def test_what_annotators_keep_moves_the_threshold(kept_share: float, low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    shown = rng.uniform(0.4, 0.9, 500)
    assert low <= threshold(shown, rng.random(500) < kept_share, 0.5) <= high


def test_a_known_curve_is_found() -> None:
    rng = np.random.default_rng(0)
    shown = rng.uniform(0, 1, 4000)
    kept = rng.random(4000) < shown**2
    found = keep_probability(GRID[15:86], shown, kept)
    assert np.abs(found - GRID[15:86] ** 2).max() < 0.08
    assert threshold(shown, kept, 0.5) == pytest.approx(0.5**0.5, abs=0.05)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="kept"):
        keep_probability([0.5], [0.5], [])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        keep_probability([1.5], [], [])
    with pytest.raises(ValueError, match="above"):
        threshold([], [], 2)
