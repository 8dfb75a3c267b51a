"""Texts that annotators write: what a config asks, what an annotation says, what is suggested."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import UnsupportedConfig
from backend.problems.schema import Content, Item, Output
from backend.problems.writing import fill, prompt_of
from backend.studio.codec import decode, encode_prediction, encode_result, read_item
from backend.studio.schema import parse_schema

CONFIGS = Path(__file__).parents[1] / "configs"
PLAIN = '<View><Text name="text" value="$text"/><TextArea name="answer" toName="text"/></View>'
ITEM = Item.of("a text")
TEXTS = st.text(min_size=1).filter(str.strip)
SPECIAL = ["a\r\nb", "\ttab ", "👩‍👩‍👧 emoji", "שלום (עולם)", "\u202bمرحبا\u202c", "e\u0301", "<b>&amp;", "你好"]


def config(name: str) -> str:
    return (CONFIGS / f"{name}.xml").read_text()


def region(value: Any) -> dict[str, Any]:
    return {"from_name": "answer", "to_name": "text", "type": "textarea", "value": value}


def target(*results: list[dict[str, Any]], config: str = PLAIN) -> Any:
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate(results)]
    found = decode(parse_schema(config), annotations, ITEM)
    return None if found is None else found["answer"]


# --------------------------------------------------------------------------------------------------------- the config
def test_the_prompt_names_the_fields_that_are_read_and_the_looks_do_not_matter() -> None:
    (control,) = parse_schema(config("textarea")).controls
    assert (control.kind, control.labels, control.fields) == ("textarea", (), ("text",))
    assert control.options == {"prompt": "Translate to German: $text", "most": 1}
    (control,) = parse_schema(config("textarea-context")).controls
    assert control.fields == ("question", "context")
    looks = 'editable="true" rows="9" placeholder="write" required="true" transcription="true" value="$draft"'
    shown = PLAIN.replace("<TextArea", f"<TextArea {looks}")
    assert parse_schema(shown).hash == parse_schema(PLAIN).hash
    assert parse_schema(PLAIN.replace("<TextArea", '<TextArea prompt="x"')).hash != parse_schema(PLAIN).hash


@pytest.mark.parametrize("name", ["perRegion", "perItem"])
def test_a_text_about_a_part_of_the_task_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedConfig, match=f"<TextArea {name}") as caught:
        parse_schema(PLAIN.replace("<TextArea", f'<TextArea {name}="true"'))
    assert caught.value.hint == f"Remove {name}."


def test_a_prompt_is_filled_with_what_the_task_holds() -> None:
    schema = parse_schema(config("textarea-context"))
    item = read_item(schema, {"question": "why?", "context": "so {context} $question", "draft": "no"})
    assert prompt_of(schema.controls[0], item, "unused") == "Answer from so {context} $question\n\nwhy?"
    (plain,) = parse_schema(PLAIN).controls
    assert prompt_of(plain, ITEM, "") == "a text"
    assert prompt_of(plain, ITEM, "Say it in German.") == "Say it in German.\n\na text"
    assert prompt_of(plain, ITEM, "{text} costs $5 in {city}") == "a text costs $5 in {city}"
    (priced,) = parse_schema(PLAIN.replace("<TextArea ", '<TextArea prompt="A gift below $20: ${text}" ')).controls
    assert priced.fields == ("text",)
    assert prompt_of(priced, ITEM, "") == "A gift below $20: a text"


def test_without_a_prompt_all_that_is_shown_is_asked() -> None:
    two = PLAIN.replace('toName="text"', 'toName="text,more"').replace("<View>", '<View><Text name="more" value="$m"/>')
    schema = parse_schema(two)
    item = read_item(schema, {"text": "one", "m": "two"})
    assert prompt_of(schema.controls[0], item, "Say:") == "Say:\n\none\n\ntwo"


def test_of_a_dialogue_it_is_told_who_speaks() -> None:
    (control,) = parse_schema(PLAIN).controls
    item = Item({"text": Content(("hello", "hi"), ("Ann", "Bob"))})
    assert prompt_of(control, item, "") == "Ann: hello\nBob: hi"
    assert fill("Reply:\n$text", item, "") == "Reply:\nAnn: hello\nBob: hi"


# --------------------------------------------------------------------------------------------------------- the answers
@settings(max_examples=1000)
@given(st.lists(TEXTS, min_size=1, unique=True))
def test_what_was_suggested_and_accepted_is_what_was_suggested(texts: list[str]) -> None:
    schema = parse_schema(PLAIN)
    regions = encode_result(schema, {"answer": Output(answer=tuple(texts), confidence=0.5)}, ITEM)
    assert target(regions) == tuple(texts)


@pytest.mark.parametrize("text", SPECIAL)
def test_no_character_is_changed(text: str) -> None:
    assert target([region({"text": [text]})]) == (text,)


def test_half_of_an_emoji_is_left_out_of_a_text() -> None:
    cut = [region({"text": ["good \ud83d", "\udc4d"]}), region({"text": "\U0001f44d"})]
    assert target(cut) == ("good ", "\U0001f44d")


def test_all_texts_of_all_annotators_are_kept_once() -> None:
    one, two = [region({"text": ["a", "b", " "]}), region({"text": "c"})], [region({"text": ["b", "d"]})]
    assert target(one, two) == ("a", "b", "c", "d")
    assert target([], two) == ("b", "d")


@pytest.mark.parametrize("value", [{"text": []}, {"text": [" \n"]}, {"text": None}, {"text": [3]}, {}, None, "a"])
def test_an_annotation_without_a_text_says_nothing(value: Any) -> None:
    assert target([region(value)]) is None
    assert target([]) is None


def test_a_suggestion_has_its_confidence_and_no_more_texts_than_may_be_given() -> None:
    output = Output(answer=("one", " ", "two"), confidence=0.7)
    for text, texts in ((PLAIN, ["one", "two"]), (config("textarea"), ["one"])):
        body = encode_prediction(parse_schema(text), {"answer": output}, ITEM, 0.3, "v1")
        assert body["result"] == [{**region({"text": texts}), "score": 0.7}]
    assert encode_prediction(parse_schema(PLAIN), {"answer": output}, ITEM, 0.3, "v1", above=0.8)["result"] == []


@pytest.mark.parametrize(
    "output", [Output(reason="none"), Output(answer=(" ",), confidence=1.0), Output(answer=("a",), confidence=np.nan)]
)
def test_without_a_text_nothing_is_suggested(output: Output) -> None:
    assert encode_result(parse_schema(PLAIN), {"answer": output}, ITEM) == []


def test_a_dialogue_is_given_to_the_model_with_who_said_what() -> None:
    asked = parse_schema((CONFIGS / "textarea-dialogue.xml").read_text())
    (reply,) = asked.controls
    chat = [{"author": "Ann", "text": "Hello"}, {"author": "Bob", "text": "Hi, how are you?"}]
    item = read_item(asked, {"chat": chat})
    assert prompt_of(reply, item, "") == "Answer the last message: Ann: Hello\nBob: Hi, how are you?"
    assert reply.fields == ("chat",)
