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
from backend.problems.judge import Judge
from backend.problems.schema import Control, Output, Schema

CONTROL = Control("topic", "choices", "text", "text", ("sport", "food", "music"), ("a game", "a dish", "a song"))
PROBLEM = SingleChoice()


def one_hot(position: int) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[position]


def test_targets_keep_their_rows_and_survive_json() -> None:
    tie = np.array([0.5, 0.0, 0.5], np.float32)
    assert PROBLEM.target_array(CONTROL, [one_hot(2), tie]).tolist() == [[0, 0, 1], [0.5, 0, 0.5]]
    assert PROBLEM.target_array(CONTROL, []).shape == (0, 3)
    assert PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(tie)))).tolist() == tie.tolist()


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
    outputs = PROBLEM.outputs(CONTROL, head, features)
    assert all(PROBLEM.quality(CONTROL, o, one_hot(c)) == 1 for o, c in zip(outputs, classes, strict=True))
    assert all(o.probs is not None and o.probs[1] > 0 and o.probs.sum() == pytest.approx(1) for o in outputs)


def test_before_any_label_the_nearest_description_is_preferred_not_certain() -> None:
    directions = {"a game": [3, 0, 0, 1], "a dish": [0, 2, 0, 1], "a song": [0, 0, 4, 1]}
    head = PROBLEM.zero_shot_head(CONTROL, 4, lambda texts: np.array([directions[t] for t in texts], np.float32))
    probs = np.stack([o.probs for o in PROBLEM.outputs(CONTROL, head, np.array(list(directions.values()), np.float32))])
    assert probs.argmax(1).tolist() == [0, 1, 2]
    nothing = PROBLEM.outputs(CONTROL, head, np.array([[0, 0, 0, 2]], np.float32))[0].probs
    assert nothing is not None
    assert nothing.max() < 0.6


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_the_loss_is_lowest_at_the_target_and_rare_labels_weigh_more(classes: list[int]) -> None:
    targets = np.stack([one_hot(c) for c in classes])
    loss = PROBLEM.loss(CONTROL, list(targets), 0.0)
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
    loss = PROBLEM.loss(CONTROL, [one_hot(0)], 0.1)
    assert float(loss(100 * wanted, wanted)) > float(loss(3 * wanted, wanted))


def test_calibration_keeps_answers_and_flattens_a_boaster() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 3)).astype(np.float32)
    targets = np.stack([one_hot(rng.choice(3, p=np.exp(x) / np.exp(x).sum())) for x in features.astype(np.float64)])
    boaster = LinearHead(3 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    honest = PROBLEM.calibrated_on(CONTROL, boaster, features, list(targets))
    assert honest.temperature == pytest.approx(3, rel=0.3)
    assert honest.probs(features).argmax(1).tolist() == boaster.probs(features).argmax(1).tolist()
    assert PROBLEM.calibrated_on(CONTROL, boaster, features[:0], []).temperature == 1


def test_doubt_is_worth_a_label() -> None:
    head = LinearHead(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    judge = Judge(Schema((CONTROL,)), {"topic": head}, 3)
    assert judge.worth(np.array([[99, 0, 0], [50, 50, 0]], np.float32)) == pytest.approx([0, 1])
    assert judge.worth(np.zeros((0, 3), np.float32)).shape == (0,)
    assert judge.mc_head() is head


def test_right_is_any_of_the_tied_labels_and_never_no_answer() -> None:
    tie = np.array([0.5, 0, 0.5], np.float32)
    said = Output(np.array([0.2, 0.1, 0.7], np.float32))
    assert PROBLEM.quality(CONTROL, said, tie)
    assert PROBLEM.quality(CONTROL, said, one_hot(2))
    assert not PROBLEM.quality(CONTROL, said, one_hot(0))
    assert not PROBLEM.quality(CONTROL, Output(reason="no text"), tie)
    assert PROBLEM.hard_class(one_hot(2)) == 2
    assert PROBLEM.groups(np.stack([one_hot(2), tie, one_hot(0), 0 * tie])).tolist() == [2, -1, 0, -1]


def test_a_reason_names_the_two_labels_in_question() -> None:
    said = np.array([0.2, 0.35, 0.45], np.float32)
    reason = json.loads(json.dumps(PROBLEM.reason(CONTROL, said, 0.9, pool_size=70, labelled=[one_hot(2)])))
    assert reason == {
        "measure": "margin",
        "value": 0.9,
        "pool": 70,
        "between": {"music": 0.45, "food": 0.35},
        "labelled_of_class": 1,
    }


def test_kinds_are_found_by_name_and_unknown_ones_are_said() -> None:
    assert problem_for(CONTROL) is PROBLEMS["choices"]
    with pytest.raises(UnsupportedConfig, match="rectangle"):
        problem_for(Control("t", "rectangle", "text", "text", ("a",), ("a",)))


def test_a_schema_survives_json_and_its_hash_follows_labels_and_their_order() -> None:
    schema = Schema((CONTROL,))
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    turned = Control("topic", "choices", "text", "text", CONTROL.labels[::-1], CONTROL.descriptions[::-1])
    assert Schema((turned,)).hash != schema.hash
    with pytest.raises(ValueError, match="not distinct"):
        Control("t", "choices", "text", "text", ("a", "a"), ("a", "a"))
