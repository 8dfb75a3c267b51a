"""Single choice: targets in, honest probabilities out; the loss; the reasons that are told."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.active.head import LinearHead
from backend.errors import UnsupportedConfig
from backend.problems.base import PROBLEMS, problem_for
from backend.problems.choices import SingleChoice
from backend.problems.schema import Control, Example, Output, Schema

CONTROL = Control("topic", "choices", "text", "text", ("sport", "food", "music"), ("a game", "a dish", "a song"))
PROBLEM = SingleChoice()


def one_hot(position: int) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[position]


def example(task: int, target: np.ndarray | None) -> Example:
    return Example(task, f"text {task}", {} if target is None else {"topic": target})


def test_targets_keep_their_rows_and_say_which_are_there() -> None:
    tie = np.array([0.5, 0.0, 0.5], np.float32)
    targets, present = PROBLEM.targets_array(CONTROL, [example(1, one_hot(2)), example(2, None), example(3, tie)])
    assert targets.tolist() == [[0, 0, 1], [0, 0, 0], [0.5, 0, 0.5]]
    assert present.tolist() == [True, False, True]
    assert PROBLEM.targets_array(CONTROL, [])[0].shape == (0, 3)


def test_two_labels_are_needed_to_learn() -> None:
    assert not PROBLEM.can_fit(CONTROL, [])
    assert not PROBLEM.can_fit(CONTROL, [one_hot(1)] * 9)
    assert PROBLEM.can_fit(CONTROL, [one_hot(1), one_hot(0)])
    assert PROBLEM.can_fit(CONTROL, [np.array([0.5, 0.5, 0], np.float32)])


def test_a_fitted_head_answers_in_the_order_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(30) % 2 * 2  # label 1 was never given
    features = (3 * np.eye(3)[classes] @ rng.normal(size=(3, 8)) + 0.3 * rng.normal(size=(30, 8))).astype(np.float32)
    head = PROBLEM.fit_head(CONTROL, features, [one_hot(c) for c in classes], seed=0)
    outputs = PROBLEM.outputs(head, features)
    assert all(PROBLEM.correct(o, one_hot(c)) for o, c in zip(outputs, classes, strict=True))
    assert all(o.probs is not None and o.probs[1] > 0 and o.probs.sum() == pytest.approx(1) for o in outputs)


def test_before_any_label_the_nearest_description_is_preferred_not_certain() -> None:
    directions = {"a game": [3, 0, 0, 1], "a dish": [0, 2, 0, 1], "a song": [0, 0, 4, 1]}
    head = PROBLEM.zero_shot_head(CONTROL, lambda texts: np.array([directions[t] for t in texts], np.float32))
    probs = np.stack([o.probs for o in PROBLEM.outputs(head, np.array(list(directions.values()), np.float32))])
    assert probs.argmax(1).tolist() == [0, 1, 2]
    nothing = PROBLEM.outputs(head, np.array([[0, 0, 0, 2]], np.float32))[0].probs
    assert nothing is not None
    assert nothing.max() < 0.6


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_the_loss_is_lowest_at_the_target_and_rare_labels_weigh_more(classes: list[int]) -> None:
    targets = np.stack([one_hot(c) for c in classes])
    loss = PROBLEM.loss(targets, 0.0)
    wanted = torch.from_numpy(targets)
    right = loss(20 * wanted, wanted)
    assert right.shape == (len(classes),)
    assert bool((right < 1e-3).all())
    wrong = loss(torch.zeros(len(classes), 3), wanted)
    assert bool((wrong > right).all())
    counts = np.bincount(classes, minlength=3)
    rare_first = np.argsort([counts[c] for c in classes], kind="stable")
    assert (np.diff(wrong.numpy()[rare_first]) <= 1e-6).all()
    assert float(wrong.mean()) == pytest.approx(np.log(3), rel=1e-4)


def test_smoothing_puts_a_price_on_certainty() -> None:
    wanted = torch.from_numpy(one_hot(0)[None])
    loss = PROBLEM.loss(wanted.numpy(), 0.1)
    assert float(loss(100 * wanted, wanted)) > float(loss(3 * wanted, wanted))


def test_calibration_keeps_answers_and_flattens_a_boaster() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 3)).astype(np.float32)
    targets = np.stack([one_hot(rng.choice(3, p=np.exp(x) / np.exp(x).sum())) for x in features.astype(np.float64)])
    boaster = LinearHead(3 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    honest = PROBLEM.calibrated(boaster, features, targets)
    assert honest.temperature == pytest.approx(3, rel=0.3)
    assert honest.probs(features).argmax(1).tolist() == boaster.probs(features).argmax(1).tolist()
    assert PROBLEM.calibrated(boaster, features[:0], targets[:0]).temperature == 1


def test_doubt_is_uncertain_and_so_is_no_answer() -> None:
    outputs = [Output(np.array(p, np.float32)) for p in ([1, 0, 0], [0.5, 0.5, 0])] + [Output(None, "no text")]
    assert PROBLEM.uncertainty(outputs) == pytest.approx([0, 1, 1])
    assert PROBLEM.uncertainty([]).shape == (0,)


def test_right_is_any_of_the_tied_labels_and_never_no_answer() -> None:
    tie = np.array([0.5, 0, 0.5], np.float32)
    said = Output(np.array([0.2, 0.1, 0.7], np.float32))
    assert PROBLEM.correct(said, tie)
    assert PROBLEM.correct(said, one_hot(2))
    assert not PROBLEM.correct(said, one_hot(0))
    assert not PROBLEM.correct(Output(None, "no text"), tie)
    assert PROBLEM.hard_class(one_hot(2)) == 2
    assert PROBLEM.groups(np.stack([one_hot(2), tie, one_hot(0), 0 * tie])).tolist() == [2, -1, 0, -1]


def test_a_reason_names_the_two_labels_in_question() -> None:
    said = Output(np.array([0.2, 0.35, 0.45], np.float32))
    reason = json.loads(json.dumps(PROBLEM.reason(CONTROL, said, 0.9, pool_size=70, labelled=[one_hot(2)])))
    assert reason == {
        "measure": "margin",
        "value": 0.9,
        "pool": 70,
        "between": {"music": 0.45, "food": 0.35},
        "labelled_of_class": 1,
    }
    assert "between" not in PROBLEM.reason(CONTROL, Output(None, "no text"), 1.0, pool_size=3)


def test_kinds_are_found_by_name_and_unknown_ones_are_said() -> None:
    assert problem_for(CONTROL) is PROBLEMS["choices"]
    with pytest.raises(UnsupportedConfig, match="taxonomy"):
        problem_for(Control("t", "taxonomy", "text", "text", ("a",), ("a",)))


def test_a_schema_survives_json_and_its_hash_follows_labels_and_their_order() -> None:
    schema = Schema((CONTROL,))
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    turned = Control("topic", "choices", "text", "text", CONTROL.labels[::-1], CONTROL.descriptions[::-1])
    assert Schema((turned,)).hash != schema.hash
    with pytest.raises(ValueError, match="not distinct"):
        Control("t", "choices", "text", "text", ("a", "a"), ("a", "a"))
