"""Several answers, trees and taxonomies: what is a label, what an annotation says, what is suggested."""

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
NAMES = [
    "choices-multiple", "choices-multiple-required", "choices-tree", "choices-tree-multiple", "taxonomy",
    "taxonomy-leaves",
]  # fmt: skip
ITEM = Item.of("a text")
TREE = [["sport"], ["sport", "ball"], ["sport", "water"], ["food"], ["food", "soup"], ["music"]]


def config(name: str) -> str:
    return (CONFIGS / f"{name}.xml").read_text()


def control(name: str):
    return parse_schema(config(name)).controls[0]


def result(value: Any, kind: str = "choices") -> list[dict[str, Any]]:
    return [{"from_name": "topic", "to_name": "text", "type": kind, "value": {kind: value}}]


def target(name: str, *results: Any) -> dict[str, float] | None:
    """The shares of the labels that have one, of annotators with these results."""
    annotations = [{"id": n, "completed_by": n, "result": r} for n, r in enumerate(results)]
    decoded = decode(parse_schema(config(name)), annotations, ITEM)
    if decoded is None:
        return None
    shares = decoded["topic"]
    return {k: round(float(s), 3) for k, s in zip(control(name).labels, shares, strict=True) if s > 0}


def output(name: str, *labels: str, confidence: float = 0.7) -> Output:
    answer = np.array([label in labels for label in control(name).labels], np.float32)
    return Output(answer, answer=answer, confidence=confidence)


# -------------------------------------------------------------------------------------------------------------- labels
def test_labels_descriptions_and_kind() -> None:
    flat = control("choices-multiple")
    assert flat.kind == "choices-multiple"
    assert flat.labels == ("sport", "food", "music")
    assert flat.descriptions == ("a game", "Cooking", "music")
    assert flat.options == {"type": "choices", "empty": True}
    assert control("choices-multiple-required").options == {"type": "choices"}


def test_a_tree_has_the_labels_that_an_annotator_can_tell_apart() -> None:
    single, several = control("choices-tree"), control("choices-tree-multiple")
    assert (single.kind, several.kind) == ("choices-tree", "choices-multiple")
    assert single.labels == ("sport", "sport / ball", "sport / water", "food / soup", "music")
    assert several.labels == ("sport / ball", "sport / water", "food / soup", "music")


def test_without_allow_nested_only_the_top_is_a_label() -> None:
    plain = config("choices-tree").replace('allowNested="true"', "")
    assert parse_schema(plain).controls[0].labels == ("sport", "food", "music")
    assert parse_schema(plain).controls[0].kind == "choices"


def test_a_taxonomy_has_paths_as_labels_however_they_are_shown() -> None:
    whole, leaves = control("taxonomy"), control("taxonomy-leaves")
    assert whole.labels[:3] == ("sport", "sport / ball", "sport / water")
    assert whole.options["paths"][4] == ["food", "soup"]
    assert whole.descriptions[1] == "sport / Ball games"
    assert whole.descriptions[4] == "hot and liquid"
    assert leaves.labels == ("sport / ball", "sport / water", "food / soup", "music")
    assert leaves.options["most"] == 2
    assert "empty" not in leaves.options
    looks = config("taxonomy").replace('pathSeparator=" > " showFullPath="true"', 'placeholder="choose"')
    assert parse_schema(looks).hash == parse_schema(config("taxonomy")).hash


def test_paths_that_read_alike_are_different_labels() -> None:
    text = (
        '<Taxonomy name="t" toName="x"><Choice value="a / b"/><Choice value="a"><Choice value="b"/></Choice></Taxonomy>'
    )
    labels = parse_schema(f'<View><Text name="x" value="$x"/>{text}</View>').controls[0].labels
    assert len(set(labels)) == 3


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('perRegion="true"', "perRegion"),
        ('perItem="true"', "perItem"),
        ('labeling="true"', "labeling"),
        ('apiUrl="http://x"', "apiUrl"),
        ('value="$tree"', "value"),
    ],
)
def test_a_taxonomy_that_is_something_else_is_refused(more: str, named: str) -> None:
    with pytest.raises(UnsupportedConfig, match=named):
        parse_schema(config("taxonomy").replace("<Taxonomy ", f"<Taxonomy {more} "))


# --------------------------------------------------------------------------------------------------------- annotations
def test_votes_become_shares() -> None:
    assert target("choices-multiple", result(["sport", "food"])) == {"sport": 1, "food": 1}
    assert target("choices-multiple", result(["sport", "food"]), result(["food"])) == {"sport": 0.5, "food": 1}
    third = target("choices-multiple", result(["sport"]), result(["food"]), [])
    assert third == {"sport": pytest.approx(1 / 3, abs=1e-3), "food": pytest.approx(1 / 3, abs=1e-3)}


