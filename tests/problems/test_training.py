"""A version from training to prediction: complete or absent, the same after loading, bound to its base model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.problems.schema import Control, Example, Item, Schema
from backend.problems.training import head_tasks, train_version
from backend.problems.version import Version, cold_version, load_version

CONTROL = Control("asks", "choices", "text", "text", ("number", "man", "city"), ("how many", "who", "where"))
SCHEMA = Schema((CONTROL,))
STARTS = ("how many", "who is", "where is")
TEXTS = [f"{start} {thing}" for thing in ("the man", "a river", "the city", "much", "tall", "what") for start in STARTS]
RECIPE = Recipe(steps=40, batch_size=6, learning_rate=3e-3, seed=3)


def examples(start: int, stop: int) -> list[Example]:
    return [Example(i, Item.of(TEXTS[i]), {"asks": np.eye(3, dtype=np.float32)[i % 3]}) for i in range(start, stop)]


def train(encoder: Encoder, folder: Path, recipe: Recipe = RECIPE) -> dict:
    return train_version(encoder, SCHEMA, examples(0, 12), examples(12, 18), recipe, folder, lambda *_: None)


@pytest.fixture(scope="session")
def trained(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions") / "v1"
    train(encoder, folder)
    return folder


def probs(version: Version, texts: list[str]) -> np.ndarray:
    return np.stack([o.probs for o in version.predict([Item.of(t) for t in texts])["asks"]])


def test_it_learns_and_says_what_it_was_made_of(encoder: Encoder, trained: Path) -> None:
    version = load_version(trained, encoder)
    assert (probs(version, TEXTS[:12]).argmax(1) == np.arange(12) % 3).mean() > 0.9
    meta = version.meta
    assert meta["examples"] == 12
    assert meta["steps"] == 40
    assert meta["base"] == {"name": encoder.spec.name, "revision": "", "id": encoder.base_id}
    assert Recipe(**meta["recipe"]) == RECIPE
    assert Schema.from_json(meta["schema"]) == SCHEMA
    assert set(meta["libraries"]) >= {"torch", "peft", "transformers"}
    assert sorted(p.name for p in trained.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "heads.safetensors", "trials.safetensors", "version.json",
    ]  # fmt: skip


def test_guesses_teach_but_neither_start_the_head_nor_weigh_classes(encoder: Encoder, tmp_path: Path) -> None:
    wrong = [Example(i, Item.of(TEXTS[i]), {"asks": np.eye(3, dtype=np.float32)[0]}, 0.5) for i in range(12, 18)]
    (plain,), (more,) = (
        head_tasks(encoder, SCHEMA, t, RECIPE).values() for t in (examples(0, 12), [*examples(0, 12), *wrong])
    )
    assert np.array_equal(plain.start.weight, more.start.weight)
    assert more.groups.tolist() == [*plain.groups.tolist(), *[-1] * 6]
    assert more.weights is not None
    assert more.weights.tolist() == [1] * 12 + [0.5] * 6
    logits, rows = torch.zeros((3, 3)), np.arange(3)
    assert torch.equal(plain.loss(logits, rows), more.loss(logits, rows))
    meta = train_version(encoder, SCHEMA, [*examples(0, 12), *wrong], [], RECIPE, tmp_path / "v", lambda *_: None)
    assert (meta["examples"], meta["guessed"]) == (12, 6)


def test_a_version_near_the_one_before_starts_with_its_head_too(
    encoder: Encoder, trained: Path, tmp_path: Path
) -> None:
    def first_loss(share: float, start: Path | None) -> float:
        recipe, losses = replace(RECIPE, steps=1, warm_start=share, contrast=0.0), []
        folder = tmp_path / f"{share}{start is None}"
        train_version(encoder, SCHEMA, examples(0, 12), [], recipe, folder, lambda *s: losses.append(s[2]), start)
        return losses[0]

    assert first_loss(1.0, trained) < 0.6 * first_loss(1.0, None)
    assert first_loss(0.0, trained) == pytest.approx(first_loss(0.0, None))


def test_a_choice_is_measured_by_what_the_version_says_of_it(encoder: Encoder, trained: Path) -> None:
    version = load_version(trained, encoder)
    assert version.meta["controls"]["asks"] == {"n": 6, "tried": 0}
    assert version.outputs_apart([]) == {"asks": []}
    outputs = version.outputs_apart(examples(12, 18))["asks"]
    assert np.array_equal(np.stack([o.probs for o in outputs]), probs(version, TEXTS[12:18]))


def test_labels_of_held_out_tasks_change_only_the_temperature(encoder: Encoder, trained: Path, tmp_path: Path) -> None:
    turned = [Example(e.task_id, e.item, {"asks": e.targets["asks"][::-1].copy()}) for e in examples(12, 18)]
    train_version(encoder, SCHEMA, examples(0, 12), turned, RECIPE, tmp_path / "v", lambda *_: None)
    one, other = (load_version(f, encoder).heads["asks"] for f in (trained, tmp_path / "v"))
    assert np.array_equal(one.weight, other.weight)
    assert other.temperature > one.temperature


def test_a_version_is_the_same_after_loading_elsewhere(encoder: Encoder, trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    fresh = load_version(copy, Encoder.load(encoder.spec))
    version = load_version(trained, encoder)
    assert probs(fresh, TEXTS) == pytest.approx(probs(version, TEXTS), abs=1e-4)
    assert fresh.encoder.base_id == version.encoder.base_id != encoder.base_id
    items = [Item.of(text) for text in TEXTS]
    rows = version.embed(items)
    assert np.stack([o.probs for o in version.outputs(items, rows)["asks"]]) == pytest.approx(probs(version, TEXTS))


def test_a_version_that_is_there_is_not_trained_again(encoder: Encoder, trained: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in trained.iterdir()}
    meta = train(encoder, trained, replace(RECIPE, seed=99))
    assert meta["recipe"]["seed"] == RECIPE.seed
    assert {p.name: p.stat().st_mtime_ns for p in trained.iterdir()} == before


def test_a_training_that_breaks_leaves_no_version(encoder: Encoder, tmp_path: Path) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        assert (step, steps) <= (3, 40), "stopped"

    with pytest.raises(AssertionError, match="stopped"):
        train_version(encoder, SCHEMA, examples(0, 12), [], RECIPE, tmp_path / "v", stop)
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_folder_is_replaced(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "heads.safetensors").write_bytes(b"half")
    train(encoder, tmp_path / "v", replace(RECIPE, steps=2))
    assert load_version(tmp_path / "v", encoder).meta["kind"] == "lora"
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


def test_versions_of_another_base_or_damaged_ones_are_refused(encoder: Encoder, trained: Path, tmp_path: Path) -> None:
    other = Encoder.load(replace(encoder.spec, text_prefix="query: "))
    with pytest.raises(ModelError, match="was trained on"):
        load_version(trained, other)
    with pytest.raises(ModelError, match="cannot be read"):
        load_version(tmp_path, encoder)
    damaged = shutil.copytree(trained, tmp_path / "damaged")
    (damaged / "heads.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ModelError, match="cannot be read"):
        load_version(damaged, encoder)


def test_no_path_of_the_machine_is_stored_with_the_adapter(encoder: Encoder, trained: Path) -> None:
    stored = json.loads((trained / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert stored in (None, encoder.spec.name)


def test_the_cold_version_answers_from_label_names(encoder: Encoder) -> None:
    version = cold_version(encoder, SCHEMA)
    assert probs(version, list(CONTROL.descriptions)).argmax(1).tolist() == [0, 1, 2]
    assert version.meta["kind"] == "cold"
    assert version.predict([]) == {"asks": []}
