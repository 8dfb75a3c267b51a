"""Stars: shares in, a median out; its probability, its expected error, and how good it is."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.active.head import LinearHead
from backend.problems.base import problem_for
from backend.problems.judge import Judge
from backend.problems.rating import Rating
from backend.problems.schema import Control, Output, Schema

STARS = ("1", "2", "3", "4", "5")
CONTROL = Control("stars", "rating", "text", "text", STARS, STARS)
PROBLEM = Rating()
VOTES = hnp.arrays(np.int64, 5, elements=st.integers(0, 3)).filter(lambda v: v.sum() > 0)
SHARES = VOTES.map(lambda v: (v / v.sum()).astype(np.float32))


def stars(*given_: int) -> np.ndarray:
    """The target of one vote or several."""
    return np.asarray(np.bincount(np.array(given_) - 1, minlength=5) / len(given_), np.float32)


def said(*probs: float) -> Output:
    head = LinearHead(np.zeros((4, 1), np.float32), np.zeros(4, np.float32), extra={"examples": np.ones(1, np.float32)})
    above = 1 - np.cumsum(probs)[:-1]
    logits = np.log(np.clip(above, 1e-6, 1)) - np.log(np.clip(1 - above, 1e-6, 1))
    return PROBLEM.outputs(
        CONTROL, LinearHead(head.weight, logits.astype(np.float32), extra=head.extra), np.zeros((1, 1))
    )[0]


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 10)).astype(np.float32)
    scores = features[:, 0] + features[:, 1] + 0.3 * rng.normal(size=n)
    return features, [stars(int(s) + 1) for s in np.digitize(scores, [-1.5, -0.5, 0.5, 1.5])]


def test_the_kind_is_known() -> None:
    assert isinstance(problem_for(CONTROL), Rating)


@given(SHARES)
def test_targets_survive_json(target: np.ndarray) -> None:
    again = PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(target))))
    assert again == pytest.approx(target, abs=1e-5)
    assert PROBLEM.target_array(CONTROL, []).shape == (0, 5)


def test_something_must_differ_to_be_learned() -> None:
    assert not PROBLEM.can_fit(CONTROL, [])
    assert not PROBLEM.can_fit(CONTROL, [stars(4)] * 3)
    assert PROBLEM.can_fit(CONTROL, [stars(4), stars(2)])


def test_a_fitted_head_finds_the_stars_and_knows_how_sure_it_is() -> None:
    head = PROBLEM.fit_calibrated(CONTROL, sample(150), sample(30, 1), seed=0)
    again = LinearHead.from_arrays(head.to_arrays())
    features, wanted = sample(500, 2)
    scores = PROBLEM.scores(CONTROL, PROBLEM.outputs(CONTROL, again, features), wanted)
    assert next(iter(scores)) == PROBLEM.score == "closeness"
    assert scores["quadratic_kappa"] > 0.8
    assert scores["closeness"] == pytest.approx(1 - scores["mean_absolute_error"] / 4)
    assert scores["ece"] < 0.1
    for name, interval in PROBLEM.report(CONTROL, PROBLEM.outputs(CONTROL, again, features), wanted, seed=0).items():
        assert interval.low <= interval.value == scores[name] <= interval.high


@given(st.integers(2, 8), st.integers(0, 4))
def test_a_handful_of_labels_gives_a_finite_head_and_sound_probabilities(n: int, seed: int) -> None:
    head = PROBLEM.fit_calibrated(CONTROL, sample(n, seed), (np.zeros((0, 10), np.float32), []), seed=0)
    for output in PROBLEM.outputs(CONTROL, head, 50 * sample(4, 9)[0]):
        assert output.probs.sum() == pytest.approx(1, abs=1e-4)
        assert output.answer.sum() == 1
        assert output.confidence == pytest.approx(float(output.probs @ output.answer), abs=1e-5)


def test_the_answer_is_the_median_and_not_the_likeliest() -> None:
    output = said(0.4, 0, 0.3, 0.3, 0)
    assert output.answer.argmax() == 2
    assert output.confidence == pytest.approx(0.3, abs=0.01)


def test_worth_is_the_error_to_expect() -> None:
    sharp, divided, unsure = ([0.01, 0.98, 0.01, 0, 0], [0.49, 0, 0.02, 0, 0.49], [0, 0.25, 0.5, 0.25, 0])
    biases = np.stack([np.log(np.clip(1 - np.cumsum(p)[:4], 1e-6, 1)) - np.log(np.cumsum(p)[:4] + 1e-6)
                       for p in (sharp, divided, unsure)]).astype(np.float32)  # fmt: skip
    # the features are the logits themselves
    head = LinearHead(np.eye(4, dtype=np.float32), np.zeros(4, np.float32), extra={"examples": np.ones(1, np.float32)})
    worth = Judge(Schema((CONTROL,)), {"stars": head}, 4).worth(biases)
    assert worth == pytest.approx([0.01, 0.98, 0.25], abs=0.01)


def test_before_any_label_nothing_is_said_and_all_tasks_are_worth_the_same() -> None:
    head = PROBLEM.zero_shot_head(CONTROL, 3, lambda texts: np.ones((len(texts), 3), np.float32))
    again = LinearHead.from_arrays(head.to_arrays())
    (output,) = PROBLEM.outputs(CONTROL, again, np.ones((1, 3), np.float32))
    assert output.answer is None
    assert output.reason
    assert PROBLEM.quality(CONTROL, output, stars(3)) == 0
    assert Judge(Schema((CONTROL,)), {"stars": again}, 3).worth(np.ones((2, 3), np.float32)).tolist() == [1, 1]


@given(SHARES, SHARES)
def test_the_loss_is_lowest_at_the_target(target: np.ndarray, other: np.ndarray) -> None:
    targets = [np.asarray(0.9 * t + 0.02, np.float32) for t in (target, other)]  # no class is impossible
    loss, wanted = PROBLEM.loss(CONTROL, targets, 0.0), torch.from_numpy(np.stack(targets))
    best = torch.logit(1 - wanted.cumsum(dim=1)[:, :-1])
    assert loss(best, wanted).shape == (2,)
    for shift in (-0.5, 0.5):
        assert bool((loss(best + shift, wanted) > loss(best, wanted)).all())


def test_the_loss_counts_how_far_off_an_answer_is() -> None:
    loss = PROBLEM.loss(CONTROL, [stars(1), stars(5)], 0.0)
    logits = torch.tensor([[-4.0] * 4]).repeat(5, 1)  # surely one star
    costs = loss(logits, torch.eye(5))
    assert bool((torch.diff(costs) > 3).all())


@given(st.integers(1, 5), SHARES)
def test_quality_falls_with_the_distance_to_a_median(answer: int, target: np.ndarray) -> None:
    output = Output(stars(answer), answer=stars(answer))
    quality = PROBLEM.quality(CONTROL, output, target)
    votes = np.flatnonzero(target > 0) + 1
    assert 0 <= quality <= 1
    if len(votes) == 1:
        assert quality == pytest.approx(1 - abs(answer - votes[0]) / 4)
        assert (quality == 1) == PROBLEM.kept(stars(answer), target)
    assert PROBLEM.quality(CONTROL, PROBLEM.sure(target), target) == 1


def test_between_two_annotators_all_is_right() -> None:
    assert [PROBLEM.quality(CONTROL, PROBLEM.sure(stars(n)), stars(2, 4)) for n in STARS_GIVEN] == [0.75, 1, 1, 1, 0.75]


STARS_GIVEN = (1, 2, 3, 4, 5)


def test_the_same_stars_are_a_group() -> None:
    targets = np.stack([stars(3), stars(1), stars(3), stars(1, 3)])
    assert PROBLEM.groups(targets).tolist() == [2, 0, 2, -1]
    assert PROBLEM.labels_in(stars(1, 3)) == {0, 2}