def test_an_empty_answer_says_that_no_label_fits_where_that_can_be_said() -> None:
    assert target("choices-multiple", []) == target("choices-multiple", result([])) == {}
    assert target("taxonomy", []) == {}
    assert target("choices-multiple-required", []) is None
    assert target("taxonomy-leaves", []) is None
    assert target("choices-tree", []) is None
    two = config("choices-multiple").replace(
        "</View>", '<Choices name="b" toName="text"><Choice value="x"/><Choice value="y"/></Choices></View>'
    )
    other = [{"from_name": "b", "to_name": "text", "type": "choices", "value": {"choices": ["x"]}}]
    assert set(decode(parse_schema(two), [{"result": other}], ITEM) or {}) == {"b"}


def test_unknown_labels_and_broken_regions_are_no_answer() -> None:
    for broken in (
        result(["cooking"]), result(None), result(3), result({"a": 1}),
        [{"from_name": "topic"}], [{"from_name": "topic", "value": 3}],
    ):  # fmt: skip
        assert target("choices-multiple", broken) is None
        assert target("taxonomy", broken) is None
    assert target("choices-multiple", result([["sport", "ball"]])) is None
    assert target("choices-multiple", None) is None
    assert target("choices-multiple", "sport") is None
    assert target("choices-multiple", result(["cooking", "sport", 4])) == {"sport": 1}
    assert target("taxonomy", result([["sport", "tennis"], ["sport", 3], ["food", "water"]], "taxonomy")) == {
        "food / water": 1
    }


def test_flat_choices_may_come_as_paths_of_one() -> None:
    """As Label Studio writes them with ``allowNested`` where no choice is inside another."""
    assert target("choices-multiple", result([["sport"], ["music"]])) == {"sport": 1, "music": 1}
    one = parse_schema(config("choices-multiple").replace('choice="multiple"', 'allowNested="true"'))
    assert one.controls[0].kind == "choices"
    (shares,) = decode(one, [{"id": 1, "result": result([["music"]])}], ITEM).values()
    assert shares.tolist() == [0, 0, 1]


def test_a_tree_reads_its_leaves() -> None:
    assert target("choices-tree", result([["sport", "ball"]])) == {"sport / ball": 1}
    assert target("choices-tree", result([["sport"], ["sport", "ball"], ["sport", "water"]])) == {"sport": 1}
    assert target("choices-tree", result([["food"], ["food", "soup"]])) == {"food / soup": 1}
    assert target("choices-tree", result([["sport"]])) == {"sport": 1}
    assert target("choices-tree", result(["soup"])) == {"food / soup": 1}
    assert target("choices-tree", result([["sport", "ball"], ["music"]])) is None
    assert target("choices-tree-multiple", result([["sport", "ball"], ["music"]])) == {"sport / ball": 1, "music": 1}
    assert target("choices-tree-multiple", result([["sport"]])) == {"sport / ball": 1, "sport / water": 1}
    assert target("choices-tree-multiple", result([["sport"], ["sport", "ball"]])) == {"sport / ball": 1}


def test_a_taxonomy_reads_each_path_for_itself() -> None:
    both = result([["sport"], ["sport", "ball"]], "taxonomy")
    assert target("taxonomy", both) == {"sport": 1, "sport / ball": 1}
    assert target("taxonomy-leaves", both) == {"sport / ball": 1}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["sport", "ball", "", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "taxonomy"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(NAMES), JSON, JSON)
def test_whatever_a_region_holds_it_is_read_or_ignored(name: str, value: Any, more: Any) -> None:
    regions = [
        {"from_name": "topic", "type": "choices", "value": value},
        {"from_name": "topic", "value": {"choices": more, "taxonomy": more}},
        more,
    ]
    decoded = decode(parse_schema(config(name)), [{"result": regions}], ITEM)
    if decoded is not None:
        assert decoded["topic"].shape == (len(control(name).labels),)
        assert 0 < decoded["topic"].max() <= 1


# --------------------------------------------------------------------------------------------------------- suggestions
@given(st.sampled_from(["choices-multiple", "choices-multiple-required", "taxonomy", "taxonomy-leaves"]), st.data())
def test_decoding_a_suggestion_gives_back_its_labels(name: str, data: st.DataObject) -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    labels = data.draw(st.sets(st.sampled_from(control(name).labels), min_size=1))
    said = encode_prediction(parse_schema(config(name)), {"topic": output(name, *labels)}, ITEM, 0.2, "v1")
    assert LabelInterface(config(name)).validate_prediction(json.loads(json.dumps(said)))
    assert [r["score"] for r in said["result"]] == [0.7]
    assert target(name, said["result"]) == dict.fromkeys(labels, 1) | {}


@pytest.mark.parametrize("name", NAMES)
def test_without_an_answer_nothing_is_suggested(name: str) -> None:
    schema = parse_schema(config(name))
    for silent in (Output(reason="too long"), output(name), Output(answer=np.full(9, np.nan))):
        if control(name).kind == "choices-multiple":
            assert encode_result(schema, {"topic": silent}, ITEM) == []


def test_of_a_nested_tree_nothing_is_suggested_because_it_could_not_be_stored() -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    stored = {"result": result([["sport", "ball"]]), "score": 0.1, "model_version": "v1"}
    assert not LabelInterface(config("choices-tree")).validate_prediction(stored)
    for name in ("choices-tree", "choices-tree-multiple"):
        assert encode_result(parse_schema(config(name)), {"topic": output(name, "music")}, ITEM) == []
