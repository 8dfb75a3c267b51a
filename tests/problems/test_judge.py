"""Several controls in one project: where their columns are, and how one priority comes of them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.head import LinearHead
from backend.active.uncertainty import margin
from backend.problems.judge import Judge, Layout, two_classes
from backend.problems.schema import Content, Control, Item, Output, Schema
from backend.problems.version import cold_version
from tests.fakes import WordEncoder


def control(name: str, field: str = "text") -> Control:
    return Control(name, "choices", field, field, ("a", "b"), ("a", "b"))


BOTH = Schema((control("one"), control("two")))
APART = Schema((control("one"), control("two", "title")))


def head(scale: float) -> LinearHead:
    return LinearHead(scale * np.array([[1, 0], [0, 1]], np.float32), np.zeros(2, np.float32))


def test_controls_of_one_text_share_its_features_and_others_have_their_own() -> None:
    assert Layout.of(BOTH, 8).width == 8
    apart = Layout.of(APART, 8)
    assert (apart.width, apart.slices) == (24, {"one": slice(8, 16), "two": slice(16, 24)})


def test_the_priority_is_the_weighted_mean_of_the_controls() -> None:
    rows = np.array([[1, 0], [0, 0]], np.float32)
    judge = Judge(BOTH, {"one": head(1), "two": head(9)}, 2)
    one, two = judge.worths(rows).values()
    assert judge.worth(rows) == pytest.approx((one + two) / 2)
    assert margin(judge.profile(rows)) == pytest.approx(judge.worth(rows), abs=1e-5)
    weighted = Judge(BOTH, judge.heads, 2, {"one": 3.0, "two": 1.0})
    assert weighted.worth(rows) == pytest.approx((3 * one + two) / 4)
    assert Judge(BOTH, judge.heads, 2, {"one": 0.0, "two": 0.0}).worth(rows).tolist() == [0, 0]
    assert judge.mc_head() is None


@given(st.lists(st.floats(0, 1), max_size=20))
def test_two_classes_have_the_worth_as_their_margin(worth: list[float]) -> None:
    assert margin(two_classes(np.array(worth)).reshape(-1, 2)) == pytest.approx(worth, abs=1e-5)


def test_a_task_without_a_field_is_answered_where_the_others_are_there() -> None:
    version = cold_version(WordEncoder(), APART)  # type: ignore[arg-type]
    whole = Item({"text": Content(("some words",)), "title": Content(("a title",))})
    part = Item.of("only a text")
    rows, said = version.rows_and_outputs([part, whole])
    assert said["two"][0] == Output(reason="the task lacks title")
    assert said["one"][0].probs is not None
    assert rows == pytest.approx(version.embed([part, whole]))
    again = version.outputs([part, whole], rows)
    for name in said:
        for one, other in zip(said[name], again[name], strict=True):
            assert (one.probs is None) == (other.probs is None)
            assert one.probs is None or one.probs == pytest.approx(other.probs)
    assert version.judge.worths(rows)["two"][0] == 0  # nothing is to be learned of it there
    assert version.judge.worths(rows)["two"][1] > 0
    assert version.base_id != version.encoder.base_id
    assert cold_version(WordEncoder(), BOTH).base_id == version.encoder.base_id  # type: ignore[arg-type]


contents = st.builds(
    lambda texts, named, source: Content(tuple(texts), tuple(texts) if named else (), source),
    st.lists(st.text(max_size=5), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(["", "<b>x</b>"]),
)


@given(st.dictionaries(st.text(max_size=3), contents, min_size=1, max_size=3))
def test_an_item_survives_json_with_its_key(fields: dict[str, Content]) -> None:
    item = Item(fields)
    again = Item.from_json(json.loads(json.dumps(item.to_json())))
    assert again == item
    assert again.key == item.key
    assert hash(again) == hash(item)


def test_a_plain_text_is_its_own_key_and_a_list_is_not() -> None:
    assert Item.of("a\nb").key == "a\nb" != Item({"text": Content(("a", "b"))}).key


def test_options_are_part_of_the_schema_and_their_absence_is_not() -> None:
    plain = control("one")
    rich = Control("one", "choices", "text", "text", ("a", "b"), ("a", "b"), "paragraphs", ("more",), {"many": True})
    assert "options" not in plain.to_json()
    for given_ in (plain, rich):
        assert Control.from_json(json.loads(json.dumps(given_.to_json()))) == given_
    assert Schema((plain,)).hash != Schema((rich,)).hash
