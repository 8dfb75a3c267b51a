"""Calibration and metrics: known values, and that noise is not taken for a difference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from backend.active.calibration import expected_calibration_error, fit_confidence, fit_temperature, softmax
from backend.active.metrics import accuracy_interval, macro_f1, macro_f1_interval, worse_beyond_noise


def sample(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and one-hot labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 4))
    labels = [rng.choice(4, p=p) for p in softmax(logits / temperature)]
    return logits, np.eye(4)[labels]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_true_temperature_is_found_and_makes_probabilities_honest(temperature: float) -> None:
    logits, targets = sample(2000, temperature)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(temperature, rel=0.1)
    assert expected_calibration_error(softmax(logits / found), targets.argmax(1)) < 0.03


def test_few_examples_move_the_temperature_little() -> None:
    assert fit_temperature(np.zeros((0, 4)), np.zeros((0, 4))) == 1
    wrong = np.eye(4)[[0, 1, 2]] * 20  # sure of the wrong label, three times
    assert 1 < fit_temperature(wrong / 10, np.eye(4)[[1, 2, 3]]) < 2
    assert 0.7 < fit_temperature(wrong / 10, np.eye(4)[[0, 1, 2]]) < 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_likeliest_is_right_as_often_as_it_seems(temperature: float) -> None:
    logits, targets = sample(2000, temperature)
    right = targets[np.arange(2000), logits.argmax(1)]
    found = fit_confidence(logits, right, typical=1.5)
    assert found == pytest.approx(temperature, rel=0.15)
    wide = np.concatenate([logits, np.full((2000, 3), -1e9)], axis=1)  # what is impossible changes nothing
    assert fit_confidence(wide, right, typical=1.5) == pytest.approx(found)


def test_few_answers_move_the_confidence_little() -> None:
    assert fit_confidence(np.zeros((0, 4)), [], typical=2.0) == 2
    sure = np.eye(4)[[0, 1, 2]] * 4
    assert 2 < fit_confidence(sure, [0, 0, 0], typical=2.0) < 4
    assert 1.4 < fit_confidence(sure, [1, 1, 1], typical=2.0) < 2
    assert np.isfinite(fit_confidence(np.eye(4)[[0]] * 1e5, [0]))
    with pytest.raises(ValueError, match=r"must be \(N, K\) and \(N,\)"):
        fit_confidence(sure, [1, 1])


def test_calibration_error_of_a_boaster_is_its_boast() -> None:
    probs = np.tile([1.0, 0.0], (10, 1))
    assert expected_calibration_error(probs, [0] * 6 + [1] * 4) == pytest.approx(0.4)
    assert expected_calibration_error(np.zeros((0, 2)), []) == 0


def test_softmax_survives_large_logits() -> None:
    assert softmax([[1e4, 0.0], [-1e4, -1e4]]) == pytest.approx(np.array([[1, 0], [0.5, 0.5]]))


@pytest.mark.parametrize("correct", range(0, 21, 3))
def test_the_interval_is_the_exact_one(correct: int) -> None:
    interval = accuracy_interval(correct, 20)
    exact = binomtest(correct, 20).proportion_ci(method="exact")
    assert (interval.value, interval.low, interval.high) == pytest.approx((correct / 20, exact.low, exact.high))


@pytest.mark.parametrize("n", [1, 5, 10, 13, 20, 30])
def test_the_interval_holds_the_truth_however_few_the_examples(n: int) -> None:
    intervals = [accuracy_interval(correct, n) for correct in range(n + 1)]
    for truth in np.linspace(0.01, 0.99, 99):
        held = [interval.low <= truth <= interval.high for interval in intervals]
        assert binom.pmf(range(n + 1), n, truth)[held].sum() >= 0.95


@given(st.integers(1, 500), st.data())
def test_an_interval_holds_its_value_and_stays_on_the_scale(n: int, data: st.DataObject) -> None:
    interval = accuracy_interval(data.draw(st.integers(0, n)), n)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high - interval.low > 0


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="correct"):
        accuracy_interval(correct, n)


def test_macro_f1_counts_rare_classes_like_common_ones() -> None:
    actual = [0] * 98 + [1] * 2
    assert macro_f1([0] * 100, actual) == pytest.approx(0.495, abs=1e-3)
    assert macro_f1(actual, actual) == 1
    assert macro_f1([], []) == 0


@pytest.mark.parametrize(("lost", "won", "worse"), [(5, 0, True), (4, 0, False), (8, 1, True), (8, 3, False)])
def test_the_gate_needs_more_than_bad_luck(lost: int, won: int, worse: bool) -> None:
    old = [True] * lost + [False] * won + [True] * 30
    new = [False] * lost + [True] * won + [True] * 30
    assert worse_beyond_noise(old, new) is worse
    assert worse_beyond_noise(new, old) is False or won > lost


def test_the_gate_counts_as_many_answers_as_there_are() -> None:
    assert worse_beyond_noise([1.0] * 5000, [0.0] * 5000)
    assert not worse_beyond_noise([1, 0] * 5000 + [1], [0, 1] * 5000 + [0])


def test_equal_models_seldom_fail_the_gate() -> None:
    rng = np.random.default_rng(0)
    failed = [worse_beyond_noise(rng.random(60) < 0.8, rng.random(60) < 0.8) for _ in range(1000)]
    assert np.mean(failed) <= 0.05


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 9))
def test_macro_f1_lies_in_its_interval_which_is_the_same_each_time(pairs: list[tuple[int, int]], seed: int) -> None:
    said, true = np.array(pairs).T
    found = macro_f1_interval(said, true, seed=seed, draws=50)
    assert found.value == macro_f1(said, true)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found == macro_f1_interval(said, true, seed=seed, draws=50)


def test_more_examples_make_the_interval_of_macro_f1_narrower() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(3, size=1000)
    said = np.where(rng.random(1000) < 0.8, true, rng.integers(3, size=1000))
    few, many = (macro_f1_interval(said[:n], true[:n], seed=0) for n in (40, 1000))
    assert many.high - many.low < (few.high - few.low) / 2
    with pytest.raises(ValueError, match="no examples"):
        macro_f1_interval([], [], seed=0)
