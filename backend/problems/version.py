"""A version in memory: an encoder with its adapter merged in, and a head for each control."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.active.head import LinearHead
from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.problems.base import problem_for
from backend.problems.judge import Judge
from backend.problems.schema import Control, Example, Floats, Item, Output, Schema

if TYPE_CHECKING:
    from backend.models.generator import Generator

META, HEADS = "version.json", "heads.safetensors"
GENERATOR = "generator"  # folder of the generator's adapter in a version's
FOLDS = 5  # of held-out tasks, by their ids: a task that comes later and one whose label changes have their fold too

AT_ONCE = 256  # items that a head which keeps a judgement reads at a time: what it reads of one is large


@dataclass(frozen=True)
class Version:
    """What predicts. Immutable, so that threads may share it. ``heads`` by control, with those of :func:`apart_name`;
    ``meta`` is the content of ``version.json``; ``generator`` writes the texts of controls that want some, None:
    nothing does."""

    encoder: Encoder
    heads: Mapping[str, LinearHead]
    schema: Schema
    meta: Mapping[str, Any]
    generator: "Generator | None" = None

    @cached_property
    def judge(self) -> Judge:
        """What judges rows as this version does."""
        return Judge(self.schema, self.heads, self.encoder.dim)

    @cached_property
    def base_id(self) -> str:
        """Names what :meth:`embed` computes: the encoder, and the heads where their judgement is part of it."""
        own = [c for c in self.schema.controls if self.judge.layout.own(c.name)]
        judging = [c.name for c in own if not problem_for(c).fast]
        if not own:
            return self.encoder.base_id
        digest = hashlib.sha256(f"{self.encoder.base_id}{self.schema.hash}".encode())
        for name in judging:
            for part, array in sorted(self.heads[name].to_arrays().items()):
                digest.update(f"{name}/{part}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @property
    def dim(self) -> int:
        """Width W of a row."""
        return self.judge.layout.width

    def embed(self, items: Sequence[Item]) -> Floats:
        """Rows (N, W) of items: see :mod:`backend.problems.judge`. Columns of a control without its fields are 0."""
        rows = self._documents(items)
        for control in self.schema.controls:
            for at, reading in self._readings(control, items) if self.judge.layout.own(control.name) else ():
                rows[at, self.judge.layout.slices[control.name]] = self._columns(control, reading)
        return rows

    def outputs(
        self, items: Sequence[Item], rows: Floats, controls: Sequence[Control] | None = None
    ) -> dict[str, list[Output]]:
        """What is said of items, for each control by name, in order; ``rows`` (N, W) as :meth:`embed` gives them.

        Of some ``controls`` only, where they are given: texts take minutes. An item without a control's fields has an
        output that says so.
        """
        asked = self.schema.controls if controls is None else controls
        said = {c.name: self._silence(c, items) for c in asked}
        for control in asked:
            problem = problem_for(control)
            there = _having(control, items)
            if problem.fast and there:
                columns = self.judge.columns(control.name, rows[there])
                _put(said[control.name], there, problem.outputs(control, self.heads[control.name], columns))
                continue
            for at, reading in self._readings(control, items):
                _put(said[control.name], at, problem.outputs(control, self.heads[control.name], reading))
        return said

    def rows_and_outputs(self, items: Sequence[Item]) -> tuple[Floats, dict[str, list[Output]]]:
        """:meth:`embed` and :meth:`outputs` at once: the model reads each item once."""
        rows = self._documents(items)
        said = {c.name: self._silence(c, items) for c in self.schema.controls}
        for control in self.schema.controls:
            if not self.judge.layout.own(control.name):
                continue
            for at, reading in self._readings(control, items):
                rows[at, self.judge.layout.slices[control.name]] = self._columns(control, reading)
                outputs = problem_for(control).outputs(control, self.heads[control.name], reading)
                _put(said[control.name], at, outputs)
        for control in self.schema.controls:
            if self.judge.layout.own(control.name):
                continue
            problem, head = problem_for(control), self.heads[control.name]
            if not problem.fast:
                for at, reading in self._readings(control, items):
                    _put(said[control.name], at, problem.outputs(control, head, reading))
            elif there := _having(control, items):
                columns = self.judge.columns(control.name, rows[there])
                _put(said[control.name], there, problem.outputs(control, head, columns))
        return rows, said

    def predict(self, items: Sequence[Item]) -> dict[str, list[Output]]:
        """What is said of items, for each control by name, in order."""
        return self.rows_and_outputs(items)[1]

    @property
    def apart(self) -> bool:
        """Whether :meth:`outputs_apart` differs from what is said otherwise."""
        return any(apart_name(control.name, 0) in self.heads for control in self.schema.controls)

    def outputs_apart(self, examples: Sequence[Example]) -> dict[str, list[Output]]:
        """What is said of held-out examples, for each control by name, in order: to be measured, each by heads that
        were calibrated on other ones where calibration decides what is said."""

        def apart(fold: int) -> dict[str, LinearHead]:
            there = {c.name: self.heads.get(apart_name(c.name, fold)) for c in self.schema.controls}
            return {c: replace(head, weight=self.heads[c].weight) for c, head in there.items() if head is not None}

        said = {c.name: self._silence(c, [e.item for e in examples]) for c in self.schema.controls}
        folds = np.array([fold_of(e) if self.apart else 0 for e in examples], np.int64)
        for fold in np.unique(folds).tolist():
            at = np.flatnonzero(folds == fold).tolist()
            for name, outputs in self.with_heads(apart(fold)).predict([examples[i].item for i in at]).items():
                _put(said[name], at, outputs)
        return said

    def guided(self, item: Item, given: Mapping[str, Any]) -> dict[str, Output]:
        """What is said of an item that an annotator is working on, by control: of those for which it makes a difference
        that targets are ``given``."""
        found = {}
        for control in self.schema.controls:
            if control.name in given and item.has(control):
                head, target = self.heads[control.name], given[control.name]
                model = model_for(control, self.encoder, self.generator)
                output = problem_for(control).guided(control, head, model, item, target)
                if output is not None:
                    found[control.name] = output
        return found

    def _documents(self, items: Sequence[Item]) -> Floats:
        """Rows (N, W) with the features of the documents, and nothing yet of the controls."""
        rows = np.zeros((len(items), self.dim), np.float32)
        rows[:, : self.encoder.dim] = self.encoder.embed([item.text for item in items])
        return rows

    def _readings(self, control: Control, items: Sequence[Item]) -> Iterator[tuple[list[int], Any]]:
        """Positions of items that have a control's fields, a few at a time, and what is read of these."""
        there = _having(control, items)
        for start in range(0, len(there), AT_ONCE):
            part = there[start : start + AT_ONCE]
            problem, head = problem_for(control), self.heads[control.name]
            model = model_for(control, self.encoder, self.generator)
            yield part, problem.read(control, head, model, [items[at] for at in part])

    def _columns(self, control: Control, reading: Any) -> Floats:
        return problem_for(control).columns(control, self.heads[control.name], reading)

    def _silence(self, control: Control, items: Sequence[Item]) -> list[Output]:
        return [Output(reason=f"the task lacks {' or '.join(control.fields)}")] * len(items)

    def within(self, seconds: float) -> "Version":
        """The version with a generator that writes for so long from now, and then only remembers; 0: at once."""
        return self if self.generator is None else replace(self, generator=self.generator.within(seconds))

    def knows_texts(self, items: Sequence[Item]) -> list[bool]:
        """Whether all that is to be written of each item has been written; where nothing writes, nothing is to be."""
        known = [True] * len(items)
        for control in self.schema.controls if self.generator is not None else ():
            if problem_for(control).reads == "generator":
                for at, reading in self.within(0)._readings(control, items):
                    for position, written in zip(at, reading, strict=True):
                        known[position] &= written is not None
        return known

    def with_heads(self, heads: Mapping[str, LinearHead]) -> "Version":
        """The version with some of its heads replaced."""
        return replace(self, heads={**self.heads, **heads})


