"""A suggestion is shown where it helps, and what annotators did with it is counted."""

from pathlib import Path

import numpy as np
import pytest

from backend.cli import _status_text
from backend.pipeline import mirror, publish, retrain
from backend.pipeline.encode import encode_pool
from backend.pipeline.predict import predict
from backend.pipeline.status import status
from backend.pipeline.suggestions import Shown, report, show_above, shown_to_annotators
from backend.problems.schema import Output
from backend.registry.records import Annotation
from backend.studio.codec import encode_prediction, read_item
from backend.studio.schema import hidden_at_times, parse_schema
from tests.fakes import CONFIG, KEY, LABELS, text_of


def published(parts, above):
    """The project with its cold version published."""
    parts.settings = parts.settings.model_copy(update={"suggest_above": above})
    mirror.reconcile(parts, KEY)
    version = retrain.cold_start(parts, parts.registry.must_project(KEY)).name
    encode_pool(parts, KEY, version, lambda *_: None)
    publish.plan(parts, KEY, version, "v0")
    publish.push(parts, KEY, version, "v0")
    publish.switch(parts, KEY, version, "v0", "test")
    return parts.registry.must_project(KEY)


def suggested(row):
    return row["result"][0]["value"]["choices"][0] if row["result"] else None


def answer(parts, studio, task, label):
    given = studio.annotate(task, label)
    parts.registry.add_event(KEY, "ANNOTATION_CREATED", {"annotations": [given], "tasks": []})
    mirror.apply_events(parts, KEY)


@pytest.mark.parametrize("above", [0.0, 0.5, 1.0])
def test_a_suggestion_below_the_threshold_is_blank_and_keeps_its_place(parts, studio, above):
    project = published(parts, above)
    assert show_above(parts, project, project.asks()) == {"topic": pytest.approx(above)}
    shown = [row for row in studio.rows.values() if row["result"]]
    assert all(row["result"][0]["score"] > above for row in shown)
    assert len(shown) == len(studio.rows) if above == 0 else len(shown) < len(studio.rows)
    assert len(studio.served()) == parts.settings.window


def test_what_is_predicted_on_request_is_blank_too_unless_all_is_asked_for(parts, studio):
    project = published(parts, 1.0)
    tasks = [(number, {"text": text_of(number)[0]}) for number in (1, 2)]
    assert not any(p["result"] for p in predict(parts, project, project.asks(), tasks))
    assert all(p["result"] for p in predict(parts, project, project.asks(), tasks, above=0.0))


def test_kept_changed_and_blank_are_counted_by_version(parts, studio):
    project = published(parts, 0.0)
    first, second, third = list(studio.rows.values())[:3]
    third["result"] = []
    answer(parts, studio, first["task"], suggested(first))
    answer(parts, studio, second["task"], next(x for x in LABELS if x != suggested(second)))
    answer(parts, studio, third["task"], "food")
    answer(parts, studio, list(studio.rows.values())[3]["task"], None)  # a skip says nothing
    said = status(parts, project)["suggestions"]
    counts = {"kept": 1, "changed": 1, "blank": 1, "corrections_per_task": 0.3333}
    assert {k: said[k] for k in counts} == counts
    assert said["versions"] == [{"name": "v0", **counts}]


def test_a_suggestion_of_a_label_that_is_no_more_is_neither_changed_nor_blank(parts, studio):
    shown = {"model_version": "v1", "result": []}
    said = {"from_name": "topic", "to_name": "text", "type": "choices"}
    given = [{**said, "value": {"choices": ["sport"]}}]
    found = []
    for number, label in enumerate(("sport", "food", "cooking", None), start=1):
        result = [] if label is None else [{**said, "value": {"choices": [label]}}]
        found.append(Annotation(number, number, 1, given, False, "2026", {**shown, "result": result}))
    schema = parse_schema(CONFIG)
    data = {n: {"text": "x"} for n in range(1, 5)}
    assert [s.kept for s in shown_to_annotators(schema, found, data)] == [True, False, None]


