"""A list to be put in order: what is read, what an annotation says, what is suggested."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import UnsupportedConfig, UserError
from backend.problems.schema import Output
from backend.studio.codec import decode, encode_prediction, encode_result, read_item
from backend.studio.schema import parse_schema

CONFIG = (Path(__file__).parents[1] / "configs" / "ranker.xml").read_text()
SCHEMA = parse_schema(CONFIG)
DATA = {
    "question": "why?",
    "answers": [
        {"id": "blog", "title": "A title", "body": "and a body"},
        {"id": 7, "body": "only a body"},
        {"id": "网", "html": "<p>some&nbsp;<b>bold</b></p><p>words</p>", "more": 1},
    ],
}
ITEM = read_item(SCHEMA, DATA)


def result(value: Any) -> list[dict[str, Any]]:
    return [{"from_name": "order", "to_name": "answers", "type": "ranker", "value": {"ranker": value}}]


def target(*results: Any, item: Any = ITEM) -> Any:
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate(results)]
    found = decode(SCHEMA, annotations, item)
    return None if found is None else found["order"]


def test_entries_are_read_with_their_ids() -> None:
    (control,) = SCHEMA.controls
    assert (control.kind, control.object, control.fields, control.labels) == ("ranker", "list", ("answers",), ())
    content = ITEM.fields["answers"]
    assert content.names == ("blog", "7", "网")
    assert content.texts == ("A title\nand a body", "only a body", "some bold words")


@pytest.mark.parametrize(
    ("answers", "named"),
    [
        (None, "no list"),
        ([], "no list"),
        ("blog", "no list"),
        ([{"body": "a"}], "without an id"),
        ([{"id": None, "body": "a"}], "without an id"),
        (["a"], "without an id"),
        ([{"id": "a", "body": " "}], "no text"),
        ([{"id": "a", "html": "<img src='x'/>"}], "no text"),
        ([{"id": "a", "body": 3}], "no text"),
        ([{"id": "1", "body": "a"}, {"id": 1, "body": "b"}], "same id"),
    ],
)
def test_a_list_that_cannot_be_read_is_a_sentence(answers: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        read_item(SCHEMA, {"answers": answers})


def test_buckets_are_refused_with_what_to_do() -> None:
    buckets = CONFIG.replace(
        '<Ranker name="order" toName="answers"/>',
        '<Ranker name="order" toName="answers"><Bucket name="best" title="Best"/></Ranker>',
    )
    with pytest.raises(UnsupportedConfig, match="Bucket") as refused:
        parse_schema(buckets)
    assert "Remove the buckets" in refused.value.hint
    with pytest.raises(UnsupportedConfig, match="<Ranker> on <Text>"):
        parse_schema(CONFIG.replace('toName="answers"', 'toName="question"'))


def test_every_annotator_has_an_order() -> None:
    assert target(result({"order": ["7", "网", "blog"]})) == ((1, 2, 0),)
    assert target(result({"order": ["7", "网", "blog"]}), result({"order": ["blog", "7", "网"]})) == (
        (1, 2, 0),
        (0, 1, 2),
    )
    assert target(result(["7", "网", "blog"])) == ((1, 2, 0),)


@pytest.mark.parametrize(
    "value",
    [
        None, {}, {"order": None}, {"order": "7"}, {"order": ["7", "blog"]}, {"order": ["7", "blog", "x"]},
        {"order": ["7", "7", "blog", "网"]}, {"order": [7, "网", "blog"]}, {"other": ["7", "网", "blog"]},
        {"order": []},
    ],
)  # fmt: skip
def test_what_is_no_order_of_all_entries_says_nothing(value: Any) -> None:
    assert target(result(value)) is None
    assert target([]) is None


def test_without_the_task_an_order_means_nothing() -> None:
    assert target(result({"order": ["7", "网", "blog"]}), item=None) is None


@given(st.permutations(range(3)).map(tuple))
def test_decoding_a_suggestion_gives_back_its_order(order: tuple[int, ...]) -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    said = encode_prediction(SCHEMA, {"order": Output(answer=(order,), confidence=0.4)}, ITEM, 0.2, "v1")
    assert LabelInterface(CONFIG).validate_prediction(json.loads(json.dumps(said)))
    assert [r["score"] for r in said["result"]] == [0.4]
    assert target(said["result"]) == (order,)


def test_without_an_answer_nothing_is_suggested() -> None:
    for silent in (Output(reason="no label"), Output(answer=((0, 1, 2),), confidence=float("nan"))):
        assert encode_result(SCHEMA, {"order": silent}, ITEM) == []
