"""The linear head: it learns, never shifts labels, and leaves room for labels that were not seen."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.active.calibration import expected_calibration_error
from backend.active.head import (
    LinearHead,
    class_weights,
    cross_validated_logits,
    fit_calibrated_head,
    fit_linear_head,
)

Floats = NDArray[np.float32]


def blobs(n: int, k: int, d: int = 16, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % k
    centres = 3 * np.random.default_rng(99).normal(size=(k, d))
    return (5 + centres[classes] + rng.normal(size=(n, d))).astype(np.float32), classes


@pytest.mark.parametrize("k", [2, 3, 6])
def test_it_learns_what_can_be_learned(k: int) -> None:
    x, classes = blobs(20 * k, k)
    head = fit_linear_head(x, np.eye(k)[classes], seed=0)
    unseen_x, unseen = blobs(100, k, seed=1)
    assert (head.probs(unseen_x).argmax(1) == unseen).mean() > 0.97


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_label_without_examples_shifts_no_other_and_stays_possible(missing: int) -> None:
    x, classes = blobs(120, 4)
    keep = classes != missing
    head = fit_linear_head(x[keep], np.eye(4)[classes[keep]], seed=0)
    probs = head.probs(x[keep])
    assert (probs.argmax(1) == classes[keep]).mean() > 0.97
    assert ((probs[:, missing] > 0) & (probs[:, missing] < 0.25)).all()


def test_one_class_only_is_the_answer_everywhere() -> None:
    x, _ = blobs(5, 3)
    probs = fit_linear_head(x, np.eye(3)[[2] * 5], seed=0).probs(x)
    assert probs[:, 2] == pytest.approx(7 / 9 + 0 * probs[:, 2], abs=0.05)
    assert (probs[:, :2] > 0).all()


def test_a_tie_between_annotators_is_a_tie_of_the_head() -> None:
    x, classes = blobs(80, 2)
    targets = np.eye(2)[classes].astype(np.float64)
    middle = x.mean(axis=0, keepdims=True)
    head = fit_linear_head(np.vstack([x, middle, middle]), np.vstack([targets, [[0.5, 0.5]] * 2]), seed=0)
    assert head.probs(middle)[0] == pytest.approx([0.5, 0.5], abs=0.1)


def test_rows_are_distributions_and_temperature_flattens() -> None:
    x, classes = blobs(60, 3)
    head = fit_linear_head(x, np.eye(3)[classes], seed=0)
    flat = LinearHead(head.weight, head.bias, 10.0)
    assert head.probs(x).sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert flat.probs(x).max() < head.probs(x).max()
    assert flat.probs(x).argmax(1).tolist() == head.probs(x).argmax(1).tolist()


def test_the_same_seed_is_the_same_head_and_arrays_keep_it() -> None:
    x, classes = blobs(60, 3)
    one, two = (fit_linear_head(x, np.eye(3)[classes], seed=7) for _ in range(2))
    again = LinearHead.from_arrays(LinearHead(one.weight, two.bias, 1.5).to_arrays())
    assert np.array_equal(one.probs(x), two.probs(x))
    assert again.temperature == 1.5
    assert np.array_equal(again.logits(x), one.logits(x))


def test_a_head_for_500_labels_costs_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(500, 384)), np.eye(6)[rng.integers(0, 6, 500)]
    fit_linear_head(x[:20], targets[:20], seed=0)  # imports
    start = time.process_time()
    fit_linear_head(x, targets, seed=0)
    assert time.process_time() - start < 1.0  # 0.05 on an idle core


def test_class_weights_are_the_root_of_inverse_frequency() -> None:
    weights = class_weights(np.eye(3)[[0] * 16 + [1] * 4])
    assert weights[1] / weights[0] == pytest.approx(2)
    assert (weights[:2] * [16, 4]).sum() == pytest.approx(20)
    assert weights[2] == 1


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        fit_linear_head(np.zeros((0, 4)), np.zeros((0, 2)), seed=0)
    with pytest.raises(ValueError, match="bias"):
        LinearHead(np.zeros((3, 4), np.float32), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="finite"):
        LinearHead(np.full((2, 2), np.nan, np.float32), np.zeros(2, np.float32))


def test_an_example_is_judged_by_heads_that_do_not_know_it() -> None:
    x, classes = blobs(30, 3)
    y = np.eye(3)[classes]
    flipped = y.copy()
    flipped[4] = np.roll(y[4], 1)
    there, other = (cross_validated_logits(x, t, seed=0) for t in (y, flipped))
    np.testing.assert_array_equal(there[4], other[4])
    assert not np.array_equal(there, other)


def test_calibration_changes_the_confidence_and_no_answer() -> None:
    rng = np.random.default_rng(0)
    x, classes = blobs(400, 4)
    x += 4 * rng.normal(size=x.shape).astype(np.float32)
    y, none = np.eye(4)[classes], (np.zeros((0, 16)), np.zeros((0, 4)))
    raw, head = fit_linear_head(x[:80], y[:80], seed=0), fit_calibrated_head(x[:80], y[:80], *none, seed=0)
    np.testing.assert_array_equal(raw.probs(x).argmax(1), head.probs(x).argmax(1))
    before, after = (expected_calibration_error(h.probs(x[80:]), classes[80:]) for h in (raw, head))
    assert after < before
    with_held = fit_calibrated_head(x[:80], y[:80], x[80:], y[80:], seed=0)
    assert expected_calibration_error(with_held.probs(x[80:]), classes[80:]) <= after


def test_one_example_that_two_people_answered_differently_is_enough_for_a_head() -> None:
    x, y = np.ones((1, 4), np.float32), np.array([[0.5, 0.5, 0.0]])
    assert cross_validated_logits(x, y, seed=0).shape == (0, 3)
    head = fit_calibrated_head(x, y, np.zeros((0, 4)), np.zeros((0, 3)), seed=0)
    assert head.probs(x)[0] == pytest.approx([0.4, 0.4, 0.2], abs=0.15)
