"""Cross-validation: more labels help, sizes ascend, and too few examples give no point."""

import itertools

import numpy as np

from backend.problems.choices import SingleChoice
from backend.problems.schema import Control
from backend.problems.validation import FOLDS, cross_validate

CONTROL = Control("topic", "choices", "text", "text", ("a", "b", "c"), ("a", "b", "c"))


def examples(n: int, noise: float) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    classes = rng.integers(3, size=n)
    features = np.eye(3, 20)[classes] + noise * rng.normal(size=(n, 20))
    return features.astype(np.float32), list(np.eye(3, dtype=np.float32)[classes])


def test_points_ascend_and_every_size_answers_every_example() -> None:
    found = cross_validate(SingleChoice(), CONTROL, *examples(120, 0.5), seed=0)
    assert all(a.labels < b.labels for a, b in itertools.pairwise(found))
    assert {p.n for p in found} == {120}
    assert found[-1].accuracy > found[0].accuracy
    assert found[-1].labels == 120 * (FOLDS - 1) / FOLDS


def test_the_same_examples_give_the_same_points_and_few_give_none() -> None:
    features, targets = examples(60, 0.5)
    assert cross_validate(SingleChoice(), CONTROL, features, targets, seed=1) == cross_validate(
        SingleChoice(), CONTROL, features, targets, seed=1
    )
    assert cross_validate(SingleChoice(), CONTROL, features[:9], targets[:9], seed=0) == []
    assert cross_validate(SingleChoice(), CONTROL, features, [targets[0]] * 60, seed=0) == []
