"""Several labels at once: shares in, honest sets out; the loss; what is worth a label."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.active.head import LinearHead
from backend.problems.base import problem_for
from backend.problems.judge import Judge
from backend.problems.multiple import MultipleChoice
from backend.problems.schema import Control, Output, Schema

CONTROL = Control(
    "topic", "choices-multiple", "text", "text", ("sport", "food", "music"), ("a game", "a dish", "a song"),
    options={"type": "choices", "empty": True},
)  # fmt: skip
REQUIRED = Control("topic", "choices-multiple", "text", "text", CONTROL.labels, CONTROL.labels)
ONE = Control("topic", "choices-multiple", "text", "text", CONTROL.labels, CONTROL.labels, options={"most": 1})
PROBLEM = MultipleChoice()
SHARES = hnp.arrays(np.float32, 3, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


def labels(*shares: float) -> np.ndarray:
    return np.array(shares, np.float32)


def plain(weight: float = 1.0, **extra: np.ndarray) -> LinearHead:
    kept = {"positives": np.array([9, 9, 9], np.float32), "examples": np.array([20], np.float32), **extra}
    return LinearHead(weight * np.eye(3, dtype=np.float32), np.zeros(3, np.float32), extra=kept)


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Texts whose three features say which of the labels they have, with noise in 12 others; often none."""
    rng = np.random.default_rng(seed)
    given_ = rng.random((n, 3)) < [0.5, 0.3, 0.06]
    features = rng.normal(size=(n, 15))
    features[:, :3] += 3 * given_
    return features.astype(np.float32), list(given_.astype(np.float32))


def test_the_kind_is_known() -> None:
    assert isinstance(problem_for(CONTROL), MultipleChoice)


@given(SHARES)
def test_targets_survive_json(shares: np.ndarray) -> None:
    assert PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(shares)))).tolist() == shares.tolist()
    assert PROBLEM.target_array(CONTROL, []).shape == (0, 3)


def test_something_must_differ_to_be_learned() -> None:
    assert not PROBLEM.can_fit(CONTROL, [])
    assert not PROBLEM.can_fit(CONTROL, [labels(0, 0, 0)] * 4)
    assert not PROBLEM.can_fit(CONTROL, [labels(1, 0, 1)] * 4)
    assert PROBLEM.can_fit(CONTROL, [labels(1, 0, 1), labels(0, 0, 0)])


def test_a_fitted_head_finds_the_sets_and_the_empty_one() -> None:
    head = PROBLEM.fit_calibrated(CONTROL, sample(200), sample(30, 1), seed=0)
    features, wanted = sample(400, 2)
    outputs = PROBLEM.outputs(CONTROL, head, features)
    scores = PROBLEM.scores(CONTROL, outputs, wanted)
    assert scores["micro_f1"] > 0.85
    assert scores["exact_match"] > 0.6
    assert scores["ece"] < 0.1
    empty = [o for o, w in zip(outputs, wanted, strict=True) if not w.any()]
    assert np.mean([not o.answer.any() for o in empty]) > 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(0, 5))
def test_a_handful_of_positives_gives_a_finite_head_and_sound_probabilities(n: int, seed: int) -> None:
    features, wanted = sample(n, seed)
    head = PROBLEM.fit_calibrated(CONTROL, (features, wanted), (features[:0], []), seed=0)
    again = LinearHead.from_arrays(head.to_arrays())
    for output in PROBLEM.outputs(CONTROL, again, 100 * features):
        assert ((output.probs >= 0) & (output.probs <= 1)).all()
        assert 0 <= output.confidence <= 1
        assert set(output.answer.tolist()) <= {0.0, 1.0}
    assert 0 < again.extra["thresholds"].min() <= again.extra["thresholds"].max() < 1


