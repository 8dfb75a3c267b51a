"""What a real Label Studio stores of several answers, trees and taxonomies, and what comes back of it."""

from typing import Any

import pytest

from backend.problems.schema import Item
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction
from backend.studio.schema import parse_schema
from tests.studio.test_multiple import NAMES, config, control, output, result

pytestmark = pytest.mark.studio

TEXT = "a text"
FLAT = [name for name in NAMES if "tree" not in name]
CLICKED = {
    "choices-tree": [["sport"], ["sport", "ball"], ["sport", "water"]],
    "choices-tree-multiple": [["sport", "ball"], ["music"]],
}


def read_back(admin: Studio, project: int, name: str) -> dict[int, Any]:
    """Targets of the labelled tasks by id, as lists."""
    schema = parse_schema(config(name))
    decoded = {t["id"]: decode(schema, t["annotations"], Item.of(TEXT)) for t in admin.labelled(project)}
    return {task: None if d is None else d["topic"].tolist() for task, d in decoded.items()}


@pytest.mark.parametrize("name", FLAT)
def test_a_suggestion_is_stored_both_ways_and_submitted_unchanged_means_the_same(admin: Studio, name: str) -> None:
    project = int(admin.create_project(name, config(name))["id"])
    bulk, single, none = admin.import_tasks(project, [{"data": {"text": TEXT}}] * 3)
    said = output(name, *control(name).labels[1:3])
    body = encode_prediction(parse_schema(config(name)), {"topic": said}, Item.of(TEXT), 0.3, "v1")
    assert admin.push_predictions(project, [{"task": bulk, **body}]) == 1
    admin.create_prediction(single, body["result"], body["score"], "v1")
    stored = {p["task"]: p["result"] for p in admin._predictions(project=project)}
    assert sorted(stored) == [bulk, single]
    for task in stored:
        admin.annotate(task, stored[task])
    admin.annotate(none, [])
    wanted = said.answer.tolist()
    empty = [0.0] * len(wanted) if control(name).options.get("empty") else None
    assert read_back(admin, project, name) == {bulk: wanted, single: wanted, none: empty}


@pytest.mark.parametrize("name", CLICKED)
def test_of_a_tree_the_order_is_stored_and_answers_come_back(admin: Studio, name: str) -> None:
    project = int(admin.create_project(name, config(name))["id"])
    task, other = admin.import_tasks(project, [{"data": {"text": TEXT}}] * 2)
    schema = parse_schema(config(name))
    body = encode_prediction(schema, {"topic": output(name, "music")}, Item.of(TEXT), 0.3, "v1")
    assert admin.push_predictions(project, [{"task": task, **body}, {"task": other, **body}]) == 2
    admin.annotate(task, result(CLICKED[name]))
    (given,) = read_back(admin, project, name).values()
    chosen = [label for label, share in zip(control(name).labels, given, strict=True) if share]
    assert chosen == (["sport"] if name == "choices-tree" else ["sport / ball", "music"])
