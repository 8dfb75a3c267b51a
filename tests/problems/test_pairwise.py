"""Which of two texts: shares in, a side out; swapping the texts swaps everything."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.active.head import LinearHead
from backend.problems.base import problem_for
from backend.problems.pairwise import Pairwise
from backend.problems.schema import Content, Control, Item, Output

CONTROL = Control("better", "pairwise", "a,b", "one", ("left", "right"), ("left", "right"), more_fields=("two",))
PROBLEM = Pairwise()
LEFT, RIGHT, TIE = (np.array(t, np.float32) for t in ([1, 0], [0, 1], [0.5, 0.5]))
ROWS = hnp.arrays(np.float32, (4, 16), elements=st.floats(-3, 3, width=32))


def swapped(columns: np.ndarray) -> np.ndarray:
    return np.concatenate(np.split(columns, 2, axis=1)[::-1], axis=1)


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pairs of texts with eight features each; the better one has more of the first, with noise."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(n, 16)).astype(np.float32)
    better = 2 * (columns[:, 0] - columns[:, 8]) + rng.logistic(size=n) > 0
    return columns, [LEFT if left else RIGHT for left in better]


@cache
def fitted(n: int = 150) -> LinearHead:
    return PROBLEM.fit_calibrated(CONTROL, sample(n), sample(20, 1), seed=0)


def test_the_kind_is_known_and_reads_two_texts() -> None:
    assert isinstance(problem_for(CONTROL), Pairwise)
    item = Item({"two": Content(("second",)), "one": Content(("first",))})
    assert PROBLEM.texts(CONTROL, item) == ("first", "second")
    assert PROBLEM.width(CONTROL, 8) == 16


@given(st.floats(0, 1, width=32))
def test_targets_survive_json(left: float) -> None:
    target = np.array([left, 1 - left], np.float32)
    assert PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(target)))) == pytest.approx(
        target, abs=1e-5
    )


def test_a_single_preference_teaches_and_ties_do_not() -> None:
    assert not PROBLEM.can_fit(CONTROL, [])
    assert not PROBLEM.can_fit(CONTROL, [TIE])
    assert PROBLEM.can_fit(CONTROL, [TIE, LEFT])
    columns, targets = sample(12)
    always = np.where([t[0] > 0.5 for t in targets], 1, 0)[:, None] * columns + np.where(
        [t[0] > 0.5 for t in targets], 0, 1
    )[:, None] * swapped(columns)
    head = PROBLEM.fit_calibrated(CONTROL, (always, [LEFT] * 12), (columns[:0], []), seed=0)
    again = PROBLEM.fit_calibrated(CONTROL, (columns, targets), (columns[:0], []), seed=0)
    assert head.weight == pytest.approx(again.weight, abs=1e-3)


@given(ROWS)
def test_swapping_the_texts_swaps_the_probabilities(columns: np.ndarray) -> None:
    head = fitted(20)
    there, back = (PROBLEM.outputs(CONTROL, head, c) for c in (columns, swapped(columns)))
    for one, other in zip(there, back, strict=True):
        assert one.probs == pytest.approx(other.probs[::-1], abs=1e-5)
    logits = torch.from_numpy(head.logits(columns.reshape(8, 8))).reshape(4, 2, 1)
    probs = torch.softmax(PROBLEM.combined(logits) / head.temperature, dim=1).numpy()
    assert probs == pytest.approx(np.stack([o.probs for o in there]), abs=1e-4)
    assert PROBLEM.profile(CONTROL, head, columns) == pytest.approx(probs, abs=1e-4)


def test_a_fitted_head_finds_the_better_text_and_is_honest() -> None:
    again = LinearHead.from_arrays(fitted().to_arrays())
    columns, wanted = sample(1000, 2)
    scores = PROBLEM.scores(CONTROL, PROBLEM.outputs(CONTROL, again, columns), wanted)
    assert next(iter(scores)) == PROBLEM.score == "accuracy"
    assert scores["accuracy"] > 0.75
    assert scores["ece"] < 0.07


@given(st.integers(1, 6), st.integers(0, 3))
def test_a_handful_of_pairs_gives_a_sound_head(n: int, seed: int) -> None:
    head = PROBLEM.fit_calibrated(CONTROL, sample(n, seed), sample(0), seed=0)
    for output in PROBLEM.outputs(CONTROL, head, 30 * sample(3, 9)[0]):
        assert output.probs.sum() == pytest.approx(1)


def test_divided_annotators_make_the_model_less_sure() -> None:
    columns, targets = sample(60)
    divided = [np.asarray(0.6 * t + 0.2, np.float32) for t in targets]
    sure, unsure = (PROBLEM.fit_head(CONTROL, columns, t, seed=0) for t in (targets, divided))
    assert np.abs(unsure.weight).sum() < np.abs(sure.weight).sum()


def test_before_any_label_nothing_is_said() -> None:
    head = PROBLEM.zero_shot_head(CONTROL, 8, lambda texts: np.ones((len(texts), 8), np.float32))
    (output,) = PROBLEM.outputs(CONTROL, LinearHead.from_arrays(head.to_arrays()), np.ones((1, 16), np.float32))
    assert output.probs is None
    assert output.reason
    assert PROBLEM.profile(CONTROL, head, np.ones((1, 16), np.float32)).tolist() == [[0.5, 0.5]]


def test_the_loss_is_lowest_at_the_target_and_treats_both_sides_alike() -> None:
    loss = PROBLEM.loss(CONTROL, [LEFT] * 9 + [RIGHT], 0.1)
    logits = torch.tensor([[3.0, -3.0], [-3.0, 3.0]])
    right = loss(logits, torch.eye(2))
    assert float(right[0]) == pytest.approx(float(right[1]))
    assert bool((loss(-logits, torch.eye(2)) > right).all())
    even = loss(torch.tensor([[0.0, 0.0], [0.5, -0.5]]), torch.full((2, 2), 0.5))
    assert even[0] < even[1]


def test_where_annotators_are_divided_both_sides_are_right() -> None:
    for side in (LEFT, RIGHT):
        assert PROBLEM.quality(CONTROL, Output(side), TIE) == 1
        assert PROBLEM.quality(CONTROL, Output(side), side) == 1
        assert PROBLEM.quality(CONTROL, Output(side), side[::-1]) == 0
        assert not PROBLEM.kept(side, TIE)
        assert PROBLEM.kept(side, side)
    outputs = [Output(LEFT), Output(LEFT), Output(LEFT)]
    assert PROBLEM.scores(CONTROL, outputs, [TIE, LEFT, RIGHT])["accuracy"] == 0.5
    assert PROBLEM.scores(CONTROL, outputs[:1], [TIE])["accuracy"] == 1
    assert PROBLEM.groups(np.stack([LEFT, LEFT])).tolist() == [-1, -1]
