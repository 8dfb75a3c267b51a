"""Exact match and F1 of answers, as SQuAD 2.0 counts them, and for scripts without spaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.answers import exact, f1, tokens


@pytest.mark.parametrize(
    ("said", "wanted", "score"),
    [
        ("the 10th and 11th centuries", "10th and 11th centuries", 1),
        ("in the 10th century", "10th century", 0.8),
        ("Rollo's", "rollos", 1),
        ("France", "", 0),
        ("", "", 1),
        ("$5.00", "500", 1),
        ("1,000 men", "two men", 0.5),
    ],
)
def test_english_answers_count_as_in_squad(said: str, wanted: str, score: float) -> None:
    assert f1(said, wanted) == f1(wanted, said) == pytest.approx(score)
    assert exact(said, wanted) == (score == 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10世纪和11世纪。", ["10", "世", "纪", "和", "11", "世", "纪"]),
        ("カフェ", list("カフェ")),
        ("กำ", ["ก", "ำ"]),
        ("Ünïted Städte!", ["ünïted", "städte"]),
        ("مدينة كبيرة", ["مدينة", "كبيرة"]),
        ("한국 전쟁", ["한국", "전쟁"]),
        ("the", ["the"]),
        ("?!", ["?!"]),
        (" \n", []),
    ],
)
def test_words_where_there_are_spaces_and_characters_where_there_are_none(text: str, found: list[str]) -> None:
    assert tokens(text) == found


@given(st.text(), st.text())
def test_a_score_is_a_share_and_an_answer_is_as_good_as_itself(one: str, other: str) -> None:
    assert 0 <= f1(one, other) == f1(other, one) <= 1
    assert f1(one, one) == 1
    assert exact(one, other) <= (f1(one, other) == 1)
