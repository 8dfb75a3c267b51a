"""What a snapshot takes from the active version: never of a held-out or touched task, and the same each time."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.models.recipe import Recipe
from backend.pipeline import mirror, retrain
from backend.pipeline.snapshot import take_snapshot
from backend.registry import versions as records
from tests.fakes import KEY, text_of
from tests.pipeline.test_publish import another

SURE = 0.35  # the stand-in's version is never surer than that by much


@pytest.fixture
def learner(parts, studio, monkeypatch):
    """A project with 20 answers, a skip and an active version, where ten labels are enough to learn from guesses."""
    mirror.reconcile(parts, KEY)
    for task in range(1, 21):
        studio.annotate(task, text_of(task)[1])
    studio.annotate(21, None)
    mirror.reconcile(parts, KEY)
    name = another(parts)
    records.activate(parts.registry, KEY, name, name, "test")
    made = Recipe.from_settings
    monkeypatch.setattr(Recipe, "from_settings", lambda s: replace(made(s), self_after=10))
    parts.settings = parts.settings.model_copy(update={"self_training": SURE})
    return parts


def content(parts):
    snapshot = take_snapshot(parts, KEY)
    return json.loads(Path(snapshot["path"]).read_text())


def test_guesses_are_of_tasks_that_nobody_touched_and_that_are_not_held_out(learner):
    project = learner.registry.must_project(KEY)
    table = learner.pools.table(learner.registry, project, learner.settings.audit_share)
    found = content(learner)
    guessed = {e["task"] for e in found["guessed"]}
    assert guessed
    assert not guessed & set(range(1, 22))
    assert not guessed & set(table.ids[table.audit].tolist())
    assert len(guessed) <= len(found["train"])
    assert {e["weight"] for e in found["guessed"]} == {0.5}
    assert {e["weight"] for e in found["train"] + found["held_out"]} == {1.0}
    assert all(np.isclose(sum(e["targets"]["topic"]), 1) for e in found["guessed"])


def test_the_same_state_is_the_same_snapshot(learner):
    assert take_snapshot(learner, KEY)["hash"] == take_snapshot(learner, KEY)["hash"]


@pytest.mark.parametrize("change", [{"self_training": 0.0}, {"self_training": 0.999}])
def test_without_the_setting_or_without_certainty_nothing_is_guessed(learner, change):
    learner.settings = learner.settings.model_copy(update=change)
    assert content(learner)["guessed"] == []


def test_a_version_that_learned_nothing_teaches_nothing(learner):
    cold = retrain.cold_start(learner, learner.registry.must_project(KEY)).name
    records.activate(learner.registry, KEY, cold, cold, "test")
    assert content(learner)["guessed"] == []


def test_guesses_reach_the_training_process(learner, monkeypatch, tmp_path):
    from backend.pipeline import train_job
    from backend.problems import training

    seen = []
    monkeypatch.setattr(training, "train_version", lambda base, schema, train, *rest: seen.extend(train))
    monkeypatch.setattr(train_job, "_end_with_parent", lambda: None)
    monkeypatch.setattr(train_job.os, "nice", lambda _: 0)
    snapshot = take_snapshot(learner, KEY)
    train_job.main(snapshot["path"], str(tmp_path / "out"))
    assert {e.weight for e in seen} == {0.5, 1.0}
