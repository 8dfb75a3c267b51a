"""Two texts side by side: what the tag asks, what an annotation says, what is suggested."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import UnsupportedConfig
from backend.problems.schema import Output
from backend.studio.codec import decode, encode_prediction, encode_result, read_item
from backend.studio.schema import parse_schema

CONFIG = (Path(__file__).parents[1] / "configs" / "pairwise.xml").read_text()
SCHEMA = parse_schema(CONFIG)
DATA = {"one": "a text", "two": "another text"}
ITEM = read_item(SCHEMA, DATA)


def result(selected: Any, to_name: str = "better") -> list[dict[str, Any]]:
    """As a click stores it: the control is its own object."""
    return [{"from_name": "better", "to_name": to_name, "type": "pairwise", "value": {"selected": selected}}]


def target(*results: Any, schema=SCHEMA) -> Any:
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate(results)]
    found = decode(schema, annotations, ITEM)
    return None if found is None else found["better"].tolist()


def test_both_texts_are_read() -> None:
    (control,) = SCHEMA.controls
    assert (control.kind, control.labels, control.fields) == ("pairwise", ("left", "right"), ("one", "two"))
    assert ITEM.text == "a text\nanother text"


@pytest.mark.parametrize("names", ["first", "first,first", "first,second,third"])
def test_anything_but_two_texts_is_refused(names: str) -> None:
    three = CONFIG.replace("</View>", '<Text name="third" value="$three"/></View>')
    with pytest.raises(UnsupportedConfig, match="two object tags") as refused:
        parse_schema(three.replace('toName="first,second"', f'toName="{names}"'))
    assert refused.value.hint


def test_objects_of_two_kinds_are_refused() -> None:
    with pytest.raises(UnsupportedConfig, match="different kinds"):
        parse_schema(CONFIG.replace('<Text name="second"', '<HyperText name="second"'))


def test_annotators_share_the_target_and_no_selection_prefers_neither() -> None:
    assert target(result("left")) == [1, 0]
    assert target(result("right"), result("right"), result("left"), result("right")) == [0.25, 0.75]
    assert target([]) == [0.5, 0.5]
    assert target([], result("left")) == [0.75, 0.25]


def test_among_several_questions_no_selection_may_have_been_passed_over() -> None:
    two = CONFIG.replace("</View>", '<Rating name="stars" toName="first"/></View>')
    stars = [{"from_name": "stars", "to_name": "first", "type": "rating", "value": {"rating": 2}}]
    assert set(decode(parse_schema(two), [{"result": stars}], ITEM) or {}) == {"stars"}


JSON = st.none() | st.booleans() | st.integers() | st.sampled_from(["none", "Left", ""]) | st.lists(st.integers())


@given(JSON, JSON)
def test_whatever_else_is_selected_says_nothing(selected: Any, value: Any) -> None:
    assert target(result(selected)) is None
    assert target([{"from_name": "better", "value": value}]) is None
    assert target(result("left") + result("right")) is None


@pytest.mark.parametrize("side", [0, 1])
def test_decoding_a_suggestion_gives_back_its_side(side: int) -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    probs = np.array([0.3, 0.3], np.float32)
    probs[side] = 0.7
    said = encode_prediction(SCHEMA, {"better": Output(probs)}, ITEM, 0.2, "v1")
    assert LabelInterface(CONFIG).validate_prediction(json.loads(json.dumps(said)))
    assert said["result"][0]["score"] == pytest.approx(0.7)
    assert target(said["result"]) == [1 - side, side]


def test_without_an_answer_nothing_is_suggested() -> None:
    for silent in (Output(reason="no label"), Output(np.full(2, np.nan, np.float32))):
        assert encode_result(SCHEMA, {"better": silent}, ITEM) == []
