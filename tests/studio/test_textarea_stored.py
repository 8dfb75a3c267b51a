"""What a real Label Studio stores of texts, and what comes back of it."""

import pytest

from backend.problems.schema import Item, Output
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction
from backend.studio.schema import parse_schema
from tests.studio.test_textarea import SPECIAL, config, region

pytestmark = pytest.mark.studio

ITEM = Item.of("a text")


def test_a_suggestion_is_stored_both_ways_and_submitted_unchanged_means_the_same(admin: Studio) -> None:
    text = config("textarea").replace('maxSubmissions="1"', "")
    schema = parse_schema(text)
    project = int(admin.create_project("texts", text)["id"])
    assert parse_schema(str(admin.project(project)["label_config"])) == schema  # the prompt is kept
    bulk, single, none = admin.import_tasks(project, [{"data": {"text": "a text"}}] * 3)
    body = encode_prediction(schema, {"answer": Output(answer=tuple(SPECIAL), confidence=0.4)}, ITEM, 0.3, "v1")
    assert admin.push_predictions(project, [{"task": bulk, **body}]) == 1
    admin.create_prediction(single, body["result"], body["score"], "v1")
    stored = {p["task"]: p["result"] for p in admin._predictions(project=project)}
    assert sorted(stored) == [bulk, single]
    for task in stored:
        admin.annotate(task, stored[task])
    admin.annotate(none, [])
    read = {t["id"]: decode(schema, t["annotations"], ITEM) for t in admin.labelled(project)}
    assert read == {bulk: {"answer": tuple(SPECIAL)}, single: {"answer": tuple(SPECIAL)}, none: None}


def test_a_text_that_is_ready_later_is_shown_at_the_same_place_of_the_queue(admin: Studio) -> None:
    text = config("textarea")
    schema = parse_schema(text)
    project = int(admin.create_project("later", text)["id"])
    first, second = admin.import_tasks(project, [{"data": {"text": "a text"}}] * 2)
    blank = encode_prediction(schema, {}, ITEM, 0.25, "v1")
    admin.push_predictions(project, [{"task": second, **blank}, {"task": first, **blank, "score": 0.3}])
    ids = {p["task"]: p["id"] for p in admin._predictions(project=project)}
    body = encode_prediction(schema, {"answer": Output(answer=("später",), confidence=0.4)}, ITEM, 0.0, "v1")
    admin.patch_result(ids[second], body["result"])
    stored = {p["task"]: p for p in admin._predictions(project=project)}
    assert stored[second]["result"][0]["value"] == {"text": ["später"]}
    assert stored[second]["score"] == 0.25
    assert stored[second]["model_version"] == "v1"
    assert stored[first]["result"] == []


def test_a_text_alone_is_stored_and_read_as_a_list_of_one(admin: Studio) -> None:
    text = config("textarea")
    project = int(admin.create_project("one text", text)["id"])
    (task,) = admin.import_tasks(project, [{"data": {"text": "a text"}}])
    admin.annotate(task, [region({"text": "alone"})])
    (answered,) = admin.labelled(project)
    assert decode(parse_schema(text), answered["annotations"], ITEM) == {"answer": ("alone",)}


def test_a_prompt_may_name_fields_that_are_shown_elsewhere(admin: Studio) -> None:
    text = config("textarea-context")
    project = int(admin.create_project("context", text)["id"])
    data = {"question": "why?", "context": "so", "draft": "because"}
    admin.import_tasks(project, [{"data": data}])
    assert parse_schema(str(admin.project(project)["label_config"])).controls[0].fields == ("question", "context")
