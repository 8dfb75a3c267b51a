"""When a training ends without validation data: at a plateau, and never before something was learned."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.models.recipe import Recipe
from backend.models.schedule import WINDOW, Schedule

RECIPE = Recipe(steps=200, warmup=0.1, plateau=0.05, cooldown=0.1)


def run(losses: list[float], recipe: Recipe = RECIPE, n: int = 100) -> tuple[int, list[float]]:
    """(updates made, rate of each) when the loss is as given, the last value for ever."""
    schedule = Schedule(recipe, n)
    rates: list[float] = []
    while len(rates) < schedule.end:
        rates.append(schedule.rate(len(rates)))
        schedule.note(losses[min(len(rates), len(losses)) - 1])
    return len(rates), rates


def falling(updates: int) -> list[float]:
    """A loss that falls from 2 to 1 in so many updates."""
    return [2 - at / updates for at in range(updates)] + [1.0]


def test_a_plateau_ends_the_training_and_the_rate_still_falls_to_nothing() -> None:
    updates, rates = run(falling(60))
    assert updates == 100 + 20  # seen after the first window without a fall
    assert rates[20] == pytest.approx(1.0)
    assert all(a > b for a, b in pairwise(rates[20:]))
    assert 0 < rates[-1] < 0.05
    assert max(a - b for a, b in pairwise(rates[20:])) < 0.06  # no jump


def test_a_loss_that_goes_on_falling_takes_all_updates() -> None:
    updates, rates = run(falling(200))
    assert updates == 200
    assert rates[-1] == pytest.approx(1 / 180)


def test_a_loss_that_never_fell_is_no_plateau() -> None:
    assert run([2.0])[0] == run([2.0, 1.99])[0] == run([1.0, 2.0])[0] == 200


def test_a_warm_start_need_not_fall_first() -> None:
    flat = Schedule(RECIPE, 100, warm=True)
    for at in range(60):
        flat.note(1.0 + 1e-3 * at)
    assert flat.end == 60 + 20


def test_no_plateau_is_looked_for_where_the_share_is_0() -> None:
    losses = [*falling(60), *[1.0] * 20, *[1.2] * 20, 1.3]
    assert run(losses, replace(RECIPE, plateau=0.0))[0] == 200


def test_a_window_is_a_pass_where_there_are_many_examples() -> None:
    assert run(falling(60), n=16 * 60)[0] == 180 + 20
    assert run(falling(60), n=16 * 100)[0] == 200  # two passes say nothing of a plateau


@given(st.lists(st.floats(0, 5), min_size=1, max_size=300), st.integers(1, 3000), st.integers(1, 400))
def test_whatever_the_losses_it_ends_in_time_at_a_low_rate(losses: list[float], n: int, steps: int) -> None:
    updates, rates = run(losses, replace(RECIPE, steps=steps), n)
    assert min(steps, 3 * WINDOW) <= updates <= steps
    assert all(0 <= rate <= 1 for rate in rates)
    assert steps < 40 or rates[-1] <= 0.2
