"""Spans of all windows of a text compete with each other and with no answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.extractive import IMPOSSIBLE, NULL_SLOPE, Spans, fit_null, span_logits, spans_of, token_spans


def offsets(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.int64)


OUT = (-1, -1)


def test_a_span_is_its_first_and_last_token_against_no_answer_of_its_window() -> None:
    logits = np.array([[9, 9, 2], [1, 10, 7], [3, 20, 7]], np.float32)
    table = span_logits(logits, np.array([False, True, True]), 2)
    assert table.tolist() == [[IMPOSSIBLE] * 2, [9, 19], [21, IMPOSSIBLE]]


def test_the_same_words_in_two_windows_are_one_answer() -> None:
    one = np.array([[0, 0, 0], [0, 0, 0], [2, 2, 0]], np.float32)
    two = np.array([[0, 0, 1], [2, 2, 0]], np.float32)
    spans = spans_of([(one, offsets(OUT, (0, 3), (4, 7))), (two, offsets(OUT, (4, 7)))], 1)
    assert spans.ends.tolist() == [[4, 7], [0, 3]]
    assert spans.logits == pytest.approx([np.logaddexp(4, 3), 0])
    probs = spans.probs(1.0, empty=True)
    assert probs == pytest.approx(np.exp([0, spans.logits[0], 0]) / (2 + np.exp(4) + np.exp(3)))
    assert spans.probs(1.0, empty=False)[0] == 0
    assert spans.probs(1.0, empty=False).sum() == pytest.approx(1)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=6), st.floats(0.2, 5), st.floats(0, 3), st.floats(-3, 3))
def test_which_span_and_whether_there_is_one_are_scaled_apart(
    logits: list[float], temperature: float, slope: float, offset: float
) -> None:
    spans = Spans(np.zeros((len(logits), 2), np.int64), np.array(logits))
    probs = spans.probs(temperature, slope, offset, empty=True)
    assert probs.sum() == pytest.approx(1)
    assert probs[0] == pytest.approx(1 / (1 + np.exp(slope * np.logaddexp.reduce(logits) - offset)))
    assert probs[1:] * np.exp(-np.array(logits) / temperature) == pytest.approx(
        np.full(len(logits), probs[1] * np.exp(-logits[0] / temperature))
    )
    joint = np.exp([0.0, *logits]) / np.exp([0.0, *logits]).sum()
    assert spans.probs(empty=True) == pytest.approx(joint)


def test_whether_there_is_an_answer_is_believed_once_held_out_answers_show_it() -> None:
    slope, offset = fit_null(np.zeros(0), np.zeros(0), 0.5)
    assert (slope, offset) == (pytest.approx(NULL_SLOPE), 0.5)
    told = np.linspace(-6, 6, 40)
    known, _ = fit_null(told, told > 0, 0.0)
    guessed, middle = fit_null(told, np.arange(40) % 2, 0.0)
    assert known > 0.7
    assert guessed < NULL_SLOPE
    assert abs(middle) < 0.1


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=6), st.data())
def test_the_likeness_of_spans_is_the_f1_of_their_characters(found: list[tuple[int, int]], data: st.DataObject) -> None:
    spans = Spans(np.array([(start, start + length) for start, length in found]), np.zeros(len(found)))
    at = data.draw(st.integers(0, len(found) - 1))
    characters = [set(range(start, start + length)) for start, length in found]
    shared = [len(one & characters[at]) / (len(one) + len(characters[at])) for one in characters]
    assert spans.likeness(at) == pytest.approx(2 * np.array(shared))


def test_without_words_only_no_answer_is_left() -> None:
    nothing = spans_of([(np.ones((2, 3), np.float32), offsets(OUT, OUT))], 5)
    assert nothing.probs(1.0, empty=True).tolist() == [1]


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_no_span_is_longer_than_the_limit_or_outside(longest: int, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = offsets(OUT, *((2 * n, 2 * n + 1) for n in range(tokens)), OUT)
    spans = spans_of([(rng.normal(size=(tokens + 2, 3)), places)], longest)
    assert len(spans.ends) == sum(max(0, tokens - n) for n in range(longest))
    lengths = (spans.ends[:, 1] - spans.ends[:, 0] + 1) // 2
    assert ((lengths >= 1) & (lengths <= longest)).all()
    assert (np.diff(spans.logits) <= 0).all()


def test_a_window_that_has_only_a_part_of_the_answer_is_none_that_has_it() -> None:
    one, two = offsets(OUT, (0, 3), (4, 7)), offsets(OUT, (4, 7), (8, 11))
    assert token_spans([one, two], 4, 7) == [(0, 2, 2), (1, 1, 1)]
    assert token_spans([one, two], 5, 10) == [(1, 1, 2)]
    assert token_spans([one, two], 0, 9) == []
    assert token_spans([one, two], 3, 4) == []
    assert token_spans([offsets(OUT, (2, 5))], 0, 9) == [(0, 1, 1)]  # white space around it is no token
