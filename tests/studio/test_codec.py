import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import UserError
from backend.problems.schema import Item, Output
from backend.studio.codec import decode, encode_prediction, encode_result, read_item
from backend.studio.schema import parse_schema
from tests.studio.servers import CONFIG, answer

SCHEMA = parse_schema(CONFIG)
ITEM = Item.of("a text")
LABELS = SCHEMA.controls[0].labels


def annotation(
    label: str | None, *, who: Any = 1, at: str = "2026-01-01", cancelled: bool = False, n: int = 1
) -> dict[str, Any]:
    result = [] if label is None else answer(label)
    return {"id": n, "completed_by": who, "updated_at": at, "was_cancelled": cancelled, "result": result}


def target(*annotations: dict[str, Any]) -> list[float] | None:
    decoded = decode(SCHEMA, annotations)
    return None if decoded is None else [round(float(x), 4) for x in decoded["topic"]]


@pytest.mark.parametrize("text", ["upload/1/secret.txt", "https://example.com/x", "/etc/passwd", "s3://b/k", " é\n"])
def test_a_text_is_a_text_whatever_it_looks_like(text: str) -> None:
    assert read_item(SCHEMA, {"text": text, "other": 1}) == Item.of(text)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("Text", "a \ud800"),
        ("HyperText", "<p>a \udc00</p>"),
        ("Paragraphs", [{"author": "Ann", "text": "a"}, {"author": "Bob", "text": "\ud83d"}]),
        ("Paragraphs", [{"author": "\ude00", "text": "a"}]),
        ("List", [{"id": "1", "title": "\ud83d"}]),
        ("List", [{"id": "\ud83d", "title": "a"}]),
    ],
)
def test_half_a_surrogate_pair_is_no_text(tag: str, value: Any) -> None:
    asked = parse_schema(f'<View><{tag} name="t" value="$t"/><TextArea name="a" toName="t"/></View>')
    with pytest.raises(UserError, match="'t'"):
        read_item(asked, {"t": value})


@pytest.mark.parametrize(
    "data", [{}, {"text": None}, {"text": True}, {"text": math.nan}, {"text": ["a"]}, {"text": " \n"}, {"Text": "a"}]
)
def test_a_task_without_text_says_which_field(data: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="'text'"):
        read_item(SCHEMA, data)


@pytest.mark.parametrize(("value", "text"), [(5, "5"), (12.0, "12"), (-0.5, "-0.5"), (10**20, "1" + 20 * "0")])
def test_a_number_is_read_as_it_is_shown(value: float, text: str) -> None:
    """An import of a table makes numbers of a column that holds nothing else."""
    assert read_item(SCHEMA, {"text": value}).text == text


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), st.floats(allow_nan=True), st.text())
def test_decoding_a_prediction_as_annotation_gives_back_its_label(
    weights: list[float], score: float, version: str
) -> None:
    probs = np.array(weights, np.float32) + np.float32(1e-3)
    probs /= probs.sum()
    prediction = encode_prediction(SCHEMA, {"topic": Output(probs)}, ITEM, score, version)
    decoded = decode(SCHEMA, [{"result": json.loads(json.dumps(prediction["result"])), "completed_by": 1}])
    assert decoded is not None
    assert int(np.argmax(decoded["topic"])) == int(np.argmax(probs))
    assert 0 <= prediction["score"] <= 1
    assert prediction["result"][0]["score"] == pytest.approx(float(probs.max()))


@pytest.mark.parametrize(
    "outputs",
    [{}, {"topic": Output(None, "too long")}, {"topic": Output(np.array([math.nan, 0, 1], np.float32))}],
)
def test_where_nothing_can_be_said_the_prediction_is_still_valid(outputs: dict[str, Output]) -> None:
    prediction = encode_prediction(SCHEMA, outputs, ITEM, math.nan, "v1")
    assert prediction == {"result": [], "score": 1.0, "model_version": "v1"}


def test_regions_are_valid_for_the_sdk() -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    regions = encode_result(SCHEMA, {"topic": Output(np.array([0.2, 0.5, 0.3], np.float32))}, ITEM)
    assert LabelInterface(CONFIG).validate_prediction({"result": regions, "score": 0.1, "model_version": "v1"})
    assert regions[0]["value"] == {"choices": ["tech"]}


