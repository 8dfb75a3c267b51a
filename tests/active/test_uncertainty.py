"""Uncertainty: range, direction, invariance; the textbook values."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from backend.active.uncertainty import entropy, least_confidence, margin

ALL = [margin, entropy, least_confidence]
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
