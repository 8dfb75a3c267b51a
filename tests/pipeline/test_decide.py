"""What is labelled next follows from arrays alone; positions are rows of the field."""

from dataclasses import replace

import numpy as np
import pytest

from backend.active.head import LinearHead
from backend.pipeline.decide import Choice, Field, Policy, deal_audit, decide, fresh_judge
from backend.problems.judge import Judge
from backend.problems.schema import Control, Schema

CONTROL = Control("topic", "choices", "text", "text", ("a", "b", "c"), ("a", "b", "c"))
EYE = np.eye(3, dtype=np.float32)


def field_of(n=60, labelled=12, seed=0, audit_share=0.2):
    rng = np.random.default_rng(seed)
    classes = rng.integers(3, size=n)
    features = (3 * np.eye(3, 8)[classes] + rng.standard_normal((n, 8))).astype(np.float32)
    targets = {at: {"topic": EYE[classes[at]]} for at in range(labelled)}
    open_ = np.ones(n, bool)
    open_[:labelled] = False
    texts = [f"word{at % 7} word{at}" for at in range(n)]
    return Field(features, open_, rng.random(n) < audit_share, rng.random(n), targets, texts=texts)


def judge_of(head):
    return Judge(Schema((CONTROL,)), {"topic": head}, 8)


def fitted(field):
    rng = np.random.default_rng(1)
    return fresh_judge(judge_of(LinearHead(rng.random((3, 8)).astype("f4"), np.zeros(3, "f4"))), field, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_audit_tasks_are_dealt_in_evenly_whatever_was_labelled_before(share):
    chosen = [Choice(n, {}) for n in range(100)]
    audits = [Choice(1000 + n, {"measure": "audit"}) for n in range(100)]
    mixed = deal_audit(chosen, audits, share, labelled=37, labelled_audit=round(37 * share))
    counts = np.cumsum([c.reason.get("measure") == "audit" for c in mixed]) + round(37 * share)
    for at in range(100):
        assert abs(counts[at] - share * (37 + at + 1)) <= 1.5
    assert len(mixed) == 200
    assert [c.position for c in mixed if c.position < 1000] == list(range(100))


@pytest.mark.parametrize("strategy", ["auto", "random", "margin", "bald", "diverse-jaccard", "badge@balanced"])
def test_only_open_tasks_come_each_once_and_audit_tasks_in_their_own_order(strategy):
    field = field_of()
    choices = decide(fitted(field), field, 100, Policy(strategy, 0.2, 0))
    positions = [c.position for c in choices]
    assert sorted(positions) == np.flatnonzero(field.open).tolist()
    audits = [p for p in positions if field.audit[p]]
    assert audits == field.audits().tolist()
    assert {c.position for c in choices if c.reason["measure"] == "audit"} == set(audits)


def test_a_longer_queue_has_the_same_head():
    field = field_of()
    judge, policy = fitted(field), Policy("auto", 0.2, 0)
    long = [c.position for c in decide(judge, field, 30, policy)]
    assert [c.position for c in decide(judge, field, 7, policy)] == long[:7]


def test_the_fresh_head_learns_from_what_may_be_trained_on_only():
    field = field_of()
    given = fitted(field)
    assert len(field.held_out())
    flipped = {at: {"topic": EYE[2 - t["topic"].argmax()]} if field.audit[at] else t for at, t in field.targets.items()}
    other = fresh_judge(given, Field(field.rows, field.open, field.audit, field.audit_rank, flipped), seed=0)
    np.testing.assert_array_equal(other.heads["topic"].weight, given.heads["topic"].weight)


def test_with_too_few_labels_the_version_speaks():
    field = field_of(labelled=1)
    own = judge_of(LinearHead(np.zeros((3, 8), "f4"), np.zeros(3, "f4")))
    assert fresh_judge(own, field, seed=0) is own


@pytest.mark.parametrize("strategy", ["auto", "bald", "margin:0.5+mc-entropy", "badge", "margin"])
def test_several_controls_are_sorted_by_one_priority_whatever_the_strategy(strategy):
    field = field_of(audit_share=0.0)
    both = Schema((CONTROL, replace(CONTROL, name="mood")))
    given = {at: {**t, "mood": t["topic"]} if at % 2 else t for at, t in field.targets.items()}
    field = replace(field, targets=given)
    zero = LinearHead(np.zeros((3, 8), "f4"), np.zeros(3, "f4"))
    judge = fresh_judge(Judge(both, {"topic": zero, "mood": zero}, 8), field, seed=0)
    assert not np.array_equal(judge.heads["mood"].weight, judge.heads["topic"].weight)  # half of the labels
    choices = decide(judge, field, 48, Policy(strategy, 0.0, 0))
    assert sorted(c.position for c in choices) == np.flatnonzero(field.open).tolist()
    assert all(set(c.reason["controls"]) == {"topic", "mood"} for c in choices)
    if strategy == "margin":
        values = [c.reason["value"] for c in choices]
        assert values == sorted(values, reverse=True)


def test_arrays_of_different_lengths_are_refused():
    field = field_of()
    with pytest.raises(ValueError, match="audit"):
        Field(field.rows, field.open, field.audit[1:], field.audit_rank, {})
