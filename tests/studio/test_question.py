"""Answers to questions: what a config asks, what an annotation marks, what is suggested."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import UnsupportedConfig, UserError
from backend.problems.base import problem_for
from backend.problems.schema import Content, Item, Output
from backend.studio.codec import decode, encode_prediction, encode_result, read_item
from backend.studio.schema import parse_schema

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = ["question", "question-required", "question-textarea"]
TEXT = "Cafe\u0301 \U0001f600 is\r\nin Paris, \u0627\u0644\u0642\u0627\u0647\u0631\u0629 or Paris."


def config(name: str = "question") -> str:
    return (CONFIGS / f"{name}.xml").read_text()


def control(name: str = "question"):
    return parse_schema(config(name)).controls[0]


def item(text: str = TEXT, question: str = "Where?") -> Item:
    return Item({"context": Content((text,)), "question": Content((question,))})


def marked(*spans: tuple[int, int], text: str | None = None, label: str = "Answer") -> list[dict[str, Any]]:
    values = [{"start": s, "end": e, "text": text or TEXT[s:e], "labels": [label]} for s, e in spans]
    return [{"from_name": "answer", "to_name": "context", "type": "labels", "value": value} for value in values]


def typed(*texts: str) -> list[dict[str, Any]]:
    return [{"from_name": "answer", "to_name": "context", "type": "textarea", "value": {"text": list(texts)}}]


def target(*results: Any, name: str = "question", of: Item | None = None) -> dict[str, Any] | None:
    """The target of annotators with these results."""
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate(results)]
    decoded = decode(parse_schema(config(name)), annotations, of or item())
    return None if decoded is None else decoded["answer"]


def place(word: str, after: int = 0) -> tuple[int, int]:
    start = TEXT.index(word, after)
    return start, start + len(word)


# -------------------------------------------------------------------------------------------------------------- configs
def test_the_question_is_a_field_of_the_task() -> None:
    plain, required, area = map(control, NAMES)
    assert {c.kind for c in (plain, required, area)} == {"question"}
    assert plain.fields == required.fields == area.fields == ("context", "question")
    assert (plain.labels, required.labels, area.labels) == (("Answer",), ("answer",), ())
    assert plain.options == {"type": "labels", "empty": True}
    assert required.options == {"type": "labels"}
    assert area.options == {"type": "textarea", "empty": True}


def test_beside_another_control_an_empty_annotation_answers_nothing() -> None:
    other = '<Choices name="b" toName="context"><Choice value="x"/><Choice value="y"/></Choices></View>'
    two = parse_schema(config().replace("</View>", other))
    assert two.controls[0].options == {"type": "labels"}
    chosen = [{"from_name": "b", "to_name": "context", "type": "choices", "value": {"choices": ["x"]}}]
    assert set(decode(two, [{"result": chosen}], item()) or {}) == {"b"}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"$question">', '"Who?">', "Who?"),
        ('"$question">', '"About $question">', "names no field"),
        ('<Label value="Answer"/>', "", "0 labels"),
        ('<Label value="Answer"/>', '<Label value="A"/><Label value="B"/>', "2 labels"),
        ('<Label value="Answer"/>', '<Label value="$label"/>', "must be named"),
        ('<Label value="Answer"/>', '<Label value=" "/>', "must be named"),
        ('toName="context" question', 'toName="context" perRegion="true" question', "perRegion"),
        ("<Text ", "<Image ", "<Image>"),
    ],
)
def test_what_is_no_question_is_refused_with_what_to_do(old: str, new: str, named: str) -> None:
    with pytest.raises(UnsupportedConfig, match=named.replace("$", r"\$").replace("?", r"\?")) as refused:
        parse_schema(config().replace(old, new))
    assert refused.value.hint


def test_one_answer_in_several_texts_is_refused() -> None:
    two = config().replace("<Text ", '<Text name="more" value="$more"/><Text ')
    with pytest.raises(UnsupportedConfig, match="context,more"):
        parse_schema(two.replace('toName="context"', 'toName="context,more"'))


@pytest.mark.parametrize("old", [' extractive="true"', ' question="$question"'])
def test_a_text_area_that_asks_for_no_place_is_for_texts_that_people_write(old: str) -> None:
    assert parse_schema(config("question-textarea").replace(old, "")).controls[0].kind == "textarea"


def test_a_task_needs_text_and_question() -> None:
    schema = parse_schema(config())
    data = {"context": TEXT, "question": "Where?", "more": 1}
    assert read_item(schema, data) == item()
    assert problem_for(control()).texts(control(), read_item(schema, data)) == ("Where?", TEXT)
    for broken in ({"question": " "}, {"question": [3]}, {"context": ""}):
        with pytest.raises(UserError):
            read_item(schema, {**data, **broken})
    with pytest.raises(UserError, match="question"):
        read_item(schema, {"context": TEXT})


# -------------------------------------------------------------------------------------------------------------- answers
def test_offsets_count_code_points_and_white_space_around_an_answer_does_not_count() -> None:
    face, paris = place("\U0001f600"), place("Paris")
    assert target(marked(face)) == {"spans": [[*face, "\U0001f600"]], "none": 0}
    assert target(marked((paris[0] - 1, paris[1]))) == {"spans": [[*paris, "Paris"]], "none": 0}
    lines = place("is\r\nin")
    assert target(marked(lines, text="is\\nin")) == {"spans": [[*lines, "is\r\nin"]], "none": 0}


def test_several_annotators_have_several_acceptable_answers_or_none() -> None:
    one, other = place("Paris"), place("Paris, \u0627\u0644\u0642\u0627\u0647\u0631\u0629")
    both = target(marked(one), marked(other), marked(other))
    assert both == {"spans": [[*other, TEXT[slice(*other)]], [*one, "Paris"]], "none": 0}
    assert target(marked(one), [], [], []) == {"spans": [[*one, "Paris"]], "none": 0.75}
    assert target([]) == {"spans": [], "none": 1}
    assert target([], name="question-required") is None
    assert target(marked(one, other)) == {"spans": [[*one, "Paris"], [*other, TEXT[slice(*other)]]], "none": 0}


def test_offsets_of_another_text_are_led_to_the_nearest_place_of_the_answer() -> None:
    second = place("Paris", TEXT.index("Paris") + 1)
    moved = marked((second[0] - 3, second[1] - 3), text="Paris")
    assert target(moved) == {"spans": [[*second, "Paris"]], "none": 0}
    assert target(marked((0, 5), text="Lyon")) is None


def test_a_typed_answer_is_every_place_of_it_in_the_text() -> None:
    first, second = place("Paris"), place("Paris", TEXT.index("Paris") + 1)
    found = target(typed(" Paris "), name="question-textarea")
    assert found == {"spans": [[*first, "Paris"], [*second, "Paris"]], "none": 0}
    assert target(typed("Lyon"), name="question-textarea") is None
    assert target([], name="question-textarea") == {"spans": [], "none": 1}


def test_what_marks_nothing_teaches_nothing() -> None:
    one = place("Paris")
    value = marked(one)[0]["value"]
    for broken in (
        {"start": -1}, {"end": 10**6}, {"start": True}, {"start": "x"}, {"end": None}, {"labels": []},
        {"labels": ["Other"]}, {"labels": [["Answer"]]}, {"labels": "Answer"}, {"start": one[1], "end": one[1]},
    ):  # fmt: skip
        region = {**marked(one)[0], "value": {**value, "text": None, **broken}}
        assert target([region]) is None
    for region in ({"from_name": "answer"}, {"from_name": "answer", "value": 3}):
        assert target([region]) is None
        assert target([region], name="question-textarea") is None
    assert target(typed(), name="question-textarea") is None
    assert target(marked(one), of=Item({"context": Content((TEXT,))})) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.sampled_from(["Answer", "Paris", "", "is"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["start", "end", "text", "labels"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from(NAMES), JSON, JSON)
def test_whatever_a_region_holds_it_is_read_or_ignored(name: str, value: Any, more: Any) -> None:
    result = [{"from_name": "answer", "value": value}, more]
    found = target(result, name=name)
    for start, end, text in found["spans"] if found else []:
        assert TEXT[start:end] == text == text.strip() != ""


# ---------------------------------------------------------------------------------------------------------- suggestions
@settings(max_examples=1000)
@given(st.sampled_from(NAMES[:2]), st.text(min_size=1).filter(str.strip), st.data())
def test_decoding_a_suggestion_gives_back_its_answer(name: str, text: str, data: st.DataObject) -> None:
    ends = st.integers(0, len(text))
    start, end = sorted((data.draw(ends), data.draw(ends)))
    label = control(name).labels[0]
    region = {**marked((start, end), text=text[start:end], label=label)[0]}
    found = target([region] if text[start:end].strip() else [], name=name, of=item(text))
    if found is None:
        assert name == "question-required"
        return
    said = problem_for(control(name)).sure(found)
    result = json.loads(json.dumps(encode_result(parse_schema(config(name)), {"answer": said}, item(text))))
    assert len(result) == len(found["spans"])
    assert target(result, name=name, of=item(text)) == found


@pytest.mark.parametrize("name", NAMES)
def test_a_suggestion_is_valid_and_without_an_answer_there_is_none(name: str) -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    start, end = place("\u0627\u0644\u0642\u0627\u0647\u0631\u0629")
    answer = {"spans": [[start, end, TEXT[start:end]]], "none": 0.0}
    schema = parse_schema(config(name))
    for said, count in (
        (Output(answer=answer, confidence=0.7), 1),
        (Output(answer={"spans": [], "none": 1.0}, confidence=0.7), 0),
        (Output(answer=answer, confidence=float("nan")), 0),
        (Output(reason="no answer was marked yet"), 0),
    ):
        stored = json.loads(json.dumps(encode_prediction(schema, {"answer": said}, item(), 0.2, "v1")))
        assert LabelInterface(config(name)).validate_prediction(stored)
        assert [region["score"] for region in stored["result"]] == [0.7] * count
        assert target(stored["result"], name=name) == (answer if count else target([], name=name))
