"""Sigmoids, thresholds and sets as plain arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.linear_model import LogisticRegression

from backend.active import multilabel
from backend.active.multilabel import choose_sets, find_thresholds, fit_scale, fit_sigmoid_head, sigmoid

PROBS = hnp.arrays(np.float64, (5, 4), elements=st.floats(0, 1))
THRESHOLDS = hnp.arrays(np.float64, 4, elements=st.floats(0.05, 0.95))


def test_all_labels_at_once_are_what_each_one_is_alone() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), (rng.random((40, 3)) < [0.5, 0.2, 0.1]).astype(float)
    head = fit_sigmoid_head(x, y, strength=0.1)
    for k in range(3):
        weight = multilabel.positive_weights(y[:, k].sum(), 40)
        weights = np.where(y[:, k] > 0, weight, 1.0)
        alone = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000)
        scaled = (x - x.mean(0)) / (x.std(0) + 1e-6)
        alone.fit(scaled, y[:, k], sample_weight=weights * 40 / weights.sum())
        expected = alone.decision_function(scaled) - np.log(weight)
        assert head.logits(x.astype(np.float32))[:, k] == pytest.approx(expected, abs=0.02)


def test_more_columns_than_examples_change_nothing_but_the_way() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 11)).astype(np.float32), (rng.random((12, 2)) < 0.4).astype(np.float32)
    wide = np.concatenate([x, 0 * x], axis=1)
    narrow, other = fit_sigmoid_head(x, y), fit_sigmoid_head(wide, y)
    assert narrow.logits(x) == pytest.approx(other.logits(wide), abs=1e-2)


@pytest.mark.parametrize(("x", "y"), [(np.ones(3), np.ones((3, 1))), (np.ones((2, 3)), np.ones((3, 1))), ([], [])])
def test_arrays_that_do_not_fit_are_named(x: object, y: object) -> None:
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        fit_sigmoid_head(x, y)


@given(hnp.arrays(np.float64, 4, elements=st.floats(0, 50)))
def test_rarer_labels_weigh_more_and_need_less(positives: np.ndarray) -> None:
    weights, thresholds = multilabel.positive_weights(positives, 100), multilabel.rule_of_thumb(positives, 100)
    assert ((weights >= 1) & (weights <= 30)).all()
    assert ((thresholds > 0) & (thresholds <= 0.5)).all()
    some = np.sort(positives[positives > 0])
    assert (np.diff(multilabel.positive_weights(some, 100)) <= 0).all()


@given(PROBS, THRESHOLDS, st.integers(1, 5), st.booleans())
def test_a_set_holds_what_reaches_its_threshold_within_the_rules(
    probs: np.ndarray, thresholds: np.ndarray, most: int, empty: bool
) -> None:
    chosen = choose_sets(probs, thresholds, most=most, empty=empty)
    assert (chosen.sum(axis=1) <= most).all()
    assert empty or (chosen.sum(axis=1) >= 1).all()
    free = choose_sets(probs, thresholds, most=None, empty=True)
    gap = np.abs(probs - thresholds) > 1e-9
    assert (free == (probs >= thresholds))[gap & (probs > 1e-5) & (probs < 1 - 1e-5)].all()
    for row, p in zip(chosen, probs, strict=True):  # none that is left out is more probable than one kept by the cap
        if row.sum() == most and empty:
            left = (p >= thresholds + 1e-9) & ~row
            assert not left.any() or p[left].max() <= p[row].min() + 1e-9


@given(PROBS, hnp.arrays(np.float64, (5, 4), elements=st.sampled_from([0.0, 0.5, 1.0])), THRESHOLDS)
def test_thresholds_are_probabilities_and_without_positives_the_fallback(
    probs: np.ndarray, targets: np.ndarray, fallback: np.ndarray
) -> None:
    found = find_thresholds(probs, targets, np.ones(5), fallback)
    assert ((found > 0) & (found < 1)).all()
    assert find_thresholds(probs, 0 * targets, np.ones(5), fallback) == pytest.approx(fallback)


def test_with_much_data_a_threshold_is_near_half_of_the_best_f1() -> None:
    rng = np.random.default_rng(0)
    probs = rng.beta(0.5, 2, size=(8000, 2))
    targets = (rng.random(probs.shape) < probs).astype(float)
    found = find_thresholds(probs, targets, np.ones(len(probs)), np.full(2, 0.9))
    f1 = [multilabel.micro_f1(probs[:, [0]] >= t, targets[:, [0]] > 0) for t in multilabel.GRID]
    assert found[0] == pytest.approx(max(f1) / 2, abs=0.06)


@settings(deadline=None)
@given(st.floats(0.3, 3), st.floats(-1, 1))
def test_a_scale_is_found_and_a_weight_is_so_many_examples(slope: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    z = 2 * rng.normal(size=(3000, 2))
    y = (rng.random(z.shape) < sigmoid(slope * z + offset)).astype(float)
    found = fit_scale(z, y, np.ones(len(z)))
    assert found.slope == pytest.approx(slope, rel=0.2)
    assert found.offset == pytest.approx([offset, offset], abs=0.25)
    twice = fit_scale(np.concatenate([z[:50], z[:50]]), np.concatenate([y[:50], y[:50]]), np.ones(100))
    assert fit_scale(z[:50], y[:50], np.full(50, 2.0)).slope == pytest.approx(twice.slope, rel=1e-3)


def test_without_examples_a_scale_changes_nothing() -> None:
    found = fit_scale(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    assert (found.slope, found.offset.tolist()) == (1.0, [0, 0, 0])


@given(PROBS)
def test_the_probability_of_a_set_is_the_product_of_its_decisions(probs: np.ndarray) -> None:
    inside = np.clip(probs, 0.01, 0.99)
    chosen = inside > 0.5
    product = np.where(chosen, inside, 1 - inside).prod(axis=1)
    assert sigmoid(multilabel.set_logits(inside, chosen)) == pytest.approx(product, rel=1e-3)


def test_f1_of_counts_by_hand() -> None:
    answer = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]], bool)
    wanted = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]], bool)
    assert multilabel.agreement(answer, wanted) == pytest.approx([2 / 3, 1, 2 / 3])
    assert multilabel.micro_f1(answer, wanted) == pytest.approx(4 / 6)
    assert multilabel.macro_f1(answer, wanted) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert multilabel.micro_f1(answer[1:2], wanted[1:2]) == multilabel.macro_f1(answer[1:2], wanted[1:2]) == 1
    assert multilabel.binary_calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0]) == pytest.approx(0)
