"""What a real Label Studio stores of spans, and what comes back of it."""

from typing import Any

import numpy as np
import pytest

from backend.problems.schema import Output
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction, read_item
from tests.studio.test_spans import CONFIGS, data_of, schema

pytestmark = pytest.mark.studio

NASTY = ["😀 Ann\r\nlives\tin Ro\u0301me", "住在北京 \u202eאבג\u202c"]
NAMES = ["labels", "labels-several", "labels-dialogue", "labels-html"]


@pytest.mark.parametrize("name", NAMES)
def test_a_suggestion_is_stored_both_ways_and_submitted_unchanged_means_the_same(admin: Studio, name: str) -> None:
    asked, task = schema(name), data_of(name, NASTY)
    project = int(admin.create_project(name, (CONFIGS / f"{name}.xml").read_text())["id"])
    bulk, single, none = admin.import_tasks(project, [{"data": task}] * 3)
    item = read_item(asked, task)
    ann, city = item.text.index("Ann"), item.text.index("北京")
    spans = [(ann, ann + 3, 0, 1.0), (city, city + 2, 1, 1.0)]
    said = Output(answer=spans, extra={"scores": [0.9, 0.8]})
    body = encode_prediction(asked, {"entity": said}, item, 0.3, "v1")
    assert admin.push_predictions(project, [{"task": bulk, **body}]) == 1
    admin.create_prediction(single, body["result"], body["score"], "v1")
    stored: dict[int, Any] = {p["task"]: p["result"] for p in admin._predictions(project=project)}
    assert sorted(stored) == [bulk, single]
    for task_id, result in stored.items():
        admin.annotate(task_id, result)
    admin.annotate(none, [])
    read = {t["id"]: decode(asked, t["annotations"], item) for t in admin.labelled(project)}
    assert read == {bulk: {"entity": spans}, single: {"entity": spans}, none: {"entity": []}}


def test_labels_of_regions_are_stored_with_the_regions(admin: Studio) -> None:
    config, task = (CONFIGS / "labels-with-choices.xml").read_text(), {"text": "Ann hates Rome"}
    asked = schema("labels-with-choices")
    project = int(admin.create_project("regions", config)["id"])
    (number,) = admin.import_tasks(project, [{"data": task}])
    item = read_item(asked, task)
    tokens = {"offsets": np.array([[0, 3], [4, 9], [10, 14]]), "logits": np.array([[1.0, 0], [0, 0], [0, 1]])}
    spans = [(0, 3, 0, 1.0), (10, 14, 1, 1.0)]
    said = {"entity": Output(answer=spans, extra={"scores": [0.9, 0.8]}), "feeling": Output(extra=tokens)}
    body = encode_prediction(asked, said, item, 0.3, "v1")
    assert admin.push_predictions(project, [{"task": number, **body}]) == 1
    (stored,) = admin._predictions(project=project)
    assert len(stored["result"]) == 4
    admin.annotate(number, stored["result"])
    (labelled,) = admin.labelled(project)
    assert decode(asked, labelled["annotations"], item) == {"entity": spans, "feeling": spans}