def model_for(control: Control, encoder: Encoder, generator: "Generator | None") -> Any:
    """The model that reads for a control."""
    return generator if problem_for(control).reads == "generator" else encoder


def fold_of(example: Example) -> int:
    """Which of the ``FOLDS`` a held-out example is in."""
    return example.task_id % FOLDS


def apart_name(control: str, fold: int) -> str:
    """What the head is called that a control is measured with on a fold of the held-out examples. It is kept without
    its weight, which is that of the control's own head: many labels make it large, and calibration leaves it."""
    return f"{control}\0{fold}"


def _having(control: Control, items: Sequence[Item]) -> list[int]:
    """Positions of the items that have all that a control reads."""
    return [at for at, item in enumerate(items) if item.has(control)]


def _put(into: list[Output], at: Sequence[int], outputs: Sequence[Output]) -> None:
    for position, output in zip(at, outputs, strict=True):
        into[position] = output


def cold_version(encoder: Encoder, schema: Schema, generator: "Generator | None" = None) -> Version:
    """The version before any label: frozen models, heads from what the labels are called."""
    heads = {c.name: cold_head(encoder, c) for c in schema.controls}
    return Version(encoder, heads, schema, {"kind": "cold", "schema": schema.to_json()}, generator)


def cold_head(encoder: Encoder, control: Control) -> LinearHead:
    """The head of a control before it has any label."""
    return problem_for(control).zero_shot_head(control, encoder.dim, encoder.embed)


