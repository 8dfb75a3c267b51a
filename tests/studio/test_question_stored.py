"""What a real Label Studio stores of answers to questions, and what comes back of it."""

from typing import Any

import pytest

from backend.problems.schema import Output
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction
from backend.studio.schema import parse_schema
from tests.studio.test_question import NAMES, TEXT, config, control, item, place

pytestmark = pytest.mark.studio


def read_back(admin: Studio, project: int, name: str) -> dict[int, Any]:
    """Targets of the labelled tasks by id."""
    schema = parse_schema(config(name))
    found = {t["id"]: decode(schema, t["annotations"], item()) for t in admin.labelled(project)}
    return {task: None if decoded is None else decoded["answer"] for task, decoded in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_stored_both_ways_and_submitted_unchanged_means_the_same(admin: Studio, name: str) -> None:
    project = int(admin.create_project(name, config(name))["id"])
    assert parse_schema(admin.project(project)["label_config"]).hash == parse_schema(config(name)).hash
    bulk, single, none = admin.import_tasks(project, [{"data": {"context": TEXT, "question": "Where?"}}] * 3)
    start, end = place("\u0627\u0644\u0642\u0627\u0647\u0631\u0629")
    answer = {"spans": [[start, end, TEXT[start:end]]], "none": 0.0}
    said = Output(answer=answer, confidence=0.7)
    body = encode_prediction(parse_schema(config(name)), {"answer": said}, item(), 0.3, "v1")
    assert admin.push_predictions(project, [{"task": bulk, **body}]) == 1
    admin.create_prediction(single, body["result"], body["score"], "v1")
    stored = {p["task"]: p["result"] for p in admin._predictions(project=project)}
    assert sorted(stored) == [bulk, single]
    for task in stored:
        admin.annotate(task, stored[task])
    admin.annotate(none, [])
    empty = {"spans": [], "none": 1.0} if control(name).options.get("empty") else None
    assert read_back(admin, project, name) == {bulk: answer, single: answer, none: empty}