@pytest.mark.parametrize(("right", "rises"), [(True, False), (False, True)])
def test_corrections_raise_the_threshold_and_kept_suggestions_lower_it(parts, studio, right, rises):
    project = published(parts, 0.0)
    rows = list(studio.rows.values())
    parts.settings = parts.settings.model_copy(update={"suggest_above": 0.5})
    for row in rows:
        row["result"][0]["score"] = 0.5
        said = suggested(row)
        answer(parts, studio, row["task"], said if right else next(x for x in LABELS if x != said))
    found = show_above(parts, project, project.asks(), fresh=True)
    assert (found["topic"] > 0.5) == rises
    assert show_above(parts, project, project.asks()) == found


def test_corrections_of_one_control_leave_the_suggestions_of_another_shown(parts, studio):
    """The confidence of a number is that it is near, of a choice that it is right."""
    studio.config = CONFIG.replace("</View>", '<Number name="price" toName="text"/></View>')
    project = published(parts, 0.5)
    for task in sorted(studio.tasks):
        given = studio.annotate(task, "food")
        price = {"from_name": "price", "to_name": "text", "type": "number", "score": 0.9, "value": {"number": task}}
        shown = [{**given["result"][0], "score": 0.9}, price]
        given["prediction"] = {"id": task, "model_version": "v0", "result": shown}
        given["result"] = [*given["result"], {**price, "value": {"number": task + 1}}]
    mirror.reconcile(parts, KEY)
    found = show_above(parts, project, project.asks(), fresh=True)
    assert found == {"topic": 0.5, "price": pytest.approx(0.95, abs=0.05)}
    said = status(parts, project)
    assert said["suggestions"]["show_above"] == found
    assert f"shown where surer than 50% (topic), {found['price']:.0%} (price)" in _status_text(said)
    outputs = {"topic": Output(probs=np.array([0.6, 0.2, 0.2])), "price": Output(answer=4.0, confidence=0.6)}
    item = read_item(project.asks(), studio.tasks[1])
    for above, names in ((found, ["topic"]), (0.5, ["topic", "price"]), (0.7, [])):
        body = encode_prediction(project.asks(), outputs, item, 0.5, "v1", above=above)
        assert [region["from_name"] for region in body["result"]] == names


def test_another_label_config_than_the_project_has_is_suggested_as_without_answers(parts, studio):
    project = published(parts, 0.4)
    asked = parse_schema(CONFIG.replace('name="topic"', 'name="mood"'))
    assert show_above(parts, project, asked) == show_above(parts, None, asked) == {"mood": 0.4}


def test_without_an_answer_there_is_nothing_to_count(parts, studio):
    project = published(parts, 0.5)
    said = status(parts, project)["suggestions"]
    assert (said["kept"], said["changed"], said["blank"], said["corrections_per_task"]) == (0, 0, 0, None)
    assert said["show_above"] == {"topic": 0.5}


def test_the_counts_follow_every_change_although_answers_are_read_once(parts, studio):
    project = published(parts, 0.0)

    def count():
        said, kept = report(parts, project), parts.shown
        parts.shown = {}
        assert report(parts, project) == said, "the same as read anew"
        parts.shown = kept
        return said["kept"], said["changed"], said["blank"]

    tasks = [row["task"] for row in studio.rows.values()][:3]
    labels = {row["task"]: suggested(row) for row in studio.rows.values()}
    for task in tasks:
        answer(parts, studio, task, labels[task])
    assert count() == (3, 0, 0)
    number = next(n for n, a in studio.answers.items() if a["task"] == tasks[0])
    other = next(label for label in LABELS if label != labels[tasks[0]])
    studio.answers[number]["result"][0]["value"]["choices"] = [other]
    changed = {**studio.answers[number], "updated_at": "2026-11-25T01:00:00Z"}
    parts.registry.add_event(KEY, "ANNOTATION_UPDATED", {"annotations": [changed], "tasks": []})
    mirror.apply_events(parts, KEY)
    assert count() == (2, 1, 0)
    parts.registry.delete_annotations(KEY, [number])
    assert count() == (2, 0, 0)


