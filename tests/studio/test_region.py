"""A label for each marked span: what an annotation says, and what is suggested of the spans that are suggested."""

import numpy as np
import pytest

from backend.problems.schema import Output
from backend.studio.codec import decode, encode_prediction, encode_result, read_item
from backend.studio.schema import parse_schema, read_config
from tests.studio.test_spans import CONFIGS, said

CONFIG = (CONFIGS / "labels-with-choices.xml").read_text()
SCHEMA = parse_schema(CONFIG)
DATA = {"text": "😀 Ann hates Rome"}
ITEM = read_item(SCHEMA, DATA)
TOKENS = {
    "offsets": np.array([[0, 1], [2, 5], [6, 11], [12, 16]]),
    "logits": np.array([[0, 0], [2, 0], [0, 0], [0, 1.0]]),
}
OUTPUTS = {"entity": said((2, 5, 0), (12, 16, 1)), "feeling": Output(extra=TOKENS)}


def test_the_kind_and_its_labels() -> None:
    feeling = SCHEMA.controls[1]
    assert (feeling.kind, feeling.labels, feeling.options) == ("choices-region", ("good", "bad"), {"type": "choices"})


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('choice="multiple"', "several answers"),
        ('allowNested="true"', "several answers"),
        ('choice="some"', 'choice="some"'),
        ('value="$options"', "outside the config"),
        ('apiUrl="http://x"', "outside the config"),
        ('perItem="true"', "perItem"),
    ],
)
def test_what_else_may_be_asked_of_a_region_is_refused(more: str, named: str) -> None:
    found = read_config(CONFIG.replace('choice="single"', more))
    assert [control.name for control in found.schema.controls] == ["entity"]
    assert named in found.left_out[0]


def test_each_suggested_span_has_its_label_under_its_own_id() -> None:
    result = encode_result(SCHEMA, OUTPUTS, ITEM)
    spans, feelings = result[:2], result[2:]
    assert [r["value"].get("choices") for r in feelings] == [["good"], ["bad"]]
    assert [r["score"] for r in feelings] == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))])
    for span, feeling in zip(spans, feelings, strict=True):
        assert feeling["id"] == span["id"]
        assert {k: feeling["value"][k] for k in ("start", "end", "text")} == {
            k: span["value"][k] for k in ("start", "end", "text")
        }
        assert "labels" not in feeling["value"]


def test_submitted_unchanged_it_means_the_same() -> None:
    result = encode_result(SCHEMA, OUTPUTS, ITEM)
    assert decode(SCHEMA, [{"result": result}], ITEM) == {
        "entity": [(2, 5, 0, 1.0), (12, 16, 1, 1.0)],
        "feeling": [(2, 5, 0, 1.0), (12, 16, 1, 1.0)],
    }


def test_a_label_is_not_shown_without_its_span() -> None:
    unsure = {**OUTPUTS, "entity": Output(answer=OUTPUTS["entity"].answer, extra={"scores": [0.2, 0.9]})}
    shown = encode_prediction(SCHEMA, unsure, ITEM, 0.5, "v", above=0.5)["result"]
    assert [(r["from_name"], r["value"]["text"]) for r in shown] == [("entity", "Rome"), ("feeling", "Rome")]


SOME = CONFIG.replace('perRegion="true"', 'perRegion="true" whenTagName="entity" whenLabelValue="{}"')


@pytest.mark.parametrize(
    ("when", "asked"), [("person", ["Ann"]), ("org,place", ["Rome"]), ("place,person", ["Ann", "Rome"]), ("org", [])]
)
def test_nothing_is_said_of_a_span_of_which_it_is_not_asked(when: str, asked: list[str]) -> None:
    some = parse_schema(SOME.format(when))
    assert some.controls[1].options == {"type": "choices", "when": when}
    said = [r for r in encode_result(some, OUTPUTS, ITEM) if r["from_name"] == "feeling"]
    assert [r["value"]["text"] for r in said] == asked


def test_a_label_that_holds_a_comma_is_one_label() -> None:
    config = SOME.format("a, b").replace('value="person"', 'value="a, b"')
    result = encode_result(parse_schema(config), OUTPUTS, ITEM)
    assert [r["value"]["text"] for r in result if r["from_name"] == "feeling"] == ["Ann"]


def test_annotators_shares_of_a_place_and_nothing_without_a_region() -> None:
    one, two = (
        [{"from_name": "feeling", "value": {"start": 2, "end": 5, "choices": [label]}}] for label in ("good", "bad")
    )
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate([one, two, [], one])]
    assert decode(SCHEMA, annotations, ITEM) == {"entity": [], "feeling": [(2, 5, 0, 2 / 3), (2, 5, 1, 1 / 3)]}
