"""From labelled texts to a stored version: where problems (targets, losses) and models (LoRA) are joined."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from backend.active.head import LinearHead
from backend.models.encoder import Encoder
from backend.models.generator import Generator
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec, TextSpec
from backend.models.training import Former, HeadTask, Trained, train_adapter
from backend.models.writer import TextTask, train_writer
from backend.problems.base import problem_for
from backend.problems.examples import learnable
from backend.problems.former import former_of, near_version
from backend.problems.schema import Control, Example, Schema
from backend.problems.trials import TRIALS, Trial, save_trials, tried
from backend.problems.version import (
    FOLDS,
    GENERATOR,
    HEADS,
    META,
    apart_name,
    cold_head,
    fold_of,
    has_adapter,
    load_heads,
    model_for,
    read_meta,
    save_heads,
)

ENCODER = "encoder"
FEWEST = 4  # examples in an update
LIBRARIES = ("torch", "transformers", "peft", "numpy", "scikit-learn")


def train_version(
    base: ModelSpec | Encoder,
    schema: Schema,
    train: Sequence[Example],
    held_out: Sequence[Example],
    recipe: Recipe,
    directory: Path,
    on_progress: Callable[[int, int, float], None],
    before: Path | None = None,
    writer: TextSpec | Generator | None = None,
) -> dict[str, Any]:
    """The content of ``directory/version.json``, written beside the adapters and the heads.

    A version that is there already is returned at once. The folder appears complete or not at all.
    Labels of ``held_out`` only measure, and set the temperature of the probabilities. Those of ``train`` may weigh less
    than 1.
    ``before``: a former version, which is tried by labels that it did not know (:mod:`backend.problems.trials`), and
    which the new one starts near or is averaged with (:mod:`backend.problems.former`).
    ``writer``: what writes texts; without it controls that want some learn nothing. An adapter is trained to each base
    model that some control's head, or texts, can be learned with.
    """
    if (directory / META).exists():
        return read_meta(directory)
    encoder = base if isinstance(base, Encoder) else Encoder.load(base)
    generator = Generator.load(writer) if isinstance(writer, TextSpec) else writer
    started = time.monotonic()
    bases = {"base": _base(encoder), **({} if generator is None else {"text_base": _base(generator)})}
    trials = {} if before is None else tried(before, encoder, schema, train, recipe.seed)
    tasks = head_tasks(encoder, schema, train, recipe, generator)
    portioned = replace(recipe, batch_size=examples_in_update(schema, train, recipe.batch_size))
    near = None if before is None else near_version(before, schema, encoder.base_id, recipe)
    former = None if near is None else former_of(near, schema, tasks, train, recipe)
    trained = _train(encoder, generator, tasks, portioned, on_progress, near if recipe.warm_start else None, former)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        if ENCODER in trained:
            trained[ENCODER].save(temporary)
            encoder = encoder.adapted(temporary)
        if generator is not None and GENERATOR in trained:
            trained[GENERATOR].save(temporary / GENERATOR)
            generator = generator.adapted(temporary / GENERATOR)
        learned = {name: head for part in trained.values() for name, head in part.heads.items()}
        heads, metrics = measured(encoder, schema, learned, held_out, generator, trials)
        save_heads(heads, temporary / HEADS)
        save_trials(temporary / TRIALS, train, trials)
        if generator is not None and GENERATOR in trained:
            generator.save_texts(temporary / GENERATOR)
        seconds = round(time.monotonic() - started, 2)
        averaged = 0.0 if former is None else former.share
        meta = {**_meta(bases, schema, recipe, trained, train, metrics, seconds), "averaged": averaged}
        (temporary / META).write_text(json.dumps(meta, indent=1, sort_keys=True))
        publish_folder(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_meta(directory)


def head_tasks(
    encoder: Encoder, schema: Schema, train: Sequence[Example], recipe: Recipe, generator: Generator | None = None
) -> dict[str, HeadTask | TextTask]:
    """What each control teaches that can learn from these examples. Raises ValueError where none can."""
    given = [e for e in train if e.weight == 1]  # by annotators: what a model guessed makes nothing learnable
    tasks: dict[str, HeadTask | TextTask] = {}
    for control in learnable(schema, given, texts=generator is not None):
        problem, model = problem_for(control), model_for(control, encoder, generator)
        tasks[control.name] = problem.head_task(control, model, train, smoothing=recipe.smoothing, seed=recipe.seed)
    if not tasks:
        raise ValueError(f"{len(train)} examples teach none of {', '.join(c.name for c in schema.controls)}")
    weights = np.array([e.weight for e in train], np.float32)
    return {n: replace(task, weights=weights) if isinstance(task, HeadTask) else task for n, task in tasks.items()}


def examples_in_update(schema: Schema, examples: Sequence[Example], texts: int) -> int:
    """How many examples an update of the encoder has that is to read so many ``texts``: fewer, but at least
    :data:`FEWEST`, where an example is several. Of several controls the one with the fewest texts counts."""
    answered = {name for e in examples for name in e.targets}
    read = [c for c in schema.controls if c.name in answered and problem_for(c).reads == ENCODER]
    each = min((_texts_of_one(control, examples) for control in read), default=1.0)
    return int(np.clip(round(texts / each), min(FEWEST, texts), texts))


def _texts_of_one(control: Control, examples: Sequence[Example]) -> float:
    """How many texts of an example that the control learns from are read one by one, on average."""
    problem = problem_for(control)
    if not problem.apart:
        return 1.0
    return float(np.mean([len(problem.texts(control, e.item)) for e in examples if control.name in e.targets]))


def _train(
    encoder: Encoder,
    generator: Generator | None,
    tasks: Mapping[str, HeadTask | TextTask],
    recipe: Recipe,
    on_progress: Callable[[int, int, float], None],
    start: Path | None,
    former: Former | None,
) -> dict[str, Trained]:
    """The trained adapters, of :data:`ENCODER` and :data:`GENERATOR`, one behind the other."""
    heads = {name: task for name, task in tasks.items() if isinstance(task, HeadTask)}
    texts = {name: task for name, task in tasks.items() if isinstance(task, TextTask)}
    trained: dict[str, Trained] = {}
    if heads:
        if start is not None:
            before = load_heads(start / HEADS)
            heads = {name: _near(task, before.get(name), recipe.warm_start) for name, task in heads.items()}
        more = recipe.text_steps if texts else 0
        there = start if start is not None and has_adapter(start) else None
        trained[ENCODER] = train_adapter(
            encoder, heads, recipe, lambda step, steps, loss: on_progress(step, steps + more, loss), there, former
        )
    if texts and generator is not None:
        done = trained[ENCODER].steps if heads else 0
        there = start / GENERATOR if start is not None and has_adapter(start / GENERATOR) else None
        trained[GENERATOR] = train_writer(
            generator, texts, recipe, lambda step, steps, loss: on_progress(done + step, done + steps, loss), there
        )
    return trained


def _near(task: HeadTask, before: LinearHead | None, share: float) -> HeadTask:
    """The task with a start that is ``share`` of the way to the head ``before``; as it is where that has another
    shape."""
    if before is None or before.weight.shape != task.start.weight.shape:
        return task
    return replace(task, start=task.start.moved(before, share))


def measured(
    encoder: Encoder,
    schema: Schema,
    trained: Mapping[str, LinearHead],
    held_out: Sequence[Example],
    generator: Generator | None = None,
    trials: Mapping[str, Sequence[Trial]] | None = None,
) -> tuple[dict[str, LinearHead], dict[str, Any]]:
    """Calibrated heads, and for each control ``{"n", "tried"}``: how many held-out examples and trials.

    A control that could not be learned has its cold head. Beside a head stand those that measure it: see
    :meth:`Version.outputs_apart`.
    """
    heads: dict[str, LinearHead] = {}
    metrics: dict[str, Any] = {}
    for control in schema.controls:
        problem, name = problem_for(control), control.name
        if name not in trained:
            heads[name] = cold_head(encoder, control)
            continue
        examples = [e for e in held_out if name in e.targets]
        model = model_for(control, encoder, generator)
        if known := (trials or {}).get(name):
            said = np.stack([t.logits for t in known]), [t.example.targets[name] for t in known]
            heads[name] = problem.calibrated_as_tried(control, trained[name], model, examples, said)
        else:
            heads[name] = problem.calibrated(control, trained[name], model, examples)
        folds = [[e for e in examples if fold_of(e) == fold] for fold in range(FOLDS)]
        apart = problem.calibrated_apart(control, trained[name], model, folds) if examples else []
        heads |= {apart_name(name, fold): replace(h, weight=h.weight[:, :0]) for fold, h in enumerate(apart)}
        metrics[name] = {"n": len(examples), **({"tried": len(known or [])} if problem.tried else {})}
    return heads, metrics


def _base(model: Encoder | Generator) -> dict[str, str]:
    return {"name": model.spec.name, "revision": model.spec.revision, "id": model.base_id}


def publish_folder(temporary: Path, directory: Path) -> None:
    """Give a complete folder its name. If another process was faster, its folder stays."""
    if directory.exists() and not (directory / META).exists():
        shutil.rmtree(directory)  # left by something else than this function, and not a version
    temporary.chmod(0o755)
    try:
        os.rename(temporary, directory)
    except OSError:
        if not (directory / META).exists():
            raise


def _meta(
    bases: Mapping[str, Any],
    schema: Schema,
    recipe: Recipe,
    trained: Mapping[str, Trained],
    train: Sequence[Example],
    metrics: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    (first, *_), writer = trained.values(), trained.get(GENERATOR)
    return {
        "kind": "lora",
        "schema": schema.to_json(),
        "recipe": asdict(recipe),
        **bases,
        "adapted": list(trained),
        "examples": sum(e.weight == 1 for e in train),
        "guessed": sum(e.weight < 1 for e in train),
        "controls": metrics,
        "loss": first.loss,
        "steps": first.steps,
        **({"writer": {"loss": writer.loss, "steps": writer.steps}} if writer else {}),
        "seconds": seconds,
        "libraries": {name: installed(name) for name in LIBRARIES},
    }
