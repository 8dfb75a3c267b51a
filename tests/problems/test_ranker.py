"""The order of a list: annotators' orders in, the most probable one out; how sure it is, how close, and how good."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.active import preference
from backend.active.head import LinearHead
from backend.problems import ranker
from backend.problems.base import problem_for
from backend.problems.judge import Judge
from backend.problems.ranker import Ranker
from backend.problems.schema import Content, Control, Example, Item, Output, Schema

CONTROL = Control("order", "ranker", "answers", "answers", (), (), object="list")
PROBLEM = Ranker()
ORDERS = st.integers(1, 4).flatmap(lambda n: st.lists(st.permutations(range(n)).map(tuple), min_size=1, max_size=3))
HEAD = LinearHead(np.ones((1, 1), np.float32), np.zeros(1, np.float32), extra={"examples": np.ones(1, np.float32)})


def lists(*scores: list[float]) -> list[np.ndarray]:
    """A reading whose features are the scores of HEAD."""
    return [np.array(row, np.float32).reshape(-1, 1) for row in scores]


def sample(n: int, seed: int = 0) -> tuple[list[np.ndarray], list[tuple[tuple[int, ...], ...]]]:
    rng = np.random.default_rng(seed)
    reading = [rng.normal(size=(2 + at % 3, 6)).astype(np.float32) for at in range(n)]
    noisy = [2 * features[:, 0] + rng.gumbel(size=len(features)) for features in reading]
    return reading, [(tuple(np.argsort(-scores).tolist()),) for scores in noisy]


def test_the_kind_is_known_and_reads_every_entry() -> None:
    assert isinstance(problem_for(CONTROL), Ranker)
    assert not PROBLEM.fast
    item = Item({"answers": Content(("one", "two"), ("a", "b"))})
    assert PROBLEM.texts(CONTROL, item) == ("one", "two")


@given(ORDERS.map(tuple))
def test_targets_survive_json(target: tuple[tuple[int, ...], ...]) -> None:
    assert PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(target)))) == target


def test_a_list_of_one_teaches_nothing() -> None:
    assert not PROBLEM.can_fit(CONTROL, [])
    assert not PROBLEM.can_fit(CONTROL, [((0,),)])
    assert PROBLEM.can_fit(CONTROL, [((0,),), ((1, 0),)])


def test_a_fitted_head_orders_lists_of_any_length() -> None:
    again = LinearHead.from_arrays(PROBLEM.fit_lists(*sample(150)).to_arrays())
    reading, wanted = sample(300, 1)
    outputs = PROBLEM.outputs(CONTROL, again, reading)
    scores = PROBLEM.scores(CONTROL, outputs, wanted)
    assert next(iter(scores)) == PROBLEM.score == "concordance"
    assert scores["concordance"] > 0.75
    assert scores["concordance"] > scores["exact_match"]
    assert scores["first_match"] > 0.6
    assert scores["ece"] < 0.12
    for name, interval in PROBLEM.report(CONTROL, outputs, wanted, seed=0).items():
        assert interval.low <= interval.value == scores[name] <= interval.high


def test_annotators_of_one_list_share_its_weight() -> None:
    reading, targets = sample(30)
    twice = [target * 2 for target in targets]
    once = PROBLEM.fit_lists(reading, targets)
    assert PROBLEM.fit_lists(reading, twice).weight == pytest.approx(once.weight, abs=1e-3)
    divided = [(*target, target[0][::-1]) for target in targets]
    assert np.abs(PROBLEM.fit_lists(reading, divided).weight).max() < 0.05 * np.abs(once.weight).max()


def test_the_most_probable_order_and_its_probability() -> None:
    (output,) = PROBLEM.outputs(CONTROL, HEAD, lists([0.0, 2.0, 1.0]))
    assert output.answer == ((1, 2, 0),)
    first, second = math.exp(2) / (1 + math.e + math.exp(2)), math.e / (1 + math.e)
    assert output.confidence == pytest.approx(first * second, rel=1e-5)
    (alone,) = PROBLEM.outputs(CONTROL, HEAD, lists([3.0]))
    assert alone.answer == ((0,),)
    assert alone.confidence == 1


def test_close_entries_are_worth_a_label() -> None:
    columns = PROBLEM.columns(CONTROL, HEAD, lists([0, 9, 18], [0, 1, 2], [1, 1, 1], [4]))
    assert columns.shape == (4, 1)
    far, near, even, alone = Judge(Schema((CONTROL,)), {"order": HEAD}, 5).worth(
        np.concatenate([np.zeros((4, 5), np.float32), columns], axis=1)
    )
    assert alone == 0 < far < near < even == 1


def test_before_any_label_nothing_is_said_and_all_tasks_are_worth_the_same() -> None:
    head = LinearHead.from_arrays(PROBLEM.zero_shot_head(CONTROL, 1, lambda texts: np.ones((1, 1))).to_arrays())
    (output,) = PROBLEM.outputs(CONTROL, head, lists([1.0, 2.0]))
    assert output.answer is None
    assert output.reason
    assert PROBLEM.quality(CONTROL, output, ((0, 1),)) == 0
    assert PROBLEM.columns(CONTROL, head, lists([1.0, 2.0], [3.0])).tolist() == [[1], [1]]


@given(ORDERS.map(tuple))
def test_the_loss_is_the_surprise_of_the_orders(target: tuple[tuple[int, ...], ...]) -> None:
    n = len(target[0])
    scores = np.linspace(-1, 1, n)
    expected = -np.mean([preference.log_probability(scores, order) for order in target]) / max(1, n - 1)
    assert float(ranker._surprise(torch.from_numpy(scores), target)) == pytest.approx(expected, abs=1e-6)


class Numbers:
    """An encoder of texts that are numbers."""

    dim = 1

    def embed(self, texts: list[str]) -> np.ndarray:
        return np.array([float(text) for text in texts], np.float32).reshape(-1, 1)


@pytest.mark.parametrize("boast", [1.0, 5.0])
def test_held_out_orders_flatten_a_boaster_and_none_leave_it(boast: float) -> None:
    rng = np.random.default_rng(0)
    examples = []
    for number in range(200):
        values = rng.normal(size=3).round(3)
        order = tuple(np.argsort(-(values + rng.gumbel(size=3))).tolist())
        item = Item({"answers": Content(tuple(map(str, values)), ("a", "b", "c"))})
        examples.append(Example(number, item, {"order": (order,)}))
    head = LinearHead(boast * HEAD.weight, HEAD.bias, extra=HEAD.extra)
    honest = PROBLEM.calibrated(CONTROL, head, Numbers(), examples)
    assert 0.65 * boast < honest.temperature < 1.2 * boast  # the prior draws to 1
    assert honest.extra.keys() == head.extra.keys()
    assert PROBLEM.calibrated(CONTROL, head, Numbers(), []).temperature == 1
    reading = PROBLEM.read(CONTROL, honest, Numbers(), [e.item for e in examples])
    sure = [np.mean([o.confidence for o in PROBLEM.outputs(CONTROL, h, reading)]) for h in (head, honest)]
    assert (sure[1] < 0.75 * sure[0]) == (boast == 5)


@given(ORDERS.map(tuple))
def test_what_annotators_mean_is_right(target: tuple[tuple[int, ...], ...]) -> None:
    sure = PROBLEM.sure(target)
    assert PROBLEM.quality(CONTROL, sure, target) == 1
    assert PROBLEM.kept(PROBLEM.answer(sure), target)
    backwards = Output(answer=(sure.answer[0][::-1],))
    if len(target) == 1 and len(target[0]) > 1:
        assert PROBLEM.quality(CONTROL, backwards, target) == 0
        assert not PROBLEM.kept(backwards.answer, target)
