"""Spans: what an annotation marks, what is suggested, and that one comes back as the other, whatever the text holds."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import UnsupportedConfig, UserError
from backend.problems.schema import Output
from backend.studio.codec import decode, encode_prediction, encode_result, read_item
from backend.studio.hypertext import read_page
from backend.studio.schema import parse_schema

CONFIGS = Path(__file__).parents[1] / "configs"
NASTY = [
    "a",
    "Z",
    " ",
    "\t",
    "\r\n",
    "\n",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "😀",
    "中",
    "文",
    "א",
    "ש",
    "\u202e",
    "ا",
    "ก",
    "ि",
    ".",
    "<",
]
TEXTS = st.lists(st.sampled_from(NASTY), min_size=1, max_size=30).map("".join).filter(str.strip)


def schema(name: str):
    return parse_schema((CONFIGS / f"{name}.xml").read_text())


def data_of(name: str, texts: list[str]) -> dict[str, Any]:
    if name == "labels-dialogue":
        return {"chat": [{"who": "A", "says": text} for text in texts]}
    if name == "labels-html":
        escaped = [text.replace("<", "&lt;").replace("\r", "") for text in texts]
        return {"page": "<h1>A <b>page</b></h1>" + "".join(f"<p>{t}<br/><i>{t}</i></p> " for t in escaped)}
    return {"text": "".join(texts)}


def said(*spans: tuple[int, int, int]) -> Output:
    return Output(answer=[(*span, 1.0) for span in spans], extra={"scores": [0.75] * len(spans)})


def region(start: int, end: int, *labels: str, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": list(labels), **more}
    return {"from_name": "entity", "to_name": "text", "type": "labels", "value": value}


def target(name: str, data: dict[str, Any], *results: Any):
    asked = schema(name)
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate(results)]
    decoded = decode(asked, annotations, read_item(asked, data))
    return None if decoded is None else decoded["entity"]


# -------------------------------------------------------------------------------------------------------------- config
def test_labels_descriptions_and_kind() -> None:
    (control,) = schema("labels").controls
    assert (control.kind, control.labels) == ("labels", ("person", "place", "org"))
    assert control.descriptions == ("a human being", "place", "Organisation")
    assert control.options == {"type": "labels", "empty": True}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ('value="$labels"/>', "takes its labels from outside the config"),
        ("/>", "has no <Label>"),
        ('><Label value="a"/><Label value="a"/></Labels>', "'a' twice"),
        ("><Label/></Labels>", "has no <Label>"),
        ('><Label value="$l"/></Labels>', "differs from task to task"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(labels: str, said: str) -> None:
    with pytest.raises(UnsupportedConfig, match=said):
        parse_schema(f'<View><Labels name="l" toName="t" {labels}<Text name="t" value="$t"/></View>')


def test_a_tag_on_the_wrong_object_is_refused() -> None:
    labels = '<ParagraphLabels name="l" toName="t"><Label value="a"/></ParagraphLabels>'
    with pytest.raises(UnsupportedConfig, match="on <Text>"):
        parse_schema(f'<View>{labels}<Text name="t" value="$t"/></View>')


# --------------------------------------------------------------------------------------------------------------- votes
ANN = {"text": "Ann lives in Rome."}


def test_shares_are_those_of_the_annotators() -> None:
    one, two = [region(0, 3, "person")], [region(0, 3, "person"), region(13, 17, "place")]
    assert target("labels", ANN, one, two) == [(0, 3, 0, 1.0), (13, 17, 1, 0.5)]


def test_an_empty_annotation_says_that_there_is_none() -> None:
    assert target("labels", ANN, []) == []
    assert target("labels", ANN, [], [region(0, 3, "person")]) == [(0, 3, 0, 0.5)]


def test_beside_another_question_an_empty_answer_says_nothing() -> None:
    config = (CONFIGS / "labels.xml").read_text().replace(
        "</View>", '<Choices name="c" toName="text"><Choice value="a"/><Choice value="b"/></Choices></View>'
    )  # fmt: skip
    asked = parse_schema(config)
    assert decode(asked, [{"id": 1, "result": []}], read_item(asked, ANN)) is None


@pytest.mark.parametrize(
    "bad",
    [
        region(0, 3, "planet"),
        region(5, 5, "person"),
        region(3, 999, "person"),
        region(-1, 2, "person"),
        region(3, 4, "person"),
        {"from_name": "entity", "type": "labels"},
        {"from_name": "entity", "value": {"start": None, "end": "x", "labels": ["person"]}},
        {"from_name": "entity", "value": {"start": 0, "end": 3, "labels": "person"}},
    ],
)
def test_what_is_no_span_of_the_text_teaches_nothing(bad: dict[str, Any]) -> None:
    assert target("labels", ANN, [bad]) is None
    assert target("labels", ANN, [bad, region(0, 3, "person")]) == [(0, 3, 0, 1.0)]


def test_spaces_around_a_span_are_no_part_of_it() -> None:
    assert target("labels", ANN, [region(3, 13, "place")]) == [(4, 12, 1, 1.0)]


def test_a_span_with_other_offsets_is_found_by_its_text() -> None:
    data = {"text": "😀 Rome\r\nRome"}
    assert target("labels", data, [region(3, 7, "place", text="Rome")]) == [(2, 6, 1, 1.0)]
    assert target("labels", data, [region(8, 12, "place", text="Rome")]) == [(8, 12, 1, 1.0)]
    assert target("labels", data, [region(99, 103, "place", text="Rome")]) == [(8, 12, 1, 1.0)]


def test_one_region_may_have_several_labels() -> None:
    regions = encode_result(
        schema("labels-several"), {"entity": said((0, 3, 0), (0, 3, 2))}, read_item(schema("labels"), ANN)
    )
    assert [r["value"]["labels"] for r in regions] == [["person", "org"]]
    assert target("labels-several", ANN, regions) == [(0, 3, 0, 1.0), (0, 3, 2, 1.0)]


# --------------------------------------------------------------------------------------------------------- round trips
@pytest.mark.parametrize("name", ["labels", "labels-dialogue", "labels-html"])
@settings(max_examples=350)
@given(st.data())
def test_what_is_suggested_comes_back_when_it_is_submitted_unchanged(name: str, data: st.DataObject) -> None:
    task = data_of(name, data.draw(st.lists(TEXTS, min_size=1, max_size=3)))
    asked = schema(name)
    item = read_item(asked, task)
    text = item.text
    solid = [at for at, character in enumerate(text) if not character.isspace()]
    ends = data.draw(st.lists(st.tuples(st.sampled_from(solid), st.sampled_from(solid), st.integers(0, 2)), max_size=4))
    spans = sorted({(min(a, b), max(a, b) + 1, label) for a, b, label in ends})
    body = encode_prediction(asked, {"entity": said(*spans)}, item, 0.5, "v1")
    assert all(
        r["score"] == 0.75 and r["value"]["text"] == text[s:e]
        for r, (s, e, _) in zip(body["result"], spans, strict=True)
    )
    decoded = decode(asked, [{"id": 1, "result": body["result"]}], item)
    assert decoded == {"entity": [(*span, 1.0) for span in spans]}
    assert len({r["id"] for r in body["result"]}) == len(spans)


def test_in_a_dialogue_places_are_utterances_and_offsets() -> None:
    data = {"chat": [{"who": "A", "says": "Hello Ann"}, {"who": "B"}, {"who": "B", "says": "in Rome"}]}
    asked = schema("labels-dialogue")
    item = read_item(asked, data)
    assert item.text == "Hello Ann\n\nin Rome"
    assert item.fields["chat"].names == ("A", "B", "B")
    (one,) = encode_result(asked, {"entity": said((14, 18, 1))}, item)
    place = {"start": "2", "end": "2", "startOffset": 3, "endOffset": 7, "text": "Rome"}
    assert one["value"] == {**place, "paragraphlabels": ["place"]}
    with pytest.raises(UserError, match="no dialogue"):
        read_item(asked, {"chat": 3})
    with pytest.raises(UserError, match="no utterance"):
        read_item(asked, {"chat": [{"who": "A"}]})
    assert read_item(asked, {"chat": "one\ntwo"}).fields["chat"].texts == ("one", "two")


def test_in_a_dialogue_offsets_are_utf16_as_a_browser_counts() -> None:
    asked = schema("labels-dialogue")
    item = read_item(asked, {"chat": [{"who": "A", "says": "yes of course"}, {"who": "B", "says": "😀😀 yes"}]})
    (one,) = encode_result(asked, {"entity": said((17, 20, 1))}, item)
    assert one["value"] == {
        "start": "1", "end": "1", "startOffset": 5, "endOffset": 8, "text": "yes", "paragraphlabels": ["place"]
    }  # fmt: skip
    for change in ({}, {"text": None}, {"startOffset": 90, "endOffset": 93}, {"startOffset": 3, "endOffset": 6}):
        annotation = {"id": 1, "result": [{**one, "value": {**one["value"], **change}}]}
        assert decode(asked, [annotation], item) == {"entity": [(17, 20, 1, 1.0)]}


@pytest.mark.parametrize(
    ("place", "text", "span"),
    [
        ((0, 6, 1, 7), "there\n\nhow are", (6, 19)),
        ((0, 6, 1, 7), "there\n\n00:00:00 - \nhow are", (6, 19)),
        ((0, 6, 2, 3), "there\\n\\nBob\\n\\nhow are you\\n\\nAnn\\n\\nyou", (6, 27)),
        ((0, 11, 1, 7), "\n\n00:00:00 - \nhow are", (12, 19)),
        ((0, 6, 1, 0), "there\n\n00:00:00 - \n", (6, 11)),
        ((0, 6, 1, 7), "the city", None),
        ((0, 6, 1, 7), "there", (6, 11)),
        ((0, 6, 1, 7), "there 00:00:00 - you are", None),
        ((0, 11, 2, 0), "00:00:00 - \nhow are you", None),
        ((0, 0, 2, 7), "hello there 00:00:00 - you too", (0, 31)),
        ((0, 6, 0, 11), "there 00:00:00 - there", None),
        ((0, 6, 9, 7), "there\n\n00:00:00 - \nhow are", None),
    ],
)
def test_between_utterances_of_a_span_its_text_may_hold_what_the_page_shows_there(
    place: tuple[int, ...], text: str, span: tuple[int, int] | None
) -> None:
    asked, says = schema("labels-dialogue"), ("hello there", "how are you", "you too")
    item = read_item(asked, {"chat": [{"who": "Ann", "says": one} for one in says]})
    start, start_offset, end, end_offset = place
    value = {
        "start": str(start), "startOffset": start_offset, "end": str(end), "endOffset": end_offset, "text": text,
        "paragraphlabels": ["place"],
    }  # fmt: skip
    found = decode(asked, [{"id": 1, "result": [{"from_name": "entity", "value": value}]}], item)
    assert found == (span and {"entity": [(*span, 1, 1.0)]})


def test_in_html_places_are_text_nodes_as_a_browser_counts() -> None:
    page = read_page("<p>😀 Ann<br>in <b>Rome</b></p>\n<p>x</p><script>no()</script>")
    assert page.text == "😀 Ann\nin Rome\n\n\nx"
    wrote = page.write(page.text.index("Rome"), page.text.index("Rome") + 4)
    assert wrote == {
        "start": "/p[1]/b[1]/text()[1]", "end": "/p[1]/b[1]/text()[1]", "startOffset": 0, "endOffset": 4,
        "globalOffsets": {"start": 9, "end": 13},  # code points
    }  # fmt: skip
    ann = page.write(2, 5)
    assert (ann["startOffset"], ann["endOffset"], ann["start"]) == (3, 6, "/p[1]/text()[1]")
    assert page.at("/p[1]/text()[2]", 0) == page.text.index("in")
    assert page.at("/p[9]/text()[1]", 0) is None
    assert page.at_global(9) == page.text.index("Rome")
    assert page.at_global(999) is None


def test_a_place_in_html_is_known_by_its_global_offsets_too() -> None:
    data = {"page": "<p>Ann <i>lives</i> in <b>Rome</b></p>"}
    value = {
        "start": "/nowhere",
        "end": "/nowhere",
        "globalOffsets": {"start": 13, "end": 17},
        "hypertextlabels": ["place"],
    }
    assert target("labels-html", data, [{"from_name": "entity", "value": value}]) == [(13, 17, 1, 1.0)]


@pytest.mark.parametrize(
    "page",
    ["<p> <br/></p>", "<html><head><title>t</title></head></html>", "<html><body>a</body><body>b</body></html>"],
)
def test_html_without_text_is_no_task(page: str) -> None:
    with pytest.raises(UserError, match="HTML without text"):
        read_item(schema("labels-html"), {"page": page})