def test_majority_wins_and_ties_stay_ties() -> None:
    assert target(annotation("art", who=1), annotation("art", who=2), annotation("tech", who=3)) == [0, 0, 1]
    assert target(annotation("art", who=1), annotation("tech", who=2)) == [0, 0.5, 0.5]


def test_only_the_newest_answer_of_each_annotator_counts() -> None:
    old, new = annotation("art", at="2026-01-01", n=9), annotation("tech", at="2026-01-02", n=2)
    assert target(new, old) == target(old, new) == [0, 1, 0]


def test_cancelled_empty_unknown_and_foreign_answers_are_no_votes() -> None:
    foreign = annotation("art", who=5)
    foreign["result"][0]["from_name"] = "another"
    useless = [
        annotation("art", cancelled=True), annotation(None, who=2), annotation("cooking", who=3),
        {"id": 7, "result": None}, {"id": 8, "result": "art"}, {"id": 9, "result": [1, {"value": 2}]}, foreign,
    ]  # fmt: skip
    assert target() is None
    assert target(*useless) is None
    assert target(*useless, annotation("art", who=4)) == [0, 0, 1]


TEXT = '<Text name="text" value="$text"/>'
OTHERS = {
    TEXT + '<Labels name="q" toName="text"><Label value="a"/></Labels>': [],
    TEXT + '<Labels name="q" toName="text" question="$ask"><Label value="a"/></Labels>': {"spans": [], "none": 1.0},
    TEXT + '<Choices name="q" toName="text" choice="multiple"><Choice value="a"/></Choices>': [0],
    TEXT + '<Text name="ask" value="$ask"/><Pairwise name="q" toName="text,ask"/>': [0.5, 0.5],
}


@pytest.mark.parametrize("config", OTHERS)
@pytest.mark.parametrize(
    "result",
    [
        [{"from_name": "before", "to_name": "text", "type": "labels", "value": {"start": 0, "end": 1}}],
        [{"from_id": "x", "to_id": "y", "type": "relation", "direction": "right"}],
    ],
)
def test_results_of_a_control_with_another_name_are_no_empty_answer(config: str, result: list[dict[str, Any]]) -> None:
    asked = parse_schema(f"<View>{config}</View>")
    item = read_item(asked, {"text": "a text", "ask": "what?"})
    nothing = decode(asked, [{"id": 1, "result": []}], item)
    assert nothing is not None
    assert np.asarray(nothing["q"]).tolist() == OTHERS[config]
    assert decode(asked, [{"id": 1, "result": result}], item) is None


def test_a_comment_alone_does_not_say_that_there_is_nothing_else() -> None:
    marks = '<Labels name="mark" toName="text"><Label value="a"/></Labels><TextArea name="comment" toName="text"/>'
    asked = parse_schema(f"<View>{TEXT}{marks}</View>")
    item = read_item(asked, {"text": "a text"})
    comment = [{"from_name": "comment", "to_name": "text", "type": "textarea", "value": {"text": ["cannot tell"]}}]
    assert decode(asked, [{"id": 1, "result": []}], item) == {"mark": []}
    assert decode(asked, [{"id": 1, "result": comment}], item) == {"comment": ("cannot tell",)}


def test_a_skip_takes_back_nothing_that_the_same_annotator_answered() -> None:
    assert target(annotation("art"), annotation(None, cancelled=True, at="2026-02-01", n=2)) == [0, 0, 1]


def test_annotators_without_an_account_are_persons_of_their_own() -> None:
    votes = [annotation("art", who=None, n=1), annotation("art", who=None, n=2), annotation("tech", who={"id": 3})]
    assert target(*votes) == [0, 0, 1]


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([*LABELS, "?"]), st.booleans()), max_size=8))
def test_a_target_is_a_distribution_or_none(votes: list[tuple[int, str, bool]]) -> None:
    given_ = [annotation(label, who=who, cancelled=skip, n=i) for i, (who, label, skip) in enumerate(votes)]
    decoded = decode(SCHEMA, given_)
    newest = {who: label for who, label, skip in votes if not skip}
    assert (decoded is None) == (set(newest.values()) <= {"?"})
    if decoded:
        assert decoded["topic"].sum() == pytest.approx(1)
        assert decoded["topic"].dtype == np.float32
