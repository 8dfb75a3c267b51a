"""A number from features: what is predicted, and how far off it is to be expected."""

import numpy as np
import pytest

from backend.active import regression
from backend.active.head import LinearHead
from backend.active.regression import Scale


def sample(n: int, seed: int, noise: float = 0.5, dim: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, dim))
    return features.astype(np.float32), features[:, 0] + features[:, 1] + noise * rng.normal(size=n)


def fitted(n: int, **options: float) -> tuple[LinearHead, Scale]:
    features, targets = sample(n, 0, **options)
    scale = Scale.of(targets)
    return regression.fit_ridge(features, scale.standard(targets)), scale


@pytest.mark.parametrize("n", [10, 40, 400])
def test_the_standard_deviation_covers_what_is_to_come(n: int) -> None:
    head, scale = fitted(n)
    features, targets = sample(2000, 1)
    errors = scale.standard(targets) - head.logits(features)[:, 0]
    deviation = regression.deviation(head, features)
    assert np.mean(np.abs(errors) < deviation) == pytest.approx(0.68, abs=0.15)
    assert np.mean(np.abs(errors) < 2 * deviation) > 0.88
    if n == 400:
        assert np.corrcoef(head.logits(features)[:, 0], targets)[0, 1] > 0.9


@pytest.mark.parametrize("copies", [1, 3])
def test_the_closed_form_is_what_refitting_without_each_example_and_its_copies_says(copies: int) -> None:
    features, targets = (np.repeat(values, copies, axis=0) for values in sample(12, 3, dim=4))
    targets = targets + np.random.default_rng(0).normal(size=len(targets)) * 0.1
    head = regression.fit_ridge(features, targets)
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    x, penalty = (features - middle) / spread, float(head.extra["penalty"][0])
    squares = []
    for out in range(12):
        rest = np.arange(len(x)) // copies != out
        level, centre = targets[rest].mean(), x[rest].mean(axis=0)
        a, own = x[rest] - centre, x[~rest][0] - centre
        weight = np.linalg.solve(a.T @ a + penalty * np.eye(4), a.T @ (targets[rest] - level))
        residual = targets[~rest] - level - own @ weight
        open_ = 1 / rest.sum() + own @ np.linalg.solve(a.T @ a + penalty * np.eye(4), own)
        squares.append(residual @ np.linalg.solve(np.eye(copies) + open_, residual))
    expected = np.sqrt((sum(squares) + regression.PRIOR_COUNT) / (len(x) + regression.PRIOR_COUNT))
    assert float(head.extra["noise"][0]) == pytest.approx(expected, rel=1e-4)


def test_copies_of_texts_do_not_make_it_fit_more_closely() -> None:
    features, targets = sample(30, 0, noise=1.0, dim=40)
    once, thrice = (regression.fit_ridge(np.repeat(features, k, 0), np.repeat(targets, k)) for k in (1, 3))
    assert float(thrice.extra["penalty"][0]) >= float(once.extra["penalty"][0])
    assert float(thrice.extra["noise"][0]) > 0.8 * float(once.extra["noise"][0])


def test_what_is_unlike_the_labels_is_less_certain() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 10)).astype(np.float32)
    features[:, 5:] *= 0.1  # hardly varies among the labels
    head = regression.fit_ridge(features, features[:, 0])
    near, far, strange = np.zeros((3, 10), np.float32)
    far[0], strange[7] = 1, 1
    lever = regression.leverage(head, np.stack([near, far, strange]))
    assert 0 <= lever[0] < lever[1] < lever[2]
    exact = np.linalg.inv(
        ((features - features.mean(0)) / features.std(0)).T @ ((features - features.mean(0)) / features.std(0))
        + float(head.extra["penalty"][0]) * np.eye(10)
    )
    x = (far - features.mean(0)) / features.std(0)
    assert lever[1] == pytest.approx(x @ exact @ x, rel=1e-3)


def test_held_out_errors_widen_the_interval_and_none_leave_it() -> None:
    head, _ = fitted(50)
    features, targets = sample(20, 1)
    far = regression.with_held_out(head, features, targets + 50)
    assert far.extra["noise"] > 5 * head.extra["noise"]
    assert regression.with_held_out(head, features[:0], []).extra["noise"] == pytest.approx(head.extra["noise"])
    less = regression.with_held_out(head, features, targets + 50, known=1000)
    assert head.extra["noise"] < less.extra["noise"] < far.extra["noise"]


def test_an_adapted_head_claims_nothing_about_features_that_have_changed() -> None:
    head = regression.trained(fitted(50)[0])
    features, _ = sample(5, 1)
    assert regression.deviation(head, features) == pytest.approx(float(head.extra["noise"][0]))


def test_targets_that_are_all_the_same_have_a_scale() -> None:
    scale = Scale.of([7.3, 7.3, 7.3])
    assert scale.width == 1
    assert scale.standard([7.3, 8.3]) == pytest.approx([0, 1])


def test_a_normal_probability() -> None:
    assert regression.within(-1, 1, 0, 1) == pytest.approx(0.6827, abs=1e-4)
    assert regression.within(-np.inf, 0, 0, 3) == pytest.approx(0.5)