def read_meta(directory: Path) -> dict[str, Any]:
    """The content of ``version.json``."""
    content: dict[str, Any] = json.loads((directory / META).read_text())
    return content


def has_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / "adapter_config.json").exists()


def load_version(directory: Path, encoder: Encoder, generator: "Generator | None" = None) -> Version:
    """The version stored in ``directory``, on the models that it was trained on; without a generator it writes nothing.

    Raises ModelError for a version that is not there, damaged, or made for another base model.
    """
    try:
        meta = read_meta(directory)
        schema = Schema.from_json(meta["schema"])
        base_id, name = meta["base"]["id"], meta["base"]["name"]
        heads = load_heads(directory / HEADS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The version in {directory} cannot be read: {error}", "Train again.") from error
    if base_id != encoder.base_id:
        raise ModelError(
            f"The version in {directory} was trained on {name} ({base_id}), not on {encoder.spec.name} "
            f"({encoder.base_id}).",
            "Set BASE_MODEL, TEXT_PREFIX and MAX_TOKENS back to what they were, or train again.",
        )
    adapted = meta.get("adapted", ["encoder"])  # former builds knew no other
    if generator is not None and "generator" in adapted:
        if meta["text_base"]["id"] != generator.base_id:
            raise ModelError(
                f"The version in {directory} was trained on {meta['text_base']['name']} ({meta['text_base']['id']}), "
                f"not on {generator.spec.name} ({generator.base_id}).",
                "Set TEXT_MODEL, TEXT_PROMPT and TEXT_MAX_TOKENS back to what they were, or train again.",
            )
        generator = generator.adapted(directory / GENERATOR)
    encoder = encoder.adapted(directory) if "encoder" in adapted else encoder
    return Version(encoder, heads, schema, meta, generator)


def save_heads(heads: Mapping[str, LinearHead], path: Path) -> None:
    """Write all heads into one safetensors file."""
    from safetensors.numpy import save_file

    arrays = {f"{name}/{key}": np.ascontiguousarray(a) for name, h in heads.items() for key, a in h.to_arrays().items()}
    save_file(arrays, str(path))


def load_heads(path: Path) -> dict[str, LinearHead]:
    """The heads of :func:`save_heads` by control name."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(path))
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from error
    by_name: dict[str, dict[str, Floats]] = {}
    for key, array in arrays.items():
        name, part = key.rsplit("/", 1)
        by_name.setdefault(name, {})[part] = array
    return {name: LinearHead.from_arrays(parts) for name, parts in by_name.items()}
