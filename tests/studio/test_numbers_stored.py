"""What a real Label Studio stores of stars and numbers, and what comes back of it."""

import numpy as np
import pytest

from backend.errors import StudioError
from backend.problems.schema import Item
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction
from backend.studio.schema import parse_schema
from tests.studio.test_numbers import TAGS, answer, config, result

pytestmark = pytest.mark.studio

ITEM = Item.of("a text")


@pytest.mark.parametrize(("name", "value"), [("rating", 3), ("number", 2.75), ("number", 4), ("number-free", -3.5)])
def test_a_suggestion_is_stored_both_ways_and_submitted_unchanged_means_the_same(
    admin: Studio, name: str, value: float
) -> None:
    schema = parse_schema(config(name))
    project = int(admin.create_project(name, config(name))["id"])
    bulk, single, none = admin.import_tasks(project, [{"data": {"text": "a text"}}] * 3)
    said = answer(name, value)
    body = encode_prediction(schema, {TAGS[name]: said}, ITEM, 0.3, "v1")
    assert admin.push_predictions(project, [{"task": bulk, **body}]) == 1
    admin.create_prediction(single, body["result"], body["score"], "v1")
    stored = {p["task"]: p["result"] for p in admin._predictions(project=project)}
    assert sorted(stored) == [bulk, single]
    for task in stored:
        admin.annotate(task, stored[task])
    admin.annotate(none, [])
    given = {t["id"]: decode(schema, t["annotations"], ITEM) for t in admin.labelled(project)}
    assert given[none] is None
    for task in (bulk, single):
        assert np.array_equal(given[task][TAGS[name]], said.answer)


def test_more_stars_than_there_are_would_not_be_stored(admin: Studio) -> None:
    project = int(admin.create_project("stars", config("rating"))["id"])
    (task,) = admin.import_tasks(project, [{"data": {"text": "a text"}}])
    body = {"task": task, "result": result("rating", 5), "score": 0.5, "model_version": "v1"}
    with pytest.raises(StudioError, match="dropped 1"):
        admin.push_predictions(project, [body])
