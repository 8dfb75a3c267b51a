"""A version that puts lists in order: from training to a loaded version that answers the same."""

from pathlib import Path

import numpy as np
import pytest

from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.problems.base import problem_for
from backend.problems.schema import Content, Control, Example, Item, Schema
from backend.problems.training import FEWEST, examples_in_update, train_version
from backend.problems.version import cold_version, load_version

CONTROL = Control("order", "ranker", "answers", "answers", (), (), object="list")
STARS = ("1", "2")
OTHER = Control("stars", "rating", "answers", "answers", STARS, STARS, object="list")
SCHEMA = Schema((CONTROL,))
RECIPE = Recipe(steps=60, batch_size=8, learning_rate=3e-3, seed=3)
ORDER = ("who", "tall", "far", "the", "many")  # from best to worst


def example(number: int, **more: np.ndarray) -> Example:
    """Two to four entries; whose first word comes first is better."""
    rng = np.random.default_rng(number)
    places = rng.permutation(5)[: 2 + number % 3]
    texts = tuple(f"{ORDER[at]} {('is', 'was')[number % 2]} {rng.choice(['city', 'river', 'man'])}" for at in places)
    item = Item({"answers": Content(texts, tuple("abcd"[: len(texts)]))})
    return Example(number, item, {"order": (tuple(np.argsort(places).tolist()),), **more})


@pytest.mark.parametrize("held_out", [0, 8])
def test_what_is_learned_is_there_after_loading(encoder: Encoder, tmp_path: Path, held_out: int) -> None:
    train, held = [example(n) for n in range(36)], [example(n) for n in range(36, 36 + held_out)]
    meta = train_version(encoder, SCHEMA, train, held, RECIPE, tmp_path / "v", lambda *_: None)
    assert meta["controls"]["order"]["n"] == held_out
    version = load_version(tmp_path / "v", encoder)
    rows, said = version.rows_and_outputs([e.item for e in train])
    assert rows.shape == (36, encoder.dim + 1)
    assert said["order"] == version.outputs([e.item for e in train], rows)["order"]
    scores = problem_for(CONTROL).scores(CONTROL, said["order"], [e.targets["order"] for e in train])
    assert scores["concordance"] > 0.9
    worth = version.judge.worth(rows)
    assert ((worth > 0) & (worth < 1)).all()
    assert version.base_id != cold_version(encoder, SCHEMA).base_id


def test_an_update_of_so_many_texts_has_fewer_lists_and_as_many_tasks_where_one_text_is_read() -> None:
    lists = [example(n, stars=np.eye(2, dtype=np.float32)[n % 2]) for n in range(12)]  # of three entries on average
    assert examples_in_update(SCHEMA, lists, 24) == 8
    assert examples_in_update(SCHEMA, lists, 16) == 5
    assert examples_in_update(SCHEMA, lists, 6) == FEWEST
    assert examples_in_update(SCHEMA, lists, 3) == 3
    assert examples_in_update(SCHEMA, [], 16) == 16
    assert examples_in_update(Schema((OTHER,)), lists, 16) == 16
    assert examples_in_update(Schema((CONTROL, OTHER)), lists, 16) == 16
    unanswered = Control("note", "choices", "answers", "answers", STARS, STARS, object="list")
    written = Control("why", "textarea", "answers", "answers", (), (), object="list")
    beside = [example(n, why=("a text",)) for n in range(12)]
    assert examples_in_update(Schema((CONTROL, unanswered, written)), beside, 16) == 5


def test_lists_without_an_order_do_not_stop_a_second_question(encoder: Encoder, tmp_path: Path) -> None:
    examples = [example(n, stars=np.eye(2, dtype=np.float32)[n % 2]) for n in range(12)]
    for e in examples[::3]:
        del e.targets["order"]
    schema = Schema((CONTROL, OTHER))
    train_version(encoder, schema, examples, [], Recipe(steps=3, batch_size=4), tmp_path / "v", lambda *_: None)
    said = load_version(tmp_path / "v", encoder).predict([examples[0].item])
    assert len(said["order"][0].answer[0]) == 2
    assert said["stars"][0].answer.sum() == 1


def test_before_any_label_nothing_is_said(encoder: Encoder) -> None:
    (output,) = cold_version(encoder, SCHEMA).predict([example(0).item])["order"]
    assert output.answer is None
    assert output.reason
