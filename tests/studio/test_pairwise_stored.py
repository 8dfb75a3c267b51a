"""What a real Label Studio stores of a comparison, and what comes back of it."""

import numpy as np
import pytest

from backend.errors import StudioError
from backend.problems.schema import Output
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction
from tests.studio.test_pairwise import CONFIG, DATA, ITEM, SCHEMA, result

pytestmark = pytest.mark.studio


def test_a_suggestion_is_stored_both_ways_and_submitted_unchanged_means_the_same(admin: Studio) -> None:
    project = int(admin.create_project("pairs", CONFIG)["id"])
    bulk, single, clicked, none = admin.import_tasks(project, [{"data": DATA}] * 4)
    body = encode_prediction(SCHEMA, {"better": Output(np.array([0.2, 0.8], np.float32))}, ITEM, 0.3, "v1")
    assert admin.push_predictions(project, [{"task": bulk, **body}]) == 1
    admin.create_prediction(single, body["result"], body["score"], "v1")
    stored = {p["task"]: p["result"] for p in admin._predictions(project=project)}
    assert sorted(stored) == [bulk, single]
    for task in stored:
        admin.annotate(task, stored[task])
    admin.annotate(clicked, result("left"))
    admin.annotate(none, [])
    given = {t["id"]: decode(SCHEMA, t["annotations"], ITEM)["better"].tolist() for t in admin.labelled(project)}
    assert given == {bulk: [0, 1], single: [0, 1], clicked: [1, 0], none: [0.5, 0.5]}


def test_as_a_click_stores_it_a_prediction_would_be_dropped(admin: Studio) -> None:
    project = int(admin.create_project("pairs", CONFIG)["id"])
    (task,) = admin.import_tasks(project, [{"data": DATA}])
    body = {"task": task, "result": result("left", to_name="better"), "score": 0.5, "model_version": "v1"}
    with pytest.raises(StudioError, match="dropped 1"):
        admin.push_predictions(project, [body])
