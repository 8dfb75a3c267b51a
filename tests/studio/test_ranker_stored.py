"""What a real Label Studio stores of an order, and what comes back of it."""

import pytest

from backend.errors import StudioError
from backend.problems.schema import Output
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction
from tests.studio.test_ranker import CONFIG, DATA, ITEM, SCHEMA, result

pytestmark = pytest.mark.studio


def test_a_suggestion_is_stored_both_ways_and_submitted_unchanged_means_the_same(admin: Studio) -> None:
    project = int(admin.create_project("orders", CONFIG)["id"])
    bulk, single, none = admin.import_tasks(project, [{"data": DATA}] * 3)
    said = Output(answer=((2, 0, 1),), confidence=0.4)
    body = encode_prediction(SCHEMA, {"order": said}, ITEM, 0.3, "v1")
    assert admin.push_predictions(project, [{"task": bulk, **body}]) == 1
    admin.create_prediction(single, body["result"], body["score"], "v1")
    stored = {p["task"]: p["result"] for p in admin._predictions(project=project)}
    assert sorted(stored) == [bulk, single]
    for task in stored:
        admin.annotate(task, stored[task])
    admin.annotate(none, [])
    given = {t["id"]: decode(SCHEMA, t["annotations"], ITEM) for t in admin.labelled(project)}
    assert given == {bulk: {"order": ((2, 0, 1),)}, single: {"order": ((2, 0, 1),)}, none: None}


def test_an_order_without_the_name_of_the_control_would_not_be_stored(admin: Studio) -> None:
    project = int(admin.create_project("orders", CONFIG)["id"])
    (task,) = admin.import_tasks(project, [{"data": DATA}])
    body = {"task": task, "result": result(["7", "网", "blog"]), "score": 0.5, "model_version": "v1"}
    with pytest.raises(StudioError, match="dropped 1"):
        admin.push_predictions(project, [body])
