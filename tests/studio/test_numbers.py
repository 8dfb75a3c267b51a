"""Stars and numbers: what the tags ask, what an annotation says, what is suggested."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import UnsupportedConfig
from backend.problems.schema import Item, Output
from backend.studio.codec import decode, encode_prediction, encode_result
from backend.studio.schema import parse_schema

CONFIGS = Path(__file__).parents[1] / "configs"
ITEM = Item.of("a text")
TAGS = {"rating": "stars", "number": "amount", "number-free": "amount"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rating", "number"]), inner),
    max_leaves=6,
)


def config(name: str) -> str:
    return (CONFIGS / f"{name}.xml").read_text()


def result(name: str, value: Any) -> list[dict[str, Any]]:
    kind = name.partition("-")[0]
    return [{"from_name": TAGS[name], "to_name": "text", "type": kind, "value": {kind: value}}]


def target(name: str, *results: Any) -> Any:
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate(results)]
    found = decode(parse_schema(config(name)), annotations, ITEM)
    return None if found is None else found[TAGS[name]]


def answer(name: str, value: float) -> Output:
    given_ = np.eye(4, dtype=np.float32)[int(value) - 1] if name == "rating" else value
    return Output(answer=given_, confidence=0.7)


# ------------------------------------------------------------------------------------------------------------- configs
def test_stars_are_labels_in_order() -> None:
    (control,) = parse_schema(config("rating")).controls
    assert (control.kind, control.labels, control.options) == ("rating", ("1", "2", "3", "4"), {})
    usual = parse_schema(config("rating").replace('maxRating="4"', "")).controls[0]
    assert usual.labels == ("1", "2", "3", "4", "5")


def test_a_number_has_its_limits_and_no_labels() -> None:
    (control,) = parse_schema(config("number")).controls
    assert (control.kind, control.labels) == ("number", ())
    assert control.options == {"min": 0.5, "max": 10.0, "step": 0.25}
    assert parse_schema(config("number-free")).controls[0].options == {}


@pytest.mark.parametrize(
    ("name", "before", "after", "named"),
    [
        ("rating", 'maxRating="4"', 'maxRating="1"', "maxRating"),
        ("rating", 'maxRating="4"', 'maxRating="many"', "maxRating"),
        ("rating", 'maxRating="4"', 'maxRating="1000000000"', "maxRating"),
        ("rating", "<Rating ", '<Rating perRegion="true" ', "perRegion"),
        ("number", "<Number ", '<Number perItem="true" ', "perItem"),
        ("number", 'min="0.5"', 'min="ten"', "no number"),
        ("number", 'min="0.5"', 'min="nan"', "no number"),
        ("number", 'min="0.5"', 'min="10"', "nothing to say"),
        ("number", 'step="0.25"', 'step="0"', "step"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, before: str, after: str, named: str) -> None:
    with pytest.raises(UnsupportedConfig, match=named) as refused:
        parse_schema(config(name).replace(before, after))
    assert refused.value.hint


def test_one_question_about_two_texts_is_refused() -> None:
    two = config("rating").replace("<Rating", '<Text name="b" value="$b"/><Rating').replace('="text" m', '="text,b" m')
    with pytest.raises(UnsupportedConfig, match="text,b"):
        parse_schema(two)


# --------------------------------------------------------------------------------------------------------- annotations
def test_annotators_share_the_stars_and_meet_in_the_middle_of_numbers() -> None:
    assert target("rating", result("rating", 3)).tolist() == [0, 0, 1, 0]
    assert target("rating", result("rating", 3), result("rating", 1)).tolist() == [0.5, 0, 0.5, 0]
    assert target("number", result("number", 3), result("number", 9.5), result("number", 4)) == 4
    assert target("number", result("number", 3), result("number", 4)) == 3.5


@pytest.mark.parametrize("value", [None, 0, "3", True, [3], {}, float("nan"), float("inf"), 7, 2.5, -1])
def test_what_is_no_number_of_stars_is_no_answer(value: Any) -> None:
    assert target("rating", result("rating", value)) is None
    assert target("rating", []) is None
    assert target("rating", result("rating", 2) + result("rating", 3)) is None


@pytest.mark.parametrize("value", [None, "3", True, [3], {}, float("nan"), float("-inf"), 10**400])
def test_what_is_no_number_is_no_answer(value: Any) -> None:
    assert target("number", result("number", value)) is None
    assert target("number", []) is None
    assert target("number", result("number", 0)) == 0


@given(st.sampled_from(sorted(TAGS)), JSON, JSON)
def test_whatever_a_region_holds_it_is_read_or_ignored(name: str, value: Any, more: Any) -> None:
    regions = [{"from_name": TAGS[name], "value": value}, {"from_name": TAGS[name], "value": {"rating": more}}, more]
    found = target(name, regions)
    if found is not None:
        assert np.isfinite(found).all()


# --------------------------------------------------------------------------------------------------------- suggestions
@given(st.sampled_from(sorted(TAGS)), st.integers(1, 4), st.sampled_from([0.0, 0.25, 0.5]))
def test_decoding_a_suggestion_gives_back_its_answer(name: str, whole: int, part: float) -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    output = answer(name, whole if name == "rating" else whole + part)
    said = encode_prediction(parse_schema(config(name)), {TAGS[name]: output}, ITEM, 0.2, "v1")
    assert LabelInterface(config(name)).validate_prediction(json.loads(json.dumps(said)))
    assert [r["score"] for r in said["result"]] == [0.7]
    assert np.array_equal(target(name, said["result"]), output.answer)


@pytest.mark.parametrize("name", TAGS)
def test_without_an_answer_nothing_is_suggested(name: str) -> None:
    for silent in (Output(reason="no label"), Output(answer=np.nan), Output(answer=1.0, confidence=np.nan)):
        assert encode_result(parse_schema(config(name)), {TAGS[name]: silent}, ITEM) == []


def test_a_whole_number_has_no_point() -> None:
    (region,) = encode_result(parse_schema(config("number")), {"amount": answer("number", 3.0)}, ITEM)
    assert json.dumps(region["value"]) == '{"number": 3}'
