"""Numbers: medians in, a number on the grid out; how near it is to be expected, and how good it is."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.active.head import LinearHead
from backend.pipeline.decide import strategy_for
from backend.problems.base import problem_for
from backend.problems.judge import Judge
from backend.problems.number import Number
from backend.problems.schema import Control, Output, Schema

PROBLEM = Number()
FREE = Control("amount", "number", "text", "text", (), ())


def bounded(**options: float) -> Control:
    return Control("amount", "number", "text", "text", (), (), options=options)


def sample(n: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, list[float]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 12)).astype(np.float32)
    return features, np.round(50 + 10 * features[:, 0] + noise * rng.normal(size=n)).tolist()


def test_the_kind_is_known() -> None:
    assert isinstance(problem_for(FREE), Number)


@given(st.floats(-1e9, 1e9))
def test_targets_survive_json(target: float) -> None:
    assert PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(target)))) == target
    assert PROBLEM.labels_in(target) == frozenset()


def test_something_must_differ_to_be_learned() -> None:
    assert not PROBLEM.can_fit(FREE, [])
    assert not PROBLEM.can_fit(FREE, [3.0, 3.0])
    assert PROBLEM.can_fit(FREE, [3.0, 4.0])


@pytest.mark.parametrize("control", [FREE, bounded(min=0, max=100), bounded(min=0, max=100, step=5)])
def test_a_fitted_head_finds_the_number_and_knows_how_near_it_is(control: Control) -> None:
    head = PROBLEM.fit_calibrated(control, sample(150), sample(20, 1), seed=0)
    again = LinearHead.from_arrays(head.to_arrays())
    features, wanted = sample(600, 2)
    outputs = PROBLEM.outputs(control, again, features)
    scores = PROBLEM.scores(control, outputs, wanted)
    assert next(iter(scores)) == PROBLEM.score == "closeness"
    assert scores["closeness"] > 0.9
    assert scores["mean_absolute_error"] < 3
    assert scores["concordance_correlation"] > 0.9
    assert scores["ece"] < 0.12
    assert all(o.answer == int(o.answer) for o in outputs)
    for name, interval in PROBLEM.report(control, outputs, wanted, seed=0).items():
        assert interval.low <= interval.value == scores[name] <= interval.high


def test_noisy_labels_make_the_confidence_fall() -> None:
    means = []
    for noise in (0.1, 10.0):
        head = PROBLEM.fit_calibrated(FREE, sample(100, noise=noise), sample(0), seed=0)
        means.append(np.mean([o.confidence for o in PROBLEM.outputs(FREE, head, sample(100, 3)[0])]))
    assert means[0] > 0.9
    assert means[1] < 0.6


@given(
    st.floats(-50, 50), st.floats(0.01, 60), st.sampled_from([0.0, 0.1, 0.25, 1.0, 7.0]),
    st.lists(st.floats(-200, 200), min_size=2, max_size=5, unique=True),
)  # fmt: skip
def test_every_answer_can_be_submitted(low: float, size: float, step: float, targets: list[float]) -> None:
    options = {"min": low, "max": low + size, **({"step": step} if step else {})}
    features = np.random.default_rng(0).normal(size=(len(targets), 4)).astype(np.float32)
    control = bounded(**options)
    head = PROBLEM.fit_calibrated(control, (features, targets), (features[:0], []), seed=0)
    for output in PROBLEM.outputs(control, head, 10 * features):
        assert low - 1e-6 <= output.answer <= low + size + 1e-6
        assert 0 <= output.confidence <= 1
        if step:
            steps = (output.answer - low) / step
            assert steps == pytest.approx(round(steps), abs=1e-6)


def test_answers_have_as_many_digits_as_labels() -> None:
    features = sample(30)[0]
    for digits in (0, 1, 3):
        targets = np.round(features[:, 0].astype(float), digits).tolist()
        head = PROBLEM.fit_head(FREE, features, targets, seed=0)
        answers = [o.answer for o in PROBLEM.outputs(FREE, head, features)]
        assert answers == np.round(answers, digits).tolist()
        assert len(set(answers)) > 1


def test_at_the_end_of_the_scale_there_is_nothing_beyond() -> None:
    extra = {name: np.array(value, np.float32) for name, value in (
        ("scale", [0, 1]), ("digits", [0]), ("noise", [0.5]), ("examples", [9]),
    )}  # fmt: skip
    head = LinearHead(np.ones((1, 1), np.float32), np.zeros(1, np.float32), extra=extra)
    rows = np.array([[-3.0], [5.0], [12.0]], np.float32)
    low, middle, high = PROBLEM.outputs(bounded(min=0, max=10), head, rows)
    assert [o.answer for o in (low, middle, high)] == [0, 5, 10]
    assert middle.extra["within"] == 1.5
    assert middle.confidence == pytest.approx(0.9973, abs=1e-3)
    assert min(low.confidence, high.confidence) > 0.999


def test_what_is_unlike_the_labels_is_worth_more() -> None:
    features, targets = sample(40)
    head = PROBLEM.fit_calibrated(FREE, (features, targets), sample(0), seed=0)
    judge = Judge(Schema((FREE,)), {"amount": head}, 12)
    near, far = judge.worth(np.stack([features.mean(axis=0), 20 * features[0]]))
    assert 0 < near < far < 1
    assert judge.mc_head() is None


def test_typical_texts_are_picked_because_the_least_certain_ones_are_outliers() -> None:
    judge = Judge(Schema((FREE,)), {"amount": PROBLEM.fit_head(FREE, *sample(9), seed=0)}, 12)
    assert strategy_for(judge, "auto") == "typiclust"
    assert strategy_for(judge, "margin") == "margin"
    assert strategy_for(judge, "auto@whole-contexts") == "typiclust@whole-contexts"
    assert strategy_for(judge, "bald@balanced") == "typiclust"


def test_before_any_label_nothing_is_said_and_all_tasks_are_worth_the_same() -> None:
    head = PROBLEM.zero_shot_head(FREE, 3, lambda texts: np.ones((len(texts), 3), np.float32))
    (output,) = PROBLEM.outputs(FREE, LinearHead.from_arrays(head.to_arrays()), np.ones((1, 3), np.float32))
    assert output.answer is None
    assert output.reason
    assert PROBLEM.scores(FREE, [output], [3.0])["closeness"] == 0
    assert PROBLEM.report(FREE, [output], [3.0], seed=0) == {}
    assert Judge(Schema((FREE,)), {"amount": head}, 3).worth(np.ones((2, 3), np.float32)).tolist() == [1, 1]


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=6, unique=True), st.floats(-3, 3))
def test_the_loss_is_the_squared_error_in_units_of_the_labels(targets: list[int], miss: float) -> None:
    loss = PROBLEM.loss(FREE, targets, 0.1)
    wanted = torch.from_numpy(PROBLEM.target_array(FREE, targets))
    centre, width = float(np.mean(targets)), float(np.std(targets))
    logits = (wanted - centre) / width + miss
    assert loss(logits, wanted).numpy() == pytest.approx(np.full(len(targets), miss**2 / 2), abs=1e-2)


@given(st.floats(-100, 100), st.floats(-100, 100), st.sampled_from([FREE, bounded(min=-100, max=100)]))
def test_quality_is_one_for_the_number_itself_and_falls_with_the_error(said: float, given_: float, control) -> None:
    quality = PROBLEM.quality(control, Output(answer=said), given_)
    assert 0 <= quality <= 1
    assert PROBLEM.quality(control, PROBLEM.sure(given_), given_) == 1
    farther = PROBLEM.quality(control, Output(answer=said + np.sign(said - given_ or 1)), given_)
    assert farther <= quality
    assert PROBLEM.kept(said, said)


def test_errors_are_shares_of_the_range_and_relative_without_one() -> None:
    assert PROBLEM.quality(bounded(min=0, max=10), Output(answer=4), 6) == pytest.approx(0.8)
    assert PROBLEM.quality(bounded(max=10), Output(answer=4), 6) == pytest.approx(0.8)
    assert PROBLEM.quality(FREE, Output(answer=88), 99) == pytest.approx(0.89)
    assert PROBLEM.quality(FREE, Output(answer=300), 99) == 0
    assert PROBLEM.quality(bounded(min=90, step=1), Output(answer=94), 99) == pytest.approx(0.5)
    assert not PROBLEM.kept(4, 4.5)
