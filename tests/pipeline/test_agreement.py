"""Several annotators of a task: how far they agree, of which control, who, and where they do not."""

import pytest

from backend.cli import _quality_lines
from backend.pipeline import mirror
from backend.pipeline.agreement import label_quality
from backend.pipeline.status import status
from tests.fakes import KEY, LABELS


@pytest.fixture
def quality(parts, studio):
    """Give each task the labels of the annotators in order, None for a skip, and look."""

    def looked(*tasks):
        for task, answers in zip(sorted(studio.tasks), tasks, strict=False):
            for annotator, label in enumerate(answers, 1):
                studio.annotate(task, label, annotator)
        mirror.reconcile(parts, KEY)
        project = parts.registry.must_project(KEY)
        assert status(parts, project)["label_quality"] == label_quality(parts, project)
        return label_quality(parts, project)

    return looked


def test_one_annotator_agrees_with_nobody(quality):
    assert quality([LABELS[0]], [LABELS[1], None]) == {"tasks": 0, "controls": {}, "annotators": {}, "disputed": []}


def test_pairs_are_counted_by_control_and_by_person(quality, studio):
    a, b = LABELS[:2]
    found = quality([a, a], [a, b], [b, b, a], [a, None, a])
    _, second, third, *_ = sorted(studio.tasks)
    assert found["tasks"] == 4
    assert found["controls"] == {"topic": {"agreement": 0.5, "pairs": 6}}
    assert found["annotators"] == {
        "1": {"agreement": 0.6, "pairs": 5},
        "2": {"agreement": 0.5, "pairs": 4},
        "3": {"agreement": round(1 / 3, 4), "pairs": 3},
    }
    assert found["disputed"] == [third, second]
    assert _quality_lines(found) == [
        "  agreement  topic: 50% of 6 pairs of answers to one task",
        f"             annotators differ on tasks {third}, {second}",
    ]


def test_an_answer_that_was_changed_counts_as_it_is_now(quality, studio):
    (task, *_) = sorted(studio.tasks)
    studio.annotate(task, LABELS[1], 1, "2026-11-24T00:00:00Z")
    assert quality([LABELS[0], LABELS[0]])["controls"]["topic"] == {"agreement": 1.0, "pairs": 1}


def test_somebody_whose_account_was_deleted_is_still_a_person(quality, studio):
    first = min(studio.tasks)
    studio.annotate(first, LABELS[0], None)
    found = quality([LABELS[1]])
    assert (found["tasks"], found["disputed"]) == (1, [first])
    assert found["annotators"] == {"1": {"agreement": 0.0, "pairs": 1}, "deleted": {"agreement": 0.0, "pairs": 1}}


QUESTION = """<View><Text name="text" value="$text"/>
<Labels name="who" toName="text" question="$q"><Label value="Answer"/></Labels></View>"""
TEXTAREA = '<View><Text name="text" value="$text"/><TextArea name="note" toName="text"/></View>'
ANN, BOB = (
    {"from_name": "who", "to_name": "text", "type": "labels", "value": {"start": s, "end": e, "labels": ["Answer"]}}
    for s, e in ((0, 3), (8, 11))
)
SHORT, LONG = (
    {"from_name": "note", "to_name": "text", "type": "textarea", "value": {"text": [text]}}
    for text in ("a good text", "a good text, a bad one, an ugly one and many others, all about a man in a house")
)


@pytest.mark.parametrize(
    ("config", "one", "other"),
    [
        pytest.param(QUESTION, [ANN], [ANN, BOB], id="question"),
        pytest.param(TEXTAREA, [SHORT], [LONG], id="textarea"),
    ],
)
def test_whether_two_people_agree_does_not_depend_on_who_was_first(parts, studio, config, one, other):
    studio.config = config
    studio.tasks = {task: {"text": "Ann met Bob", "q": "Who met?"} for task in (1, 2, 3)}
    for task, answers in enumerate([(one, other), (other, one), (other, other)], 1):
        for annotator, result in enumerate(answers, 1):
            studio.annotate(task, "", annotator, f"2026-11-25T00:00:0{annotator}Z")["result"] = result
    mirror.reconcile(parts, KEY)
    found = label_quality(parts, parts.registry.must_project(KEY))
    assert found["disputed"] == [2, 1]
    (rate,) = found["controls"].values()
    assert rate == {"agreement": 0.3333, "pairs": 3}
