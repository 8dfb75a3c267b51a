"""Advice is one sentence with its numbers, and no witness alone says stop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from backend.active.metrics import Interval
from backend.active.stopping import advise, kappa

classes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40)


@given(classes)
def test_kappa_is_cohens(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    if len(set(first) | set(second)) > 1:
        assert kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert kappa(first, first) == 1
    assert kappa(first, second) == pytest.approx(kappa(second, first))


def test_kappa_of_nothing_and_of_different_lengths() -> None:
    assert kappa([], []) == 1
    with pytest.raises(ValueError, match="same examples"):
        kappa([1], [1, 2])


def say(value: float, **changes: object) -> tuple[str, str]:
    values = {
        "more": 100,
        "kappas": [0.95, 0.97],
        "uncertainty": 0.1,
        "trained": True,
        "labels": 200,
        "left": 500,
        **changes,
    }
    advice = advise(Interval(value, value / 2, 2 * value), **values)
    return advice.action, advice.sentence


def test_a_person_understands_it() -> None:
    assert say(0.03, kappas=[0.7]) == (
        "keep labelling",
        "Keep labelling: the next 100 labels should add about 3 points (2 to 6).",
    )
    assert say(0.005)[1].startswith("You can stop: the next 100 labels should add about 0 points (0 to 1)")


def test_a_gain_that_may_be_anything_is_told_by_its_ends_and_stops_nobody() -> None:
    first = {"more": 100, "kappas": [0.95, 0.97], "uncertainty": 0.1, "trained": True, "labels": 50, "left": 500}
    advice = advise(Interval(0.005, -0.02, 0.13), **first)
    assert advice.action == "keep labelling"
    assert advice.sentence == "Keep labelling: what the next 100 labels add may be -2 to 13 points so far."
    assert advise(Interval(0.005, -0.02, 0.11), **first).action == "stop"
    assert advise(Interval(0.005, -0.02, 0.13), **{**first, "left": 0}).action == "stop"


def test_stop_takes_a_small_gain_and_stable_answers() -> None:
    assert say(0.004)[0] == "stop"
    assert say(0.004, kappas=[0.97])[0] == "nearly done"
    assert say(0.004, kappas=[0.97, 0.8])[0] == "nearly done"
    assert say(0.03)[0] == "nearly done"
    assert say(0.03, uncertainty=0.6)[0] == "keep labelling"
    assert say(0.2, left=0)[0] == "stop"
    assert say(0.2, left=0, trained=False)[0] == "stop"
    assert say(0.2, left=0, trained=False, labels=0) == (  # an empty project, or one of which all was skipped
        "keep labelling",
        "There is no task to label: import some, or label those that were skipped.",
    )
    assert say(0.0, trained=False)[0] == "keep labelling"


@given(st.floats(0, 1), st.lists(st.floats(-1, 1), max_size=4), st.none() | st.floats(0, 1), st.booleans())
def test_there_is_always_one_sentence(value: float, kappas: list[float], unsure: float | None, trained: bool) -> None:
    _, sentence = say(value, kappas=kappas, uncertainty=unsure, trained=trained)
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
