"""Self-training: only what a version is sure of, with less weight than an annotator's answer."""

import numpy as np
import pytest

from backend.active.head import LinearHead
from backend.models.recipe import Recipe
from backend.problems.guessing import guesses, wants_guesses
from backend.problems.schema import Control, Item, Schema
from backend.problems.version import Version
from tests.fakes import WordEncoder

SCHEMA = Schema((Control("asks", "choices", "text", "text", ("a", "b"), ("a", "b")),))
RECIPE = Recipe(self_training=0.9, self_weight=0.5, self_after=100)
LOGITS = np.array([[5, 0], [0.1, 0], [0, 4], [1, 0], [0, 6]], np.float32)  # sure: 0, 2 and 4


def made(recipe: Recipe = RECIPE, most: int = 10) -> list:
    head = LinearHead(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    version = Version(WordEncoder(), {"asks": head}, SCHEMA, {})  # type: ignore[arg-type]
    return guesses(version, [10, 11, 12, 13, 14], [Item.of(text) for text in "vwxyz"], LOGITS, recipe, most)


def test_what_it_is_sure_of_is_taken_with_its_answer_and_less_weight() -> None:
    found = made()
    assert [(e.task_id, e.item.text, e.weight) for e in found] == [(10, "v", 0.5), (12, "x", 0.5), (14, "z", 0.5)]
    assert [e.targets["asks"].tolist() for e in found] == [[1, 0], [0, 1], [0, 1]]


def test_the_first_ones_are_taken_not_the_surest() -> None:
    assert [e.task_id for e in made(most=2)] == [10, 12]


def test_a_higher_confidence_takes_fewer() -> None:
    assert [e.task_id for e in made(Recipe(self_training=0.99))] == [10, 14]
    assert made(Recipe(self_training=0.9999)) == []


@pytest.mark.parametrize(("confidence", "labels", "wanted"), [(0.0, 500, False), (0.9, 99, False), (0.9, 100, True)])
def test_few_labels_are_not_enough(confidence: float, labels: int, wanted: bool) -> None:
    assert wants_guesses(Recipe(self_training=confidence), labels) is wanted
