"""Cross-validation: more labels help, sizes ascend, and too few examples give no point. What still changes."""

import itertools

import numpy as np

from backend.active.folds import FOLDS
from backend.problems.choices import SingleChoice
from backend.problems.multiple import MultipleChoice
from backend.problems.schema import Control
from backend.problems.validation import change_of_heads, cross_validate

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


def test_a_text_that_is_there_three_times_is_not_known_from_its_copies() -> None:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(40, 20)), 3, axis=0).astype(np.float32)
    targets = np.repeat(np.eye(3, dtype=np.float32)[rng.integers(3, size=40)], 3, axis=0)
    found = cross_validate(SingleChoice(), CONTROL, features, list(targets), seed=0)
    assert all(p.accuracy < 0.5 and p.n == 120 for p in found)
    assert cross_validate(SingleChoice(), CONTROL, features[[0] * 60], list(targets[:60]), seed=0) == []


def test_less_changes_where_there_is_less_to_learn() -> None:
    shares = []
    for n, noise in ((200, 0.2), (200, 1.0), (20, 1.0)):
        features, targets = examples(n, noise)
        others, _ = examples(300, noise)
        found = change_of_heads(SingleChoice(), CONTROL, features, targets, others, seed=0)
        assert found == change_of_heads(SingleChoice(), CONTROL, features, targets, others, seed=0)
        assert (found.before, found.labels) == (n / 2, n)
        shares.append(found.share)
    assert 0 <= shares[0] < shares[1] < shares[2] < 1


def test_no_change_is_told_of_few_or_equal_examples_nor_where_answers_are_partly_right() -> None:
    features, targets = examples(60, 0.5)
    problem = SingleChoice()
    assert change_of_heads(problem, CONTROL, features[:3], targets[:3], features, seed=0) is None
    assert change_of_heads(problem, CONTROL, features, [targets[0]] * 60, features, seed=0) is None
    assert change_of_heads(problem, CONTROL, features, targets, features[:0], seed=0) is None
    assert change_of_heads(MultipleChoice(), CONTROL, features, targets, features, seed=0) is None
