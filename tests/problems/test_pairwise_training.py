"""A version that compares two texts: from training to a loaded version that answers the same."""

from pathlib import Path

import numpy as np
import pytest

from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.pipeline.decide import Field, Policy, decide, fresh_judge
from backend.problems.base import problem_for
from backend.problems.schema import Content, Control, Example, Item, Schema
from backend.problems.training import train_version
from backend.problems.version import cold_version, load_version

CONTROL = Control("better", "pairwise", "a,b", "one", ("left", "right"), ("left", "right"), more_fields=("two",))
SCHEMA = Schema((CONTROL,))
RECIPE = Recipe(steps=60, batch_size=8, learning_rate=3e-3, seed=3)
ORDER = ("who", "tall", "far", "the")  # from best to worst


def example(number: int) -> Example:
    """The text whose first word comes first is better; each pair both ways round, some of equal texts' words."""
    first, second = [(a, b) for a in range(4) for b in range(4) if a != b][number % 12]
    words = [
        f"{ORDER[at]} {('is', 'was')[number % 2]} {('city', 'river', 'man')[number % 3]}" for at in (first, second)
    ]
    item = Item({"one": Content((words[0],)), "two": Content((words[1],))})
    return Example(number, item, {"better": np.array([first < second, first > second], np.float32)})


@pytest.mark.parametrize("held_out", [0, 8])
def test_what_is_learned_is_there_after_loading(encoder: Encoder, tmp_path: Path, held_out: int) -> None:
    train, held = [example(n) for n in range(36)], [example(n) for n in range(36, 36 + held_out)]
    meta = train_version(encoder, SCHEMA, train, held, RECIPE, tmp_path / "v", lambda *_: None)
    assert meta["controls"]["better"]["n"] == held_out
    version = load_version(tmp_path / "v", encoder)
    rows, said = version.rows_and_outputs([e.item for e in train])
    assert rows.shape == (36, 3 * encoder.dim)
    scores = problem_for(CONTROL).scores(CONTROL, said["better"], [e.targets["better"] for e in train])
    assert scores["accuracy"] > 0.9


def test_close_pairs_are_picked_first(encoder: Encoder) -> None:
    examples = [example(n) for n in range(24)]
    version = cold_version(encoder, SCHEMA)
    assert version.predict([examples[0].item])["better"][0].probs is None
    rows = version.embed([e.item for e in examples])
    labelled = {n: examples[n].targets for n in range(12)}
    field = Field(rows, np.arange(24) >= 12, np.zeros(24, bool), np.arange(24) / 24, labelled)
    judge = fresh_judge(version.judge, field, seed=0)
    picked = decide(judge, field, 4, Policy("margin", 0.0, 0))
    probs = judge.profile(rows)
    closeness = 1 - np.abs(probs[:, 0] - probs[:, 1])
    assert [c.position for c in picked] == (12 + np.argsort(-closeness[12:])[:4]).tolist()
    assert set(picked[0].reason["between"]) == {"left", "right"}