def test_a_label_without_examples_stays_improbable_but_possible() -> None:
    features, wanted = sample(60)
    wanted = [w * labels(1, 1, 0) for w in wanted]
    head = PROBLEM.fit_calibrated(CONTROL, (features, wanted), (features[:0], []), seed=0)
    probs = np.stack([o.probs for o in PROBLEM.outputs(CONTROL, head, features)])
    assert 0 < probs[:, 2].max() < 0.05


def test_rules_of_the_control_hold() -> None:
    head = plain(thresholds=np.full(3, 0.5, np.float32))
    rows = np.array([[-3, -2, -4], [3, 4, 2]], np.float32)
    assert [o.answer.tolist() for o in PROBLEM.outputs(CONTROL, head, rows)] == [[0, 0, 0], [1, 1, 1]]
    assert [o.answer.tolist() for o in PROBLEM.outputs(REQUIRED, head, rows)] == [[0, 1, 0], [1, 1, 1]]
    assert [o.answer.tolist() for o in PROBLEM.outputs(ONE, head, rows)] == [[0, 1, 0], [0, 1, 0]]


def test_before_any_label_the_nearest_description_is_preferred() -> None:
    directions = {"a game": [3, 0, 0, 1], "a dish": [0, 2, 0, 1], "a song": [0, 0, 4, 1]}
    head = PROBLEM.zero_shot_head(CONTROL, 4, lambda texts: np.array([directions[t] for t in texts], np.float32))
    rows = np.array([*directions.values(), [0, 0, 0, 2], [3, 0, 4, 1]], np.float32)
    answers = [o.answer.tolist() for o in PROBLEM.outputs(CONTROL, head, rows)]
    assert answers[:3] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert answers[4][0] == answers[4][2] == 1
    assert PROBLEM.outputs(CONTROL, head, rows)[3].probs.max() < 0.7


@given(st.lists(SHARES.map(np.round), min_size=2, max_size=12))
def test_the_loss_is_lowest_at_the_target_and_rare_labels_weigh_more(targets: list[np.ndarray]) -> None:
    loss = PROBLEM.loss(CONTROL, targets, 0.0)
    wanted = torch.from_numpy(np.stack(targets))
    right = loss(40 * wanted - 20, wanted)
    assert right.shape == (len(targets),)
    assert bool((right < 1e-3).all())
    assert bool((loss(torch.zeros_like(wanted), wanted) > right).all())
    counts = wanted.sum(dim=0)
    missed = [float(loss(torch.full((1, 3), -20.0), torch.eye(3)[[k]])[0]) for k in range(3)]
    some = [k for k in range(3) if counts[k] > 0]
    for a in some:
        assert all(missed[a] >= missed[b] - 1e-3 for b in some if counts[a] <= counts[b])


def test_the_weight_of_rare_labels_leaves_probabilities_honest() -> None:
    """Without features, what is best is the share of the label, not the share of its weight."""
    targets = [labels(0, 0, 1)] + [labels(0, 0, 0)] * 19
    loss = PROBLEM.loss(CONTROL, targets, 0.0)
    wanted = torch.from_numpy(np.stack(targets))
    grid = torch.linspace(-6, 2, 161)
    costs = [float(loss(torch.tensor([-20.0, -20.0, z]).repeat(20, 1), wanted).mean()) for z in grid]
    assert float(torch.sigmoid(grid[int(np.argmin(costs))])) == pytest.approx(0.05, abs=0.005)


def test_calibration_flattens_a_boaster_and_without_examples_changes_no_probability() -> None:
    rng = np.random.default_rng(0)
    features = (2 * rng.normal(size=(300, 3))).astype(np.float32)
    targets = list((rng.random((300, 3)) < 1 / (1 + np.exp(-features))).astype(np.float32))
    honest = PROBLEM.calibrated_on(CONTROL, plain(4.0), features, targets)
    assert honest.temperature == pytest.approx(4, rel=0.4)
    untouched = PROBLEM.calibrated_on(CONTROL, plain(), features[:0], [])
    before = PROBLEM.outputs(CONTROL, plain(), features)
    after = PROBLEM.outputs(CONTROL, untouched, features)
    assert all(np.allclose(a.probs, b.probs, atol=1e-6) for a, b in zip(before, after, strict=True))


