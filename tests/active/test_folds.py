"""Folds: by turns, and a text's copies are all in one."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.folds import folds_of, out_of_fold
from backend.active.head import cross_validated_logits, fit_linear_head
from backend.active.multilabel import fit_sigmoid_head, folded_logits, sigmoid

Said = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # features, targets -> logits, of which


def by_rest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return out_of_fold(x, lambda rest, out: fit_linear_head(x[rest], y[rest], seed=0).logits(x[out]), seed=0)


def in_order(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits = cross_validated_logits(x, y, seed=0)
    return logits, np.arange(len(logits))


def by_label(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return folded_logits(x, y, seed=0)


SAID = pytest.mark.parametrize("said", [by_rest, in_order, by_label])


@given(st.integers(0, 30), st.integers(1, 6))
def test_without_copies_rows_take_turns(n: int, k: int) -> None:
    rows = np.random.default_rng(n).normal(size=(n, 3))
    assert folds_of(rows, k).tolist() == [at % min(n, k) for at in range(n)]


def test_without_copies_the_folds_are_those_of_a_permutation_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(23, 4)).astype(np.float32), np.eye(3)[rng.integers(3, size=23)]
    order = np.random.default_rng(0).permutation(23)
    (ordered, _), (logits, at) = in_order(x, y), by_label(x, y)
    assert at.tolist() == order.tolist()
    for number in range(5):
        out = order % 5 == number
        assert np.array_equal(ordered[out], fit_linear_head(x[~out], y[~out], seed=0).logits(x[out]))
        turn = np.arange(23) % 5 == number
        rest = order[~turn]
        assert np.array_equal(logits[turn], fit_sigmoid_head(x[rest], y[rest]).logits(x[order[turn]]))


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 6))
def test_copies_are_in_one_fold_and_texts_take_turns(texts: list[int], k: int) -> None:
    rows = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    fold = folds_of(rows[texts], k).tolist()
    distinct = list(dict.fromkeys(texts))
    assert [fold[texts.index(text)] for text in distinct] == [at % min(len(distinct), k) for at in range(len(distinct))]
    assert fold == [fold[texts.index(text)] for text in texts]
    assert len(set(folds_of(np.array([[0.0], [-0.0]]), k))) == 1


@SAID
def test_of_answers_by_chance_nothing_is_known_though_each_text_is_there_three_times(said: Said) -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(60, 32)), 3, axis=0).astype(np.float32)
    y = np.repeat(np.eye(3)[rng.integers(3, size=60)], 3, axis=0)
    logits, at = said(x, y)
    assert sorted(at) == list(range(180))
    assert (logits.argmax(axis=1) == y[at].argmax(axis=1)).mean() < 0.5


@SAID
def test_nothing_is_said_of_copies_of_a_single_text(said: Said) -> None:
    x, y = np.ones((4, 5), np.float32), np.eye(2)[[0, 1, 0, 1]]
    assert [len(part) for part in said(x, y)] == [0, 0]


@SAID
def test_an_example_is_judged_by_heads_that_know_all_other_folds(said: Said) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(23, 4)).astype(np.float32), np.eye(3)[rng.integers(3, size=23)]
    before, at = said(x, y)
    assert sorted(at) == list(range(23))
    known = np.zeros((23, 23), bool)  # whether the head that judged one was fitted to the other
    for other in range(23):
        changed = y.copy()
        changed[other] = np.roll(y[other], 1)
        known[at, other] = np.abs(sigmoid(said(x, changed)[0]) - sigmoid(before)).max(axis=1) > 0
    fold = [tuple(np.flatnonzero(~row)) for row in known]
    assert all(one in fold[one] for one in range(23))
    assert sorted(map(len, set(fold))) == [4, 4, 5, 5, 5]
