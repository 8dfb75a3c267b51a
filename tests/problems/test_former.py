"""What a version takes from the one before: the average of the weights of both."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.problems import former
from backend.problems.base import PROBLEMS
from backend.problems.former import former_of, near_version
from backend.problems.schema import Schema
from backend.problems.training import train_version
from backend.problems.version import HEADS, META, load_heads
from tests.problems.test_training import CONTROL, RECIPE, SCHEMA, examples

OTHER = replace(CONTROL, labels=("number", "man", "place"))
STARS = replace(CONTROL, name="stars", kind="rating")


def train(encoder: Encoder, upto: int, folder: Path, before: Path | None = None, **changes: Any) -> dict[str, Any]:
    recipe = replace(RECIPE, **changes)
    return train_version(encoder, SCHEMA, examples(0, upto), [], recipe, folder, lambda *_: None, before)


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former, "LEAST_OF_CLASS", 1)


@pytest.fixture(scope="module")
def before(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("former") / "v1"
    assert train(encoder, 8, folder)["averaged"] == 0
    return folder


def test_the_weights_of_two_versions_are_averaged(encoder: Encoder, before: Path, tmp_path: Path) -> None:
    assert train(encoder, 12, tmp_path / "alone", before, average=0.0)["averaged"] == 0
    assert train(encoder, 12, tmp_path / "both", before, average=0.3)["averaged"] == 0.3
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in (before, *_two(tmp_path))]
    assert any(not np.allclose(adapters[0][name], adapters[1][name], atol=1e-3) for name in adapters[0])
    for name, both in adapters[2].items():
        assert np.allclose(both, 0.3 * adapters[0][name] + 0.7 * adapters[1][name], atol=1e-6), name
    heads = [load_heads(folder / HEADS)["asks"] for folder in (before, *_two(tmp_path))]
    for part in ("weight", "bias"):
        first, alone, both = (getattr(head, part) for head in heads)
        assert np.allclose(both, 0.3 * first + 0.7 * alone, atol=1e-6)


def _two(folder: Path) -> tuple[Path, Path]:
    return folder / "alone", folder / "both"


def test_one_that_knew_too_few_of_the_labels_is_left_out(encoder: Encoder, before: Path) -> None:
    def taken(upto: int) -> bool:
        return former_of(before, SCHEMA, ["asks"], examples(0, upto), RECIPE) is not None

    assert [taken(upto) for upto in (8, 13, 14, 18)] == [True, True, False, False]
    guessed = [replace(e, weight=0.5) for e in examples(13, 18)]
    assert former_of(before, SCHEMA, ["asks"], [*examples(0, 13), *guessed], RECIPE) is not None


def test_one_that_knew_too_few_of_each_class_is_left_out(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight labels are eight for one class, and not for three."""
    one = [replace(e, targets=examples(0, 1)[0].targets) for e in examples(0, 12)]
    monkeypatch.setattr(former, "LEAST_OF_CLASS", 8)
    assert former_of(before, SCHEMA, ["asks"], one, RECIPE) is not None
    assert former_of(before, SCHEMA, ["asks"], examples(0, 12), RECIPE) is None
    monkeypatch.setattr(former, "LEAST_OF_CLASS", 2.6)
    assert former_of(before, SCHEMA, ["asks"], examples(0, 12), RECIPE) is not None


def test_one_of_another_seed_is_left_out(before: Path) -> None:
    assert former_of(before, SCHEMA, ["asks"], examples(0, 12), replace(RECIPE, seed=RECIPE.seed + 1)) is None


def test_one_that_had_not_learned_all_of_it_is_left_out(before: Path) -> None:
    second = replace(CONTROL, name="second")
    assert former_of(before, Schema((CONTROL, second)), ["asks", "second"], examples(0, 12), RECIPE) is None
    assert former_of(before, Schema((CONTROL, second)), ["asks"], examples(0, 12), RECIPE) is not None


def test_only_choices_with_one_answer_are_averaged() -> None:
    """The others could be; they were not measured."""
    assert {kind for kind, problem in PROBLEMS.items() if problem.averaged} == {"choices", "choices-tree"}


def test_with_another_kind_of_control_beside_it_nothing_is_averaged(before: Path, tmp_path: Path) -> None:
    folder = changed(before, tmp_path, lambda meta: meta["controls"].update(stars={"n": 0}))
    assert former_of(folder, Schema((CONTROL, STARS)), ["asks", "stars"], examples(0, 12), RECIPE) is None
    assert former_of(folder, Schema((CONTROL, STARS)), ["asks"], examples(0, 12), RECIPE) is not None


def changed(before: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    folder = shutil.copytree(before, tmp_path / "changed")
    meta = json.loads((folder / META).read_text())
    change(meta)
    (folder / META).write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize(
    ("schema", "base", "recipe"),
    [
        (Schema((OTHER,)), None, RECIPE),
        (SCHEMA, "another", RECIPE),
        (SCHEMA, None, replace(RECIPE, lora_rank=2)),
    ],
    ids=["schema", "base", "rank"],
)
def test_one_of_another_kind_is_not_near(
    encoder: Encoder, before: Path, schema: Schema, base: str | None, recipe: Recipe
) -> None:
    assert near_version(before, schema, base or encoder.base_id, recipe) is None
    assert near_version(before, SCHEMA, encoder.base_id, RECIPE) == before


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"schema": 1}'])
def test_what_cannot_be_read_does_not_end_learning(
    encoder: Encoder, before: Path, tmp_path: Path, content: str | None
) -> None:
    folder = shutil.copytree(before, tmp_path / "changed")
    if content is None:
        (folder / META).unlink()
    else:
        (folder / META).write_text(content)
    assert near_version(folder, SCHEMA, encoder.base_id, RECIPE) is None


@pytest.mark.parametrize("lost", [HEADS, "adapter_model.safetensors"])
def test_weights_that_are_lost_do_not_end_learning(encoder: Encoder, before: Path, tmp_path: Path, lost: str) -> None:
    folder = shutil.copytree(before, tmp_path / "changed")
    (folder / lost).write_bytes(b"cut off")
    assert train(encoder, 12, tmp_path / "v2", folder)["averaged"] == 0
    (folder / lost).unlink()
    assert train(encoder, 12, tmp_path / "v3", folder)["averaged"] == 0


def test_of_a_warm_start_too_the_result_is_averaged(encoder: Encoder, before: Path, tmp_path: Path) -> None:
    meta = train(encoder, 12, tmp_path / "v2", before, warm_start=1.0, steps=1, learning_rate=1e-9)
    assert meta["averaged"] == RECIPE.average
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (before, tmp_path / "v2"))
    assert all(np.allclose(one[name], two[name], atol=1e-4) for name in one)
