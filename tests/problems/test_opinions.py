"""Second opinions: what the version before answers to tasks without a label, and what a version makes of them."""

import numpy as np
import pytest

from backend.active.disagreement import least_errors
from backend.active.head import LinearHead
from backend.models.recipe import Recipe
from backend.problems.choices import SingleChoice
from backend.problems.guessing import guesses
from backend.problems.opinions import heeding, opinions, wants_opinions
from backend.problems.pairwise import Pairwise
from backend.problems.schema import Control, Example, Item, Schema
from backend.problems.training import measured
from backend.problems.version import Version
from backend.problems.writing import Writing
from tests.fakes import WordEncoder

CHOICE = Control("asks", "choices", "text", "text", ("a", "b"), ("a", "b"))
STARS = Control("stars", "rating", "text", "text", ("1", "2"), ("1", "2"))
HEAD = LinearHead(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))


def version(examples: int | None, *controls: Control) -> Version:
    meta = {} if examples is None else {"examples": examples}
    return Version(WordEncoder(), dict.fromkeys([c.name for c in controls], HEAD), Schema(controls), meta)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("learned", "labels", "wanted"),
    [(None, 10, False), (59, 100, False), (60, 100, True), (120, 100, True), (0, 0, False)],
)
def test_a_version_that_knew_most_of_the_labels_is_asked(learned: int | None, labels: int, wanted: bool) -> None:
    assert wants_opinions(version(learned, CHOICE), labels) is wanted
    assert not wants_opinions(version(learned, STARS), labels)


def test_it_answers_for_the_controls_that_heed_it() -> None:
    both = version(10, CHOICE, STARS)
    assert [c.name for c in heeding(both.schema)] == ["asks"]
    found = opinions(version(10, CHOICE), [7, 9], [Item.of("x"), Item.of("y")], np.array([[3, 0], [0, 1]], np.float32))
    assert [(e.task_id, e.item.text, e.targets["asks"].tolist()) for e in found] == [(7, "x", [1, 0]), (9, "y", [0, 1])]
    assert all(0 < e.weight < 1 for e in found)
    assert not Pairwise().opinions


def test_they_make_less_sure_and_measure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.stack([np.arange(400) % 2, 1 - np.arange(400) % 2], axis=1).astype(np.float32) * 6

    def read(self, control, head, model, items):
        return np.stack([logits[int(i.text)] for i in items]) if items else np.zeros((0, 2), np.float32)

    monkeypatch.setattr(SingleChoice, "read", read)
    answers = np.where(np.arange(400) % 5, logits.argmax(axis=1), 1 - logits.argmax(axis=1))  # one in five disagrees
    second = [Example(n, Item.of(f"{n}"), {"asks": np.eye(2, dtype=np.float32)[c]}, 0.5) for n, c in enumerate(answers)]
    held = [Example(n, Item.of(f"{n}"), {"asks": np.eye(2, dtype=np.float32)[logits[n].argmax()]}) for n in range(9)]
    schema, encoder = Schema((CHOICE,)), WordEncoder()
    (plain, alone), (doubted, heard) = (
        measured(encoder, schema, {"asks": HEAD}, held, None, given)  # type: ignore[arg-type]
        for given in ([], second)
    )
    assert alone == heard
    assert heard["asks"]["n"] == 9
    assert plain["asks"].temperature <= 1.1
    assert doubted["asks"].probs(logits).max(axis=1).mean() == pytest.approx(1 - least_errors(0.2, 2), abs=0.01)


def test_nothing_is_written_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        pytest.fail("a text was written for an opinion on a choice")

    monkeypatch.setattr(Writing, "read", write)
    asked = version(100, CHOICE, Control("reply", "textarea", "text", "text", (), ()))
    items, rows = [Item.of("x")], np.array([[3, 0]], np.float32)
    (opinion,) = opinions(asked, [7], items, rows)
    (guess,) = guesses(asked, [7], items, rows, Recipe(self_training=0.5), 1)
    assert set(opinion.targets) == set(guess.targets) == {"asks"}
