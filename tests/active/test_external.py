"""Strategies of scikit-activeml, where it is installed; the sentence, where it is not."""

import sys

import pytest

from backend.active.selection import choose, parse
from tests.active.test_rules import make


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["RandomSampling", "UncertaintySampling", "TypiClust", "BatchBALD", "Clue"])
def test_picks_are_distinct_and_a_longer_queue_begins_with_the_shorter(name: str) -> None:
    pytest.importorskip("skactiveml")
    pool = make(40)
    picks = choose(f"skactiveml:{name}", pool, 50, seed=0).tolist()
    assert sorted(picks) == list(range(40))
    assert choose(f"skactiveml:{name}", pool, 6, seed=0).tolist() == picks[:6]


def test_an_unknown_class_is_refused_with_the_known_ones() -> None:
    pytest.importorskip("skactiveml")
    with pytest.raises(ValueError, match=r"'Best'; known: .*UncertaintySampling"):
        parse("skactiveml:Best")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skactiveml", None)
    with pytest.raises(ValueError, match=r"ls-active\[strategies\]"):
        parse("skactiveml:UncertaintySampling")
