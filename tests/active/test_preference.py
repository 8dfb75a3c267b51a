"""Scores from orders: the likelihood of Plackett and Luce, the head that makes it highest, and its temperature."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active import preference

SCORES = st.lists(st.floats(-5, 5), min_size=1, max_size=4)


def sample(lists: int, size: int, seed: int, sharp: float = 2.0) -> tuple[np.ndarray, list[list[int]]]:
    """Items whose first feature is their score, and an order of each list drawn with these scores."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(lists * size, 8)).astype(np.float32)
    noisy = sharp * features[:, 0] + rng.gumbel(size=len(features))  # sorted, it is a draw of the model
    groups = np.arange(lists * size).reshape(lists, size)
    return features, [group[np.argsort(-noisy[group])].tolist() for group in groups]


@given(SCORES)
def test_all_orders_together_are_certain(scores: list[float]) -> None:
    orders = itertools.permutations(range(len(scores)))
    assert sum(math.exp(preference.log_probability(scores, order)) for order in orders) == pytest.approx(1)


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_of_two_items_it_is_the_sigmoid_of_the_difference(first: float, second: float) -> None:
    chance = math.exp(preference.log_probability([first, second], [0, 1]))
    assert chance == pytest.approx(1 / (1 + math.exp(second - first)))


@given(st.lists(st.permutations(range(4)), min_size=1, max_size=3), st.integers(0, 5))
def test_the_slope_is_the_slope(orders: list[list[int]], seed: int) -> None:
    places, there = preference._padded([order[: 2 + at] for at, order in enumerate(orders)])
    scores = np.where(there, np.random.default_rng(seed).normal(size=4)[places], preference.NEVER)
    _, slopes = preference._surprise(scores, there)
    for at in zip(*np.nonzero(there), strict=True):
        more, less = scores.copy(), scores.copy()
        more[at] += 1e-5
        less[at] -= 1e-5
        change = preference._surprise(more, there)[0] - preference._surprise(less, there)[0]
        assert change.sum() / 2e-5 == pytest.approx(slopes[at], abs=1e-5)


@pytest.mark.parametrize(("lists", "size"), [(150, 2), (50, 4)])
def test_a_fitted_head_orders_new_items(lists: int, size: int) -> None:
    head = preference.fit_utility_head(*sample(lists, size, 0))
    features, _ = sample(200, 2, 1)
    scores = head.logits(features)[:, 0]
    assert np.corrcoef(scores, features[:, 0])[0, 1] > 0.9
    assert scores @ features[:, 0] > 0


def test_lists_of_different_length_and_weights() -> None:
    features, orders = sample(40, 4, 0)
    orders = [order[: 2 + at % 3] for at, order in enumerate(orders)]
    once = preference.fit_utility_head(features, orders)
    twice = preference.fit_utility_head(features, orders + orders, np.full(80, 0.5))
    assert twice.weight == pytest.approx(once.weight, abs=1e-3)
    against = preference.fit_utility_head(features, [order[::-1] for order in orders])
    assert (against.weight[0, 0] < 0) == (once.weight[0, 0] > 0)


@pytest.mark.parametrize("boast", [0.3, 1.0, 4.0])
def test_the_temperature_makes_scores_honest(boast: float) -> None:
    features, orders = sample(400, 3, 0)
    scores = [boast * 2 * features[order[0] - order[0] % 3 :][:3, 0] for order in orders]
    local = [[item % 3 for item in order] for order in orders]
    assert preference.fit_order_temperature(scores, local) == pytest.approx(boast, rel=0.15)


def test_without_an_order_the_temperature_is_one() -> None:
    assert preference.fit_order_temperature([], []) == 1
    assert preference.fit_order_temperature([[2.0]], [[0]]) == 1


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5), st.floats(0.1, 3))
def test_even_scores_are_close_and_spreading_them_makes_them_less_so(scores: list[float], wider: float) -> None:
    close = preference.closeness(scores)
    assert 0 <= close <= 1
    assert preference.closeness(np.array(scores) * (1 + wider)) <= close + 1e-9
    assert preference.closeness(scores[::-1]) == pytest.approx(close)


def test_closeness_at_its_ends() -> None:
    assert preference.closeness([2, 2, 2]) == 1
    assert preference.closeness([0, 50]) < 1e-9
    assert preference.closeness([3]) == 0


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_concordance_is_kendalls_tau_as_a_share(order: list[int], other: list[int]) -> None:
    from scipy.stats import kendalltau

    ranks = preference.mean_ranks([other])
    tau = kendalltau(np.argsort(order), ranks).statistic
    assert preference.concordance(order, ranks) == pytest.approx((1 + tau) / 2)
    assert preference.concordance(other, ranks) == 1


def test_between_two_annotators_either_order_is_right() -> None:
    ranks = preference.mean_ranks([[0, 1, 2], [1, 0, 2]])
    assert ranks.tolist() == [0.5, 0.5, 2]
    assert preference.concordance([0, 1, 2], ranks) == preference.concordance([1, 0, 2], ranks) == 1
    assert preference.concordance([2, 0, 1], ranks) == pytest.approx(1 / 3)
    assert preference.concordance([0], [0.0]) == 1
