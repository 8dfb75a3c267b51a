"""A version that answers questions: from training to a loaded version, with long texts and odd tasks."""

import json
from dataclasses import replace
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

CONTROL = Control(
    "answer", "question", "context", "context", ("Answer",), ("Answer",), more_fields=("question",),
    options={"type": "labels", "empty": True},
)  # fmt: skip
SCHEMA = Schema((CONTROL,))
RECIPE = Recipe(steps=80, batch_size=8, learning_rate=3e-3, seed=3)


def item(question: str, context: str) -> Item:
    return Item({"context": Content((context,)), "question": Content((question,))})


def example(number: int) -> Example:
    """The question is always "who"; the answer is what stands before "was": a man, a city, or nothing; in some far from
    the start, as in the windows of a long text."""
    rng = np.random.default_rng(number)
    words = ["the"] * (number % 4 * 8)
    words += [str(word) for word in rng.choice(["the", "a", "in", "far", "tall", "is"], size=rng.integers(3, 7))]
    at = len(words) - int(rng.integers(3))
    spans = []
    if number % 3:
        words[at:at] = [("man", "city")[number % 2], "was"]
        start = sum(len(word) + 1 for word in words[:at])
        spans = [[start, start + len(words[at]), words[at]]]
    return Example(number, item("who ?", " ".join(words)), {"answer": {"spans": spans, "none": float(not spans)}})


@pytest.fixture(scope="module")
def folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    train, held = [example(n) for n in range(48)], [example(n) for n in range(48, 56)]
    lost = Example(99, item("who ?", "the man"), {"other": 1})  # has no answer to this question
    path = tmp_path_factory.mktemp("versions") / "v"
    meta = train_version(encoder, SCHEMA, [*train, lost], held, RECIPE, path, lambda *_: None)
    assert meta["controls"]["answer"]["n"] == 8
    return path


def test_what_is_learned_is_there_after_loading(encoder: Encoder, folder: Path) -> None:
    version = load_version(folder, encoder)
    examples = [example(n) for n in range(48)]
    rows, outputs = version.rows_and_outputs([e.item for e in examples])
    scores = problem_for(CONTROL).scores(CONTROL, outputs["answer"], [e.targets["answer"] for e in examples])
    assert scores["f1"] > 0.9
    assert version.judge.worth(rows) == pytest.approx([o.worth for o in outputs["answer"]], abs=1e-5)
    assert version.heads["answer"].extra["longest"] == 16


def test_an_answer_behind_the_first_window_is_found_and_every_task_has_an_output(
    encoder: Encoder, folder: Path
) -> None:
    version = load_version(folder, encoder)
    far = " ".join(["the"] * 70)
    asked, problem = replace(CONTROL, options={"type": "labels"}), problem_for(CONTROL)  # there must be an answer
    reading = problem.read(asked, version.heads["answer"], version.encoder, [item("who ?", f"{far} man was tall")])
    (found,) = problem.outputs(asked, version.heads["answer"], reading)
    doubtful, none, lacking, symbols = version.predict(
        [
            item("who ?", f"{far} man was tall"),
            item("who ? " * 40, far),
            Item({"context": Content(("the man",))}),
            item("who ?", "\u200b"),
        ]
    )["answer"]
    assert len(encoder.tokens.windows(far, before="who ?")) > 1
    assert found.answer["spans"] == [[len(far) + 1, len(far) + 4, "man"]]
    assert none.answer is not None
    assert doubtful.extra["no_answer"] < none.extra["no_answer"] - 0.1
    assert lacking.reason == "the task lacks context or question"
    assert symbols.answer == {"spans": [], "none": 1.0}


def test_before_any_label_nothing_is_said_and_all_tasks_are_worth_the_same(encoder: Encoder) -> None:
    version = cold_version(encoder, SCHEMA)
    rows, outputs = version.rows_and_outputs([example(n).item for n in range(3)])
    assert [o.answer for o in outputs["answer"]] == [None] * 3
    assert version.judge.worth(rows).tolist() == [1, 1, 1]


def test_a_picked_task_says_why(encoder: Encoder, folder: Path) -> None:
    examples = [example(n) for n in range(24)]
    version = load_version(folder, encoder)
    rows = version.embed([e.item for e in examples])
    labelled = {n: examples[n].targets for n in range(8)}
    field = Field(rows, np.arange(24) >= 8, np.zeros(24, bool), np.arange(24) / 24, labelled)
    judge = fresh_judge(version.judge, field, seed=0)
    picked = decide(judge, field, 3, Policy("margin", 0.0, 0))
    worth = judge.worth(rows)[[c.position for c in picked]]
    assert list(worth) == sorted(judge.worth(rows)[8:], reverse=True)[:3]
    reason = json.loads(json.dumps(picked[0].reason))
    assert reason["measure"] == "least-confidence"
    assert 0 <= reason["no_answer"] <= 1
