"""Answers to questions: the loss, joint probabilities, several acceptable answers, long texts."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.active.extractive import span_logits, spans_of
from backend.active.head import LinearHead
from backend.active.selection import parse
from backend.active.selection.contexts import one_after_another, one_of_each
from backend.models.tokens import Window
from backend.pipeline.decide import strategy_for
from backend.problems.answering import answer_loss, lesson_of, places_of, start_head
from backend.problems.answering import span_logits as torch_span_logits
from backend.problems.base import problem_for
from backend.problems.judge import Judge
from backend.problems.question import Question, Read, typical_temperature
from backend.problems.schema import Control, Output, Schema

CONTROL = Control(
    "answer", "question", "context", "context", ("Answer",), ("Answer",), more_fields=("question",),
    options={"type": "labels", "empty": True},
)  # fmt: skip
REQUIRED = Control(
    "answer", "question", "context", "context", ("Answer",), ("Answer",), more_fields=("question",),
    options={"type": "labels"},
)  # fmt: skip
PROBLEM = Question()
TEXT = "one two  three four"
OFFSETS = np.array([[-1, -1], [0, 3], [4, 7], [9, 14], [15, 19]], np.int64)
EXTRA = {
    "longest": np.array([16], np.float32),
    "null": np.array([1, 0], np.float32),
    "labels": np.array([100], np.float32),
}
HEAD = LinearHead(np.ones((3, 4), np.float32), np.zeros(3, np.float32), extra=EXTRA)


def target(*texts: str, none: float = 0.0) -> dict[str, Any]:
    return {"spans": [[TEXT.index(t), TEXT.index(t) + len(t), t] for t in texts], "none": none}


def read(first: list[float], last: list[float], null: float) -> Read:
    logits = np.zeros((5, 3), np.float32)
    logits[1:, 0], logits[1:, 1], logits[0, 2] = first, last, null
    return Read(TEXT, spans_of([(logits, OFFSETS)], 16))


def examples_of(cases: list[tuple[Read, dict[str, Any]]]) -> list[Any]:
    from backend.problems.schema import Example, Item

    return [Example(n, Item.of(TEXT), {"answer": wanted}) for n, (_, wanted) in enumerate(cases)]


def says(text: str | None, confidence: float = 0.5, span: str | None = None) -> Output:
    answer = target(text) if text else {"spans": [], "none": 1.0}
    return Output(answer=answer, confidence=confidence, extra={"span": span or text or ""})


def windows(*starts: int) -> list[Window]:
    """Windows of three tokens of the text each, from these tokens on."""
    return [Window([7] * 4, OFFSETS[[0, *range(s, s + 3)]]) for s in starts]


def test_the_kind_is_known() -> None:
    assert isinstance(problem_for(CONTROL), Question)


# -------------------------------------------------------------------------------------------------------------- answers
def test_the_answer_is_the_likeliest_span_and_its_probability_the_confidence() -> None:
    doubtful = read([1, 0, 0, 0], [1, 0, 0, 0], 3)
    reading = [read([9, 0, 0, 0], [0, 0, 0, 9], 0), doubtful, read([0] * 4, [0] * 4, 9)]
    sure, unsure, none = PROBLEM.outputs(CONTROL, HEAD, reading)
    assert sure.answer == target(TEXT)
    assert unsure.answer == none.answer == {"spans": [], "none": 1.0}
    assert none.confidence > 0.9
    assert none.extra["no_answer"] == none.confidence
    assert sure.extra["span"] == TEXT
    assert unsure.extra["span"] == "one"
    for output in (sure, unsure, none):
        assert output.worth == pytest.approx(1 - output.confidence)
    columns = PROBLEM.columns(CONTROL, HEAD, [doubtful])
    assert columns.tolist() == [[pytest.approx(unsure.worth), pytest.approx(unsure.confidence)]]
    assert np.ptp(PROBLEM.profile(CONTROL, HEAD, columns)) == pytest.approx(1 - unsure.worth)
    assert PROBLEM.doubts(CONTROL, HEAD, columns) == [{"no_answer": pytest.approx(unsure.confidence, abs=1e-4)}]


@pytest.mark.parametrize(("none", "said"), [(0.3, True), (0.45, True), (0.47, False), (0.6, False)])
def test_no_answer_is_said_where_it_is_likelier_than_what_the_span_shares_with_the_answer(
    none: float, said: bool
) -> None:
    """That "one" or "one two  three" was meant speaks for "one two" too."""
    reading = read([9, 0, 0, 0], [8, 9, 8, 0], 0)
    chances = dict(zip(map(tuple, reading.spans.ends.tolist()), reading.spans.probs(empty=False)[1:], strict=True))  # type: ignore[union-attr]
    assert [chances[0, 7], chances[0, 3], chances[0, 14]] == pytest.approx([0.576, 0.212, 0.212], abs=1e-3)
    shared = 0.576 + 0.212 * 2 * 3 / (7 + 3) + 0.212 * 2 * 7 / (7 + 14)
    assert said == ((1 - none) * shared > none)
    null = np.array([0, np.log(none / (1 - none))], np.float32)
    (output,) = PROBLEM.outputs(CONTROL, LinearHead(HEAD.weight, HEAD.bias, extra={**EXTRA, "null": null}), [reading])
    assert output.answer == (target("one two") if said else {"spans": [], "none": 1.0})
    assert output.confidence == pytest.approx(0.576 * (1 - none) if said else none, abs=1e-3)


def test_where_there_must_be_an_answer_there_is_one() -> None:
    (output,) = PROBLEM.outputs(REQUIRED, HEAD, [read([0, 2, 0, 0], [0, 2, 0, 0], 9)])
    assert output.answer == target("two")
    assert output.extra["no_answer"] == 0
    silent = PROBLEM.outputs(
        REQUIRED, HEAD, [Read("", spans_of([(np.zeros((1, 3)), OFFSETS[:1])], 4)), Read(TEXT, None)]
    )
    assert [o.answer for o in silent] == [None, None]
    assert all(o.reason and o.worth == 1 for o in silent)


def test_a_higher_temperature_makes_answers_less_sure_and_changes_none() -> None:
    reading = [read([3, 0, 0, 0], [0, 0, 3, 0], 1)]
    (plain,) = PROBLEM.outputs(CONTROL, HEAD, reading)
    (flat,) = PROBLEM.outputs(CONTROL, LinearHead(HEAD.weight, HEAD.bias, 3.0, HEAD.extra), reading)
    assert flat.answer == plain.answer
    assert flat.confidence < plain.confidence


def test_the_temperature_is_that_of_the_held_out_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    sure = read([4, 0, 0, 0], [4, 0, 0, 0], 0)
    wrong, right = [(sure, target("four"))] * 40, [(sure, target("one"))] * 40
    for cases, colder in ((wrong, -1), (right, 1), ([], None)):
        monkeypatch.setattr(Question, "read", lambda *_, cases=cases: [reading for reading, _ in cases])
        found = PROBLEM.calibrated(CONTROL, HEAD, None, examples_of(cases))  # type: ignore[arg-type]
        ratio = found.temperature / typical_temperature(100)
        assert ratio == 1 if colder is None else ratio**colder < 0.8
        assert found.extra["longest"] == 16


def test_who_learned_from_more_is_less_too_sure() -> None:
    found = [typical_temperature(n) for n in (0, 45, 180, 450, 100_000)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 3
    assert found[-1] == 1
    assert found[1:4] == pytest.approx([2.57, 1.82, 1.44], abs=0.01)


@pytest.mark.parametrize("told", [True, False])
def test_whether_there_is_an_answer_is_as_sure_as_it_is_right(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seems_none, seems_one = (read([1, 0, 0, 0], [1, 0, 0, 0], null) for null in (9, -1))
    none, one = {"spans": [], "none": 1.0}, target("one")
    cases = [(seems_none, none if told or n % 2 else one) for n in range(100)]
    cases += [(seems_one, one if told or n % 2 else none) for n in range(100)]
    monkeypatch.setattr(Question, "read", lambda *args: [reading for reading, _ in cases[: len(args[-1])]])
    start = LinearHead(HEAD.weight, HEAD.bias, extra={**EXTRA, "null": np.array([0.1, 1.0], np.float32)})
    before, few, found = (
        PROBLEM.outputs(CONTROL, head, [seems_none, seems_one])
        for head in (start, *(PROBLEM.calibrated(CONTROL, start, None, e) for e in ([], examples_of(cases))))
    )
    assert [o.extra["no_answer"] for o in before] == [o.extra["no_answer"] for o in few]
    low, high = sorted(o.extra["no_answer"] for o in found)
    assert (low < 0.3 and high > 0.8) if told else (low > 0.4 and high < 0.65)


@pytest.mark.parametrize("modifiers", ["", "@whole-contexts", "@balanced", "@balanced@whole-contexts"])
def test_texts_come_one_after_another_whatever_is_added(modifiers: str) -> None:
    judge = Judge(Schema((CONTROL,)), {"answer": HEAD}, 4)
    assert parse(strategy_for(judge, "auto" + modifiers)).deal is one_after_another
    assert parse(strategy_for(judge, "margin")).deal is one_of_each


# --------------------------------------------------------------------------------------------------------------- scores
def test_any_acceptable_answer_is_right_and_halves_leave_both_right() -> None:
    both = target("two", "three four")
    assert PROBLEM.quality(CONTROL, says("two"), both) == PROBLEM.quality(CONTROL, says("three four"), both) == 1
    assert PROBLEM.quality(CONTROL, says("four"), both) == pytest.approx(2 / 3)
    assert PROBLEM.quality(CONTROL, says(None), both) == 0
    divided = target("two", none=0.5)
    assert PROBLEM.quality(CONTROL, says("two"), divided) == PROBLEM.quality(CONTROL, says(None), divided) == 1
    assert PROBLEM.quality(CONTROL, says("two"), target("two", none=0.75)) == 0
    assert PROBLEM.quality(CONTROL, Output(reason="broken"), both) == 0
    assert PROBLEM.quality(CONTROL, Output(reason="broken"), target(none=1.0)) == 0


def test_scores_tell_answers_and_tasks_without_one_apart() -> None:
    outputs = [says("two", 0.9), says("four", 0.2), says(None, 0.8), says("one", 0.1)]
    targets = [target("two"), target("three four"), target(none=1.0), target(none=1.0)]
    scores = PROBLEM.scores(CONTROL, outputs, targets)
    assert next(iter(scores)) == "f1"
    assert scores["f1"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert scores["exact_match"] == 0.5
    assert scores["answerable"] == 0.75
    assert scores["has_answer_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["no_answer_accuracy"] == 0.5
    assert scores["ece"] == pytest.approx((0.1 + 0.2 + 0.2 + 0.1) / 4)
    assert scores["nll"] == pytest.approx(-np.log([0.9, 0.8, 0.8, 0.9]).mean())
    assert scores["span_f1"] == pytest.approx((1 + 2 / 3) / 2)
    silent = [says(None, span="two"), says(None, span="one"), *outputs[2:]]
    forced = PROBLEM.scores(CONTROL, silent, targets)
    assert (forced["has_answer_f1"], forced["span_f1"]) == (0, 0.5)
    assert set(PROBLEM.scores(CONTROL, outputs[:1], targets[:1])) == {
        "f1", "exact_match", "answerable", "has_answer_f1", "span_f1", "ece", "nll"
    }  # fmt: skip
    report = PROBLEM.report(CONTROL, outputs, targets, seed=0)
    assert {name: interval.value for name, interval in report.items()} == {"exact_match": 0.5, "answerable": 0.75}


def test_the_majority_settles_and_a_kept_suggestion_is_one_that_stands() -> None:
    assert PROBLEM.sure(target("two", "one", none=0.4)).answer == target("two")
    assert PROBLEM.sure(target("two", none=0.6)).answer == {"spans": [], "none": 1.0}
    assert PROBLEM.kept(target("two"), target("one", "two"))
    assert not PROBLEM.kept(target("two"), target("one"))
    assert not PROBLEM.kept(target("two"), target(none=1.0))
    assert not PROBLEM.kept(target(none=1.0), target("two"))
    assert PROBLEM.kept(target(none=1.0), target(none=1.0))
    assert PROBLEM.category(target("two", "one")) == ((4, 7),)
    assert PROBLEM.category(target("two", none=0.6)) == PROBLEM.category(target(none=1.0)) == ()
    whole = json.loads(json.dumps(PROBLEM.target_json(target("two", none=0.25))))
    assert PROBLEM.target_from_json(whole) == target("two", none=0.25)


def test_an_answer_must_have_been_marked_before_anything_is_learned() -> None:
    assert not PROBLEM.can_fit(CONTROL, [])
    assert not PROBLEM.can_fit(CONTROL, [target(none=1.0)] * 9)
    assert PROBLEM.can_fit(CONTROL, [target(none=1.0), target("two")])


# ------------------------------------------------------------------------------------------------------------- training
def lesson(wanted: dict[str, Any] | None, found: list[Window], longest: int = 16):
    pulls = [pull_of(window) for window in found]
    return lesson_of(found, pulls, places_of(found, wanted), wanted, longest, np.random.default_rng(0))


def pull_of(window: Window) -> np.ndarray:
    """What the tokens of a window have ahead: less, the later they are in the text."""
    return np.where(window.inside, -0.05 * window.offsets[:, 0], 0.0)


def pulled(logits: np.ndarray, window: Window) -> np.ndarray:
    found = logits.copy()
    found[:, 0] += pull_of(window)
    return found


@given(st.integers(0, 99), st.sampled_from([0.0, 0.25, 1.0]), st.booleans())
def test_the_loss_is_minus_the_log_of_the_probability_that_answers_are_drawn_from(seed, none, empty) -> None:
    rng = np.random.default_rng(seed)
    wanted = target(*(["two", "two  three"] if none < 1 else []), none=none)
    if not empty:
        wanted["none"] = 0.0
        wanted["spans"] = wanted["spans"] or target("four")["spans"]
    pieces = windows(1, 2)
    logits = rng.normal(size=(4, 5, 3)).astype(np.float32)  # of two such examples, with padding
    loss = answer_loss([lesson(wanted, pieces)] * 2, 16, empty=empty)(torch.from_numpy(logits), np.array([0, 1]))
    for number in range(2):
        own = logits[2 * number : 2 * number + 2]
        spans = spans_of([(pulled(x[:4], w), w.offsets) for x, w in zip(own, pieces, strict=True)], 16)
        probs = spans.probs(1.0, empty=empty)
        places = [span[:2] for span in wanted["spans"]]
        right = sum(p for p, ends in zip(probs[1:], spans.ends.tolist(), strict=True) if ends in places)
        expected = -(wanted["none"] * np.log(probs[0] or 1)) - (1 - wanted["none"]) * np.log(right or 1)
        assert loss[number].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("none", [0.3, 0.8])
def test_training_starts_from_the_share_without_an_answer_and_no_preference(none: float) -> None:
    head = start_head([lesson(target("two"), windows(1, 2)), lesson(target("two"), [])], 1, 2.5, [none, none], 4)
    logits = head.logits(np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    probs = spans_of([(pulled(logits, w), w.offsets) for w in windows(1, 2)], 1).probs(1.0, empty=True)
    assert probs[0] == pytest.approx((2 * none + 0.5) / 3, abs=1e-5), "as if half an answer were known of each kind"
    assert head.extra["sharpness"].tolist() == [2.5]
    assert start_head([], 16, 1.0, [1.0] * 9, 4).bias[2] == pytest.approx(np.log(19))


def test_span_logits_of_torch_and_numpy_agree_for_windows_of_different_lengths() -> None:
    pieces = [Window([7] * 5, OFFSETS), Window([7] * 3, OFFSETS[:3])]
    logits = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    both = torch_span_logits(torch.from_numpy(logits), pieces, [pull_of(piece) for piece in pieces], 4).numpy()
    for number, piece in enumerate(pieces):
        table = span_logits(pulled(logits[number, : len(piece.ids)], piece), piece.inside, 4)
        padded = np.full((5, 4), -1e9)
        padded[: len(table)] = table
        assert np.where(both[number] < -1e3, -1e9, both[number]) == pytest.approx(padded, rel=1e-5)


def test_of_a_long_text_the_windows_with_the_answer_are_trained_on() -> None:
    texts = " ".join(f"w{n}" for n in range(30))
    places = np.array([[texts.index(f"w{n} "), texts.index(f"w{n} ") + 2] for n in range(20)], np.int64)
    pieces = [Window([7] * 4, places[s : s + 4]) for s in range(0, 20, 4)]
    for number in range(5):
        start = int(places[4 * number + 1, 0])
        taught = lesson({"spans": [[start, start + 2, "w"]], "none": 0.0}, pieces)
        assert len(taught.windows) == 3
        ((at, first, more),) = taught.places
        assert taught.windows[at].offsets[first, 0] == start
        assert more == 0
    empty = lesson(target(none=1.0), pieces)
    assert (len(empty.windows), empty.places, empty.none) == (3, [], 1.0)


@pytest.mark.parametrize(
    "wanted", [None, {"spans": [[0, 19, TEXT]], "none": 0.0}, {"spans": [[7, 8, " "]], "none": 0.0}]
)
def test_what_cannot_be_marked_teaches_nothing(wanted: dict[str, Any] | None) -> None:
    assert lesson(wanted, windows(1, 2), longest=2).windows == []
