"""Uncertainty: range, direction, invariance; the textbook values."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from backend.active.uncertainty import (
    bald,
    entropy,
    expected_gradient_length,
    least_confidence,
    loss,
    margin,
    mean_entropy,
)

ALL = [margin, entropy, least_confidence, loss]
Measure = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@st.composite
def distributions(draw: st.DrawFn) -> NDArray[np.float64]:
    n, k = draw(st.integers(0, 6)), draw(st.integers(1, 7))
    weights = draw(arrays(np.float64, (n, k), elements=st.floats(1e-6, 1)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("measure", ALL)
@given(probs=distributions())
def test_values_are_in_range_and_do_not_depend_on_the_order_of_labels(
    measure: Measure, probs: NDArray[np.float64]
) -> None:
    values = measure(probs)
    assert values.shape == (len(probs),)
    assert ((values >= 0) & (values <= 1)).all()
    assert measure(probs[:, ::-1]) == pytest.approx(values)


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize("k", [2, 3, 77])
def test_certain_is_0_and_uniform_is_1(measure: Measure, k: int) -> None:
    assert measure(np.stack([np.eye(k)[0], np.full(k, 1 / k)])) == pytest.approx([0, 1])


@pytest.mark.parametrize("measure", ALL)
def test_more_doubt_is_higher(measure: Measure) -> None:
    values = measure(np.array([[0.9, 0.06, 0.04], [0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]))
    assert (np.diff(values) > 0).all()


def test_textbook_values() -> None:
    probs = np.array([[0.5, 0.3, 0.2]])
    assert margin(probs) == pytest.approx([0.8])
    assert least_confidence(probs) == pytest.approx([0.75])
    assert entropy(probs) == pytest.approx([1.0297 / np.log(3)], abs=1e-4)


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize("probs", [[[0.5, 0.6]], [[1.2, -0.2]], [[np.nan, 1.0]], [0.5, 0.5], np.zeros((3, 0))], ids=str)
def test_what_is_no_distribution_is_refused(measure: Measure, probs: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="probs"):
        measure(probs)


@given(probs=distributions(), seed=st.integers(0, 99))
def test_gradient_length_is_that_of_explicit_gradients(probs: NDArray[np.float64], seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(len(probs), 3))
    k = probs.shape[1]
    for p, h, found in zip(probs, features, expected_gradient_length(probs, features), strict=True):
        gradients = [np.outer(p - np.eye(k)[y], [*h, 1]) for y in range(k)]
        assert found == pytest.approx(sum(p[y] * np.linalg.norm(g) for y, g in enumerate(gradients)), abs=1e-6)


def test_gradient_length_of_a_certain_answer_is_0_and_long_features_count() -> None:
    certain, unsure = [1.0, 0.0], [0.5, 0.5]
    assert expected_gradient_length([certain, unsure], np.zeros((2, 4))) == pytest.approx([0, 0.5**0.5])
    short, long = expected_gradient_length([unsure, unsure], [[1.0], [9.0]])
    assert long > short
    with pytest.raises(ValueError, match="features"):
        expected_gradient_length([certain], np.zeros((2, 4)))


def draws(s: int, n: int, k: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.ones(k), (s, n))


@given(s=st.integers(1, 5), n=st.integers(0, 5), k=st.integers(2, 5), seed=st.integers(0, 99))
def test_measures_of_samples_equal_loops(s: int, n: int, k: int, seed: int) -> None:
    samples = draws(s, n, k, seed)
    for i in range(n):
        each = [-sum(p * np.log(p) for p in samples[j, i]) / np.log(k) for j in range(s)]
        mean = samples[:, i].mean(axis=0)
        assert mean_entropy(samples)[i] == pytest.approx(np.mean(each))
        assert bald(samples)[i] == pytest.approx(-(mean * np.log(mean)).sum() / np.log(k) - np.mean(each), abs=1e-9)
    assert ((bald(samples) >= 0) & (bald(samples) <= 1)).all()


def test_bald_is_disagreement_not_doubt() -> None:
    doubt = np.full((4, 1, 2), 0.5)
    quarrel = np.eye(2)[[0, 1, 0, 1]][:, None]
    assert (mean_entropy(doubt)[0], bald(doubt)[0]) == pytest.approx((1, 0))
    assert (mean_entropy(quarrel)[0], bald(quarrel)[0]) == pytest.approx((0, 1))
    assert bald(np.ones((3, 2, 1))).tolist() == [0, 0]


@pytest.mark.parametrize("measure", [mean_entropy, bald])
def test_samples_of_another_shape_are_refused(measure: Measure) -> None:
    for wrong in (np.full((2, 2), 0.5), np.zeros((0, 2, 2)), np.full((2, 1, 2), 0.7)):
        with pytest.raises(ValueError, match="probs"):
            measure(wrong)
