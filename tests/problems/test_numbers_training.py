"""A version that gives stars and numbers: from training to a loaded version that answers the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.pipeline.decide import Field, Policy, decide, fresh_judge
from backend.problems.base import problem_for
from backend.problems.schema import Control, Example, Item, Schema
from backend.problems.training import train_version
from backend.problems.version import cold_version, load_version

STARS = ("1", "2", "3", "4", "5")
RATING = Control("stars", "rating", "text", "text", STARS, STARS)
NUMBER = Control("amount", "number", "text", "text", (), (), options={"min": 0.0, "max": 40.0, "step": 10.0})
WORDS = ("who", "the", "far", "tall", "man")
RECIPE = Recipe(steps=200, batch_size=8, learning_rate=3e-3, seed=3)


def example(number: int) -> Example:
    """Its first word says what it is worth."""
    worth = number % 5
    words = [WORDS[worth], ("is", "was", "when")[number % 3], ("city", "river")[number // 5 % 2]]
    targets = {"stars": np.eye(5, dtype=np.float32)[worth], "amount": 10.0 * worth}
    return Example(number, Item.of(" ".join(words)), targets)


@pytest.mark.parametrize("held_out", [0, 10])
@pytest.mark.parametrize("control", [RATING, NUMBER])
def test_what_is_learned_is_there_after_loading(
    encoder: Encoder, tmp_path: Path, control: Control, held_out: int
) -> None:
    train, held = [example(n) for n in range(30)], [example(n) for n in range(30, 30 + held_out)]
    schema, name = Schema((control,)), control.name
    meta = train_version(encoder, schema, train, held, RECIPE, tmp_path / "v", lambda *_: None)
    assert meta["controls"][name]["n"] == held_out
    version = load_version(tmp_path / "v", encoder)
    outputs = version.predict([e.item for e in train])[name]
    scores = problem_for(control).scores(control, outputs, [e.targets[name] for e in train])
    assert scores["closeness"] > 0.9  # 0.7 for who always says the middle
    assert all(0 <= o.confidence <= 1 for o in outputs)
    worth = version.judge.worth(version.embed([e.item for e in train]))
    assert ((worth >= 0) & (worth <= 1)).all()
    assert "known" not in version.heads[name].extra


def test_a_cold_version_says_that_it_knows_nothing(encoder: Encoder) -> None:
    said = cold_version(encoder, Schema((RATING, NUMBER))).predict([Item.of("who")])
    for (output,) in said.values():
        assert output.answer is None
        assert output.reason


@pytest.mark.parametrize("control", [RATING, NUMBER])
def test_a_picked_task_says_what_it_is_worth(encoder: Encoder, control: Control) -> None:
    examples = [example(n) for n in range(24)]
    version = cold_version(encoder, Schema((control,)))
    rows = version.embed([e.item for e in examples])
    labelled = {n: examples[n].targets for n in range(9)}
    field = Field(rows, np.arange(24) >= 9, np.zeros(24, bool), np.arange(24) / 24, labelled)
    judge = fresh_judge(version.judge, field, seed=0)
    picked = decide(judge, field, 3, Policy("margin", 0.0, 0))
    worth = judge.worth(rows)[[c.position for c in picked]]
    assert list(worth) == sorted(judge.worth(rows)[9:], reverse=True)[:3]
    for choice, value in zip(picked, worth, strict=True):
        reason = json.loads(json.dumps(choice.reason))
        assert reason["measure"] == problem_for(control).measure
        assert reason["value"] == pytest.approx(value, abs=1e-3)
