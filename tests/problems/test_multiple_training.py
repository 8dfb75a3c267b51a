"""A version with several labels for each text: from training to a loaded version that answers the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.pipeline.decide import Field, Policy, decide, fresh_judge
from backend.problems.base import problem_for
from backend.problems.schema import Control, Example, Item, Output, Schema
from backend.problems.training import train_version
from backend.problems.version import FOLDS, cold_version, load_version

CONTROL = Control(
    "asks", "choices-multiple", "text", "text", ("number", "man", "city"), ("how many", "who", "where"),
    options={"type": "choices", "empty": True},
)  # fmt: skip
SCHEMA = Schema((CONTROL,))
WORDS = ("many", "man", "city")
RECIPE = Recipe(steps=60, batch_size=8, learning_rate=3e-3, seed=3)


def example(number: int) -> Example:
    """Each label has its word; the eight sets come in turn, among them the empty one."""
    chosen = np.array([number >> k & 1 for k in range(3)], np.float32)
    words = [word for word, share in zip(WORDS, chosen, strict=True) if share]
    return Example(number, Item.of(" ".join(["the", *words, ("is", "was", "far")[number % 3]])), {"asks": chosen})


@pytest.mark.parametrize("held_out", [0, 8])
def test_what_is_learned_is_there_after_loading(encoder: Encoder, tmp_path: Path, held_out: int) -> None:
    train, held = [example(n) for n in range(32)], [example(n) for n in range(32, 32 + held_out)]
    meta = train_version(encoder, SCHEMA, train, held, RECIPE, tmp_path / "v", lambda *_: None)
    assert meta["controls"]["asks"]["n"] == held_out
    version = load_version(tmp_path / "v", encoder)
    outputs = version.predict([e.item for e in train])["asks"]
    scores = problem_for(CONTROL).scores(CONTROL, outputs, [e.targets["asks"] for e in train])
    assert scores["micro_f1"] > 0.9
    head = version.heads["asks"]
    assert head.extra["positives"].tolist() == [16, 16, 16]
    assert head.extra["thresholds"].shape == (3,)
    assert all(0 <= o.confidence <= 1 for o in outputs)


def test_a_held_out_answer_decides_nothing_of_what_is_measured_on_it(encoder: Encoder, tmp_path: Path) -> None:
    """Thresholds of all held-out answers serve; what is said of one to measure it, the others decide."""
    train, held = [example(n) for n in range(32)], [example(n) for n in range(32, 72)]
    turned = [replace(e, targets={"asks": 1 - e.targets["asks"]}) if e.task_id % FOLDS == 2 else e for e in held]
    versions = []
    for name, answers in (("a", held), ("b", turned)):
        train_version(encoder, SCHEMA, train, answers, replace(RECIPE, steps=5), tmp_path / name, lambda *_: None)
        versions.append(load_version(tmp_path / name, encoder))
    served = [probs(v.predict([e.item for e in held])) for v in versions]
    measured = [probs(v.outputs_apart(held)) for v in versions]
    same = np.array([e.task_id % FOLDS == 2 for e in held])
    assert np.array_equal(measured[0][same], measured[1][same])
    assert (measured[0][~same] != measured[1][~same]).any()
    assert (served[0] != served[1]).any()
    later = [replace(e, task_id=e.task_id + 100) for e in turned]  # what is answered after the training
    assert np.array_equal(probs(versions[0].outputs_apart(later)), measured[0])


def probs(outputs: dict[str, list[Output]]) -> np.ndarray:
    return np.stack([output.probs for output in outputs["asks"]])


def test_before_any_label_there_is_an_answer(encoder: Encoder) -> None:
    (output,) = cold_version(encoder, SCHEMA).predict([Item.of("how many")])["asks"]
    assert output.answer is not None
    assert output.probs is not None


def test_a_picked_task_says_which_labels_are_in_doubt(encoder: Encoder) -> None:
    examples = [example(n) for n in range(24)]
    version = cold_version(encoder, SCHEMA)
    rows = version.embed([e.item for e in examples])
    labelled = {n: examples[n].targets for n in range(8)}
    field = Field(rows, np.arange(24) >= 8, np.zeros(24, bool), np.arange(24) / 24, labelled)
    judge = fresh_judge(version.judge, field, seed=0)
    picked = decide(judge, field, 3, Policy("margin", 0.0, 0))
    worth = judge.worth(rows)[[c.position for c in picked]]
    assert list(worth) == sorted(judge.worth(rows)[8:], reverse=True)[:3]
    for choice, value in zip(picked, worth, strict=True):
        reason = json.loads(json.dumps(choice.reason))
        assert reason["measure"] == "label-entropy"
        assert reason["value"] == pytest.approx(value, abs=1e-3)
        assert reason["labelled_of_label"] == dict.fromkeys(reason["in_doubt"], 4)
        assert all(0 <= p <= 1 for p in reason["in_doubt"].values())
