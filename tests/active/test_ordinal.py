"""Ordered classes: distributions and their medians, a head whose thresholds are in order, agreement of ratings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.active import ordinal
from backend.active.multilabel import sigmoid

DISTRIBUTIONS = hnp.arrays(np.float64, (3, 5), elements=st.integers(0, 4)).map(
    lambda votes: (votes + (votes.sum(axis=1, keepdims=True) == 0)) / np.maximum(votes.sum(axis=1, keepdims=True), 1)
)


def sample(n: int, seed: int, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Texts whose first feature, with noise, says which of k ordered classes they are of."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 12))
    scores = features[:, 0] + 0.3 * rng.normal(size=n)
    return features.astype(np.float32), np.digitize(scores, np.linspace(-1.2, 1.2, k - 1))


@given(DISTRIBUTIONS.map(lambda d: d / d.sum(axis=1, keepdims=True)))
def test_a_distribution_is_told_by_what_is_above(targets: np.ndarray) -> None:
    assert ordinal.class_probs(ordinal.above(targets)) == pytest.approx(targets, abs=1e-9)


@given(hnp.arrays(np.float64, (2, 4), elements=st.floats(0, 1)))
def test_whatever_the_binary_answers_are_the_classes_have_a_distribution(exceed: np.ndarray) -> None:
    probs = ordinal.class_probs(exceed)
    assert (probs >= 0).all()
    assert probs.sum(axis=1) == pytest.approx(1)


@given(DISTRIBUTIONS.map(lambda d: d / d.sum(axis=1, keepdims=True)))
def test_no_answer_is_nearer_than_a_median(targets: np.ndarray) -> None:
    low, high = ordinal.medians(targets)
    assert (low <= high).all()
    costs = np.stack([ordinal.expected_distance(targets, np.full(3, c)) for c in range(5)], axis=1)
    for median in (low, high):
        assert costs[np.arange(3), median] == pytest.approx(costs.min(axis=1), abs=1e-6)


def test_thresholds_are_in_order_and_classes_without_examples_stay_possible() -> None:
    features, classes = sample(80, 0)
    seen = np.isin(classes, [0, 3])
    head = ordinal.fit_ordinal_head(features[seen], np.eye(5)[classes[seen]])
    assert (np.diff(head.bias) < 1e-4).all()
    assert (head.weight == head.weight[0]).all()
    probs = ordinal.class_probs(sigmoid(head.logits(features)))
    assert probs[:, [1, 2, 4]].min(axis=0).max() < 0.05
    assert probs[:, 4].min() > 0


def test_order_helps_and_probabilities_are_honest() -> None:
    features, classes = sample(60, 0)
    head = ordinal.fit_ordinal_head(features, np.eye(5)[classes])
    head = ordinal.fit_calibrated_ordinal(head, features, np.eye(5)[classes], *_held(40), seed=0)
    test, wanted = sample(2000, 2)
    probs = ordinal.class_probs(sigmoid(head.logits(test) / head.temperature))
    said = ordinal.medians(probs)[0]
    assert ordinal.quadratic_agreement(said, wanted) > 0.75
    assert probs[np.arange(2000), said].mean() == pytest.approx((said == wanted).mean(), abs=0.08)


def _held(n: int) -> tuple[np.ndarray, np.ndarray]:
    features, classes = sample(n, 1)
    return features, np.eye(5)[classes]


def test_calibration_flattens_a_boaster_and_without_examples_changes_nothing() -> None:
    features, classes = sample(300, 0)
    targets = np.eye(5)[classes]
    head = ordinal.fit_ordinal_head(features, targets)
    boaster = type(head)(5 * head.weight, 5 * head.bias)
    assert ordinal.calibrate(boaster, boaster.logits(features), targets, np.ones(300)).temperature > 2
    same = ordinal.calibrate(head, head.logits(features[:0]), targets[:0], np.ones(0))
    assert same.temperature == 1
    assert same.bias.tolist() == head.bias.tolist()


def test_agreement_is_kappa_with_quadratic_weights() -> None:
    from sklearn.metrics import cohen_kappa_score

    said, wanted = np.random.default_rng(0).integers(0, 5, (2, 50))
    expected = cohen_kappa_score(said, wanted, weights="quadratic")
    assert ordinal.quadratic_agreement(said, wanted) == pytest.approx(expected)
    assert ordinal.quadratic_agreement([1, 2], [1, 2]) == ordinal.quadratic_agreement([3, 3], [3, 3]) == 1