def test_of_spans_each_one_is_kept_or_changed(parts):
    asked = parse_schema((Path(__file__).parents[1] / "configs" / "labels.xml").read_text())
    data = {"text": "Ann met Bob in Rome"}
    item = read_item(asked, data)
    said = Output(answer=[(0, 3, 0, 1.0), (8, 11, 0, 1.0), (15, 19, 0, 1.0)], extra={"scores": [0.9, 0.8, 0.6]})
    shown = encode_prediction(asked, {"entity": said}, item, 0.5, "v1", above=0.7)
    assert [region["value"]["text"] for region in shown["result"]] == ["Ann", "Bob"]
    given = [shown["result"][0], {**shown["result"][1], "value": {"start": 8, "end": 11, "labels": ["place"]}}]
    annotation = mirror.annotation_of({"id": 1, "result": given, "prediction": shown}, 1)
    assert shown_to_annotators(asked, [annotation], {1: data}) == [
        Shown("v1", False, (("entity", 0.9, True), ("entity", 0.8, False)))
    ]


SEVERAL = """<View><Text name="text" value="$text"/>
<Choices name="topic" toName="text"><Choice value="sport"/><Choice value="food"/></Choices>{}</View>"""
MARKED = SEVERAL.format('<Labels name="entity" toName="text"><Label value="person"/></Labels>')


def several(*suggested, config=MARKED, kept=()):
    """What is told of a task with these suggestions of which the annotator left those at the places ``kept``."""
    asked, data = parse_schema(config), {"text": "Ann met Bob"}
    shown = {"model_version": "v1", "result": list(suggested)}
    given = [suggested[at] for at in kept]
    annotation = mirror.annotation_of({"id": 1, "result": given, "prediction": shown}, 1)
    return shown_to_annotators(asked, [annotation], {1: data}, hidden_at_times(config))


def chosen(label, control="topic", score=0.9):
    value = {"choices": [label]}
    return {"from_name": control, "to_name": "text", "type": "choices", "value": value, "score": score}


def marked(start, end, score):
    value = {"start": start, "end": end, "labels": ["person"]}
    return {"from_name": "entity", "to_name": "text", "type": "labels", "value": value, "score": score}


def test_what_was_shown_and_deleted_was_changed_although_another_control_is_answered():
    suggested = chosen("food"), marked(0, 3, 0.8), marked(4, 7, 0.7)
    for left in ([0, 1], [0], []):
        of_each = (("topic", 0.9, 0 in left), ("entity", 0.8, 1 in left), ("entity", 0.7, False))
        assert several(*suggested, kept=left) == [Shown("v1", False, of_each)]


def test_what_was_not_shown_cannot_be_deleted():
    assert several(chosen("food"), kept=[0]) == [Shown("v1", True, (("topic", 0.9, True),))]
    assert several() == []


def test_what_was_deleted_and_is_asked_for_no_more_was_not_changed():
    assert several(chosen("food"), chosen("cooking", "mood"), kept=[0]) == [Shown("v1", True, (("topic", 0.9, True),))]
    assert several(chosen("cooking")) == []


def test_what_an_annotator_may_not_have_seen_was_passed_over():
    labels = '<Choice value="{}"/><Choice value="other"/>'
    more = f'<View visiblewhen="choice-selected"><Choices name="{{}}" toName="text">{labels}</Choices></View>'
    config = SEVERAL.format(more.format("game", "tennis") + more.format("meal", "lunch"))
    suggested = chosen("food"), chosen("tennis", "game"), chosen("lunch", "meal", 0.8)
    of_each = (("topic", 0.9, True), ("meal", 0.8, True))
    assert several(*suggested, config=config, kept=[0, 2]) == [Shown("v1", True, of_each)]
    assert several(*suggested[:2], config=config.replace("visible", "in"), kept=[0])[0].kept is False
