"""A label for each span: what is learned of a place in its surroundings, and how it is measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.problems.region import RegionChoice, label_at, votes
from backend.problems.schema import Control, Example, Item, Output, Schema
from backend.problems.training import train_version
from backend.problems.version import cold_version, load_version

ENTITY = Control("entity", "labels", "text", "text", ("noun",), ("noun",), options={"type": "labels"})
SIZE = Control("size", "choices-region", "text", "text", ("near", "far"), ("near", "far"), options={"type": "choices"})
SCHEMA = Schema((ENTITY, SIZE))
PROBLEM = RegionChoice()


def example(number: int) -> Example:
    """Nouns are ``far`` (1) after "far" and ``near`` (0) else."""
    words, spans, sizes, text = [], [], [], ""
    for at in range(3):
        far = (number * 5 + at * 3) % 4 < 2
        noun = ("man", "city", "river")[(number + at) % 3]
        text += ("far " if far else "the ") + noun + " "
        spans.append((len(text) - len(noun) - 1, len(text) - 1, 0, 1.0))
        sizes.append((*spans[-1][:2], int(far), 1.0))
        words.append(noun)
    targets = {"entity": spans, "size": sizes} if number % 5 else {"entity": spans}
    return Example(number, Item.of(text.strip()), targets)


def test_labels_of_spans_are_learned_beside_the_spans(encoder: Encoder, tmp_path: Path) -> None:
    recipe = Recipe(steps=160, batch_size=16, learning_rate=3e-3, plateau=0.0, seed=1)
    train, held = [example(n) for n in range(40)], [example(n) for n in range(40, 52)]
    meta = train_version(encoder, SCHEMA, train, held, recipe, tmp_path / "v", lambda *_: None)
    assert meta["controls"]["size"]["n"] == sum("size" in e.targets for e in held)
    version = load_version(tmp_path / "v", encoder)
    examples = [e for n in range(60, 80) if "size" in (e := example(n)).targets]
    items = [e.item for e in examples]
    rows, outputs = version.rows_and_outputs(items)
    scores = PROBLEM.scores(SIZE, outputs["size"], [e.targets["size"] for e in examples])
    assert scores["accuracy"] > 0.9
    again = version.outputs(items, rows)["size"]
    assert again[0].extra["logits"] == pytest.approx(outputs["size"][0].extra["logits"], abs=1e-4)
    assert rows.shape[1] == encoder.dim + 1  # the spans' worth; the labels' have none
    assert version.judge.worths(rows)["size"] == pytest.approx(0)


def test_before_any_label_a_place_has_probabilities_and_without_the_field_none(encoder: Encoder) -> None:
    version = cold_version(encoder, SCHEMA)
    (output,) = version.predict([Item.of("the far city")])["size"]
    assert label_at(output, 8, 12).sum() == pytest.approx(1)
    assert label_at(output, 3, 4) == pytest.approx([0.5, 0.5])  # a space: no token
    (silent,) = version.predict([Item.of("far", "other")])["size"]
    assert silent.reason
    assert PROBLEM.quality(SIZE, silent, [(0, 1, 0, 1.0)]) in (0.0, 1.0)


def test_targets_votes_and_quality() -> None:
    target = [(0, 3, 0, 0.5), (0, 3, 1, 0.25), (5, 9, 1, 0.25)]
    assert PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(target)))) == target
    shares = votes(SIZE, target)
    assert {k: v.tolist() for k, v in shares.items()} == {(0, 3): pytest.approx([2 / 3, 1 / 3]), (5, 9): [0, 1]}
    assert PROBLEM.can_fit(SIZE, [target])
    assert not PROBLEM.can_fit(SIZE, [[(0, 3, 1, 1.0)]])
    assert PROBLEM.labels_in(target) == {0, 1}
    assert PROBLEM.quality(SIZE, Output(answer=[(0, 3, 0, 1.0), (5, 9, 0, 1.0)]), target) == 0.5
    assert PROBLEM.quality(SIZE, PROBLEM.sure([(0, 3, 0, 1.0), (5, 9, 1, 1.0)]), target) == 1
    assert PROBLEM.within([(0, 3, 0, 1.0)], [(0, 3, 0, 1.0), (5, 9, 1, 1.0)])
    assert not PROBLEM.kept([(0, 3, 0, 1.0)], [(0, 3, 1, 1.0)])
    assert PROBLEM.scores(SIZE, [Output()], [[]])["accuracy"] == 0
    assert np.isfinite(list(PROBLEM.scores(SIZE, [Output()], [target]).values())).all()


def test_places_that_touch_no_token_teach_nothing_and_stop_nothing(encoder: Encoder, tmp_path: Path) -> None:
    blank = [Example(n, Item.of("a  city"), {"size": [(1, 3, n % 2, 1.0)]}) for n in range(4)]
    spans = [Example(n, e.item, {"entity": e.targets["entity"]}) for n, e in enumerate(map(example, range(8)), 4)]
    recipe = Recipe(steps=5, batch_size=4)
    train_version(encoder, SCHEMA, [*blank, *spans], blank, recipe, tmp_path / "v", lambda *_: None)
    start, head = cold_version(encoder, SCHEMA).heads["size"], load_version(tmp_path / "v", encoder).heads["size"]
    assert np.array_equal(head.weight, start.weight)
