"""Versions that write: from training to a loaded version that writes the same, beside other controls and alone."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.models.generator import TEXTS, Generator, Written
from backend.models.recipe import Recipe
from backend.models.spec import TextSpec
from backend.problems.schema import Control, Example, Item, Schema
from backend.problems.training import train_version
from backend.problems.version import GENERATOR, cold_version, load_version
from tests.models.tiny import save_tiny_writer

TEXT = Control("answer", "textarea", "text", "text", (), ())
CHOICE = Control("asks", "choices", "text", "text", ("number", "person"), ("how many", "who"))
RECIPE = Recipe(
    steps=20, batch_size=4, learning_rate=3e-3, text_steps=80, text_batch_size=4, text_learning_rate=2e-2, plateau=0
)
WORDS = {"number": ("how many", "the number"), "person": ("who is", "the man")}


def example(number: int) -> Example:
    label = CHOICE.labels[number % 2]
    asked, answered = WORDS[label]
    text = f"{asked} {('tall', 'far', 'river')[number % 3]}"
    return Example(number, Item.of(text), {"asks": np.eye(2, dtype=np.float32)[number % 2], "answer": (answered,)})


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, device: str) -> TextSpec:
    folder = save_tiny_writer(tmp_path_factory.mktemp("llama"), "causal")
    return TextSpec(str(folder), device=device, threads=1, max_new_tokens=5)


@pytest.fixture(scope="module")
def trained(encoder: Encoder, spec: TextSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that writes and chooses."""
    folder, seen = tmp_path_factory.mktemp("versions") / "v", []
    train, held = [example(n) for n in range(12)], [example(n) for n in range(12, 16)]
    schema = Schema((CHOICE, TEXT))
    train_version(encoder, schema, train, held, RECIPE, folder, lambda *step: seen.append(step[:2]), writer=spec)
    assert [step for step, _ in seen] == list(range(1, 101))  # both adapters, one behind the other
    assert {steps for _, steps in seen} == {100}
    return folder


def test_what_is_learned_is_written_after_loading(encoder: Encoder, spec: TextSpec, trained: Path) -> None:
    version = load_version(trained, encoder, Generator.load(spec))
    items = [example(n).item for n in range(6)]
    said = version.predict(items)
    assert [o.answer for o in said["answer"]] == [example(n).targets["answer"] for n in range(6)]
    assert [int(np.argmax(o.probs)) for o in said["asks"]] == [0, 1] * 3
    assert version.outputs(items, version.embed(items))["answer"] == said["answer"]
    meta = version.meta
    assert meta["adapted"] == ["encoder", "generator"]
    assert meta["controls"]["answer"] == {"n": 4}
    assert (meta["steps"], meta["writer"]["steps"]) == (20, 80)
    assert version.heads["answer"].extra["examples"].tolist() == [4]


def test_what_it_wrote_of_the_held_out_tasks_is_kept_with_it(encoder: Encoder, spec: TextSpec, trained: Path) -> None:
    version = load_version(trained, encoder, Generator.load(spec)).within(0)
    held, other = example(12).item, Item.of("the city is far")
    assert [o.answer for o in version.predict([held, other])["answer"]] == [example(12).targets["answer"], None]


def test_what_was_drawn_is_kept_with_it_too(spec: TextSpec, trained: Path, tmp_path: Path) -> None:
    folder, drawing = tmp_path / "v", replace(spec, samples=3)
    shutil.copytree(trained / GENERATOR, folder)
    writer = Generator.load(drawing).adapted(folder)
    written = writer.write(["how many far"])
    writer.save_texts(folder)
    assert len(written[0][0].drawn) == 3
    assert Generator.load(drawing).adapted(folder).within(0).write(["how many far"]) == written
    assert Generator.load(spec).adapted(folder).within(0).write(["how many far"]) == [None]


def test_what_a_former_build_wrote_is_remembered(spec: TextSpec, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    shutil.copytree(trained / GENERATOR, folder)
    base_id = Generator.load(spec).adapted(folder).base_id
    name = json.dumps([base_id, spec.max_new_tokens, spec.candidates, spec.beams, "what is far"])
    key = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    (folder / TEXTS).write_text(json.dumps({key: [["the river", -0.5]]}))
    known = Generator.load(spec).adapted(folder).within(0).write(["what is far"])
    assert known == [[Written("the river", -0.5)]]


def test_without_a_generator_the_version_chooses_and_writes_nothing(encoder: Encoder, trained: Path) -> None:
    version = load_version(trained, encoder)
    said = version.within(9).predict([example(0).item])
    assert said["answer"][0].answer is None
    assert int(np.argmax(said["asks"][0].probs)) == 0


def test_another_generator_or_prompt_is_refused(encoder: Encoder, spec: TextSpec, trained: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_version(trained, encoder, Generator.load(replace(spec, prompt="Answer:")))
    assert "TEXT_PROMPT" in caught.value.hint


def test_texts_alone_leave_the_encoder_as_it_is(encoder: Encoder, spec: TextSpec, tmp_path: Path) -> None:
    schema, generator = Schema((TEXT,)), Generator.load(spec)
    train = [replace(example(n), targets={"answer": example(n).targets["answer"]}) for n in range(8)]
    meta = train_version(encoder, schema, train, [], RECIPE, tmp_path / "v", lambda *_: None, writer=generator)
    assert meta["adapted"] == ["generator"]
    version = load_version(tmp_path / "v", encoder, generator)
    cold = cold_version(encoder, schema, generator)
    assert version.base_id == cold.base_id == encoder.base_id  # no task is encoded again
    assert [o.answer for o in version.predict([e.item for e in train])["answer"]] == [
        e.targets["answer"] for e in train
    ]
    assert cold.predict([train[0].item])["answer"][0].answer != train[0].targets["answer"]
    warm = replace(RECIPE, warm_start=1.0, text_steps=1, text_learning_rate=1e-9)
    train_version(encoder, schema, train, [], warm, tmp_path / "w", lambda *_: None, tmp_path / "v", generator)
    again = load_version(tmp_path / "w", encoder, generator).predict([e.item for e in train])["answer"]
    assert [o.answer for o in again] == [e.targets["answer"] for e in train]


def test_without_a_generator_texts_teach_nothing(encoder: Encoder, tmp_path: Path) -> None:
    train = [example(n) for n in range(8)]
    meta = train_version(encoder, Schema((CHOICE, TEXT)), train, [], RECIPE, tmp_path / "v", lambda *_: None)
    assert meta["adapted"] == ["encoder"]
    with pytest.raises(ValueError, match="teach none of answer"):
        train_version(encoder, Schema((TEXT,)), train, [], RECIPE, tmp_path / "w", lambda *_: None)


def test_a_version_of_a_former_build_is_loaded(encoder: Encoder, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(trained, folder)
    shutil.rmtree(folder / GENERATOR)
    meta = json.loads((folder / "version.json").read_text())
    for key in ("adapted", "text_base", "writer"):
        del meta[key]
    (folder / "version.json").write_text(json.dumps(meta))
    items = [example(n).item for n in range(4)]
    old, new = (load_version(f, encoder).predict(items)["asks"] for f in (folder, trained))
    assert [o.probs.tolist() for o in old] == [o.probs.tolist() for o in new]