def test_doubt_is_worth_a_label_and_more_so_about_a_rare_one() -> None:
    head = plain(positives=np.array([100, 100, 1], np.float32))
    judge = Judge(Schema((CONTROL,)), {"topic": head}, 3)
    sure, common, rare = judge.worth(np.array([[99, -99, -99], [0, 99, 99], [99, 99, 0]], np.float32))
    assert sure == pytest.approx(0, abs=1e-6)
    assert 0 < common < rare < 1
    assert judge.worth(np.zeros((1, 3), np.float32)) == pytest.approx(1)
    assert judge.mc_head() is None


@given(SHARES, SHARES)
def test_quality_is_f1_of_the_majority(said: np.ndarray, given_: np.ndarray) -> None:
    answer = (said > 0.5).astype(np.float32)
    quality = PROBLEM.quality(CONTROL, Output(answer, answer=answer), given_)
    assert 0 <= quality <= 1
    assert PROBLEM.quality(CONTROL, PROBLEM.sure(given_), given_) == 1
    clear = not (given_ == 0.5).any()
    if clear:
        assert (quality == 1) == PROBLEM.kept(answer, given_)


def test_quality_counts_single_labels() -> None:
    said = Output(answer=labels(1, 1, 0))
    assert PROBLEM.quality(CONTROL, said, labels(1, 0, 0)) == pytest.approx(2 / 3)
    assert PROBLEM.quality(CONTROL, said, labels(0, 0, 0)) == 0
    assert PROBLEM.quality(CONTROL, said, labels(1, 0.5, 0)) == 1
    assert PROBLEM.quality(CONTROL, Output(answer=labels(0, 0, 0)), labels(0, 0, 0)) == 1
    assert PROBLEM.quality(CONTROL, Output(reason="no text"), labels(0, 0, 0)) == 0


def test_micro_f1_comes_first() -> None:
    outputs = [PROBLEM.sure(labels(1, 0, 0)), PROBLEM.sure(labels(0, 0, 0)), Output(reason="no text")]
    scores = PROBLEM.scores(CONTROL, outputs, [labels(1, 0, 0), labels(0, 0, 0), labels(0, 1, 0)])
    assert next(iter(scores)) == PROBLEM.score == "micro_f1"
    assert scores["micro_f1"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx(0.5)
    assert scores["exact_match"] == pytest.approx(2 / 3)
    assert scores["exact_match"] == pytest.approx(2 / 3)
    for name, interval in PROBLEM.report(
        CONTROL, outputs, [labels(1, 0, 0), labels(0, 0, 0), labels(0, 1, 0)], seed=0
    ).items():
        assert interval.low <= interval.value == scores[name] <= interval.high


def test_the_same_set_is_the_same_group() -> None:
    targets = np.stack([labels(1, 0, 1), labels(0, 0, 0), labels(1, 0, 1), labels(0, 1, 0), labels(0.5, 0, 1)])
    first, none, again, other, tie = PROBLEM.groups(targets).tolist()
    assert first == again != other
    assert none == tie == -1


def test_a_reason_names_the_labels_in_doubt() -> None:
    head = plain(positives=np.array([100, 100, 1], np.float32))
    (doubt,) = PROBLEM.doubts(
        CONTROL, head, np.array([[9, 1, 0]], np.float32), labelled=[labels(0, 0, 1), labels(0, 1, 0.5)]
    )
    doubt = json.loads(json.dumps(doubt))
    assert list(doubt["in_doubt"])[:2] == ["music", "food"]
    assert doubt["in_doubt"]["music"] == 0.5
    assert doubt["labelled_of_label"]["music"] == 2
