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
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec
from backend.models.training import HeadTask, Trained, train_adapter
from backend.problems.base import problem_for
from backend.problems.examples import learnable
from backend.problems.schema import Example, Schema
from backend.problems.version import HEADS, META, cold_head, load_heads, save_heads

LIBRARIES = ("torch", "transformers", "peft", "numpy", "scikit-learn")


def train_version(
    base: ModelSpec | Encoder,
    schema: Schema,
    train: Sequence[Example],
    held_out: Sequence[Example],
    recipe: Recipe,
    directory: Path,
    on_progress: Callable[[int, int, float], None],
    start: Path | None = None,
) -> dict[str, Any]:
    """The content of ``directory/version.json``, written beside the adapter and the heads.

    A version that is there already is returned at once. The folder appears complete or not at all.
    ``start``: a version of the same schema, base and rank to start near, ``recipe.warm_start`` of the way. Labels of
    ``held_out`` only measure, and set the temperature of the probabilities. Those of ``train`` may weigh less than 1.
    """
    if (directory / META).exists():
        return read_meta(directory)
    encoder = base if isinstance(base, Encoder) else Encoder.load(base)
    started = time.monotonic()
    tasks = head_tasks(encoder, schema, train, recipe)
    if start is not None:
        before = load_heads(start / HEADS)
        tasks = {name: _near(task, before.get(name), recipe.warm_start) for name, task in tasks.items()}
    trained = train_adapter(encoder, tasks, recipe, on_progress, start)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        trained.save(temporary)
        heads, metrics = measured(encoder.adapted(temporary), schema, trained, held_out)
        save_heads(heads, temporary / HEADS)
        seconds = round(time.monotonic() - started, 2)
        meta = _meta(encoder, schema, recipe, trained, train, metrics, seconds)
        (temporary / META).write_text(json.dumps(meta, indent=1, sort_keys=True))
        publish_folder(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_meta(directory)


def head_tasks(encoder: Encoder, schema: Schema, train: Sequence[Example], recipe: Recipe) -> dict[str, HeadTask]:
    """What the head of each control learns that can learn from these examples. Raises ValueError where none can."""
    given = [e for e in train if e.weight == 1]  # by annotators: what a model guessed makes nothing learnable
    tasks = {
        c.name: problem_for(c).head_task(c, encoder, train, smoothing=recipe.smoothing, seed=recipe.seed)
        for c in learnable(schema, given)
    }
    if not tasks:
        raise ValueError(f"{len(train)} examples teach none of {', '.join(c.name for c in schema.controls)}")
    weights = np.array([e.weight for e in train], np.float32)
    return {name: replace(task, weights=weights) for name, task in tasks.items()}


def _near(task: HeadTask, before: LinearHead | None, share: float) -> HeadTask:
    """The task with a start that is ``share`` of the way to the head ``before``; as it is where that has another
    shape."""
    if before is None or before.weight.shape != task.start.weight.shape:
        return task
    weight, bias = (
        (share * old + (1 - share) * new).astype(np.float32)
        for old, new in ((before.weight, task.start.weight), (before.bias, task.start.bias))
    )
    return replace(task, start=replace(task.start, weight=weight, bias=bias))


def measured(
    encoder: Encoder, schema: Schema, trained: Trained, held_out: Sequence[Example]
) -> tuple[dict[str, LinearHead], dict[str, Any]]:
    """Calibrated heads, and for each control ``{"n", "quality": {task id: number in [0, 1]}}`` on held-out examples.

    A control that could not be learned has its cold head.
    """
    heads: dict[str, LinearHead] = {}
    metrics: dict[str, Any] = {}
    for control in schema.controls:
        problem, name = problem_for(control), control.name
        if name not in trained.heads:
            heads[name] = cold_head(encoder, control)
            continue
        examples = [e for e in held_out if name in e.targets]
        heads[name] = head = problem.calibrated(control, trained.heads[name], encoder, examples)
        outputs = problem.outputs(control, head, problem.read(control, head, encoder, [e.item for e in examples]))
        quality = [problem.quality(control, o, e.targets[name]) for o, e in zip(outputs, examples, strict=True)]
        by_task = {str(e.task_id): q for e, q in zip(examples, quality, strict=True)}
        metrics[name] = {"n": len(examples), "quality": by_task}
    return heads, metrics


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


def read_meta(directory: Path) -> dict[str, Any]:
    """The content of ``version.json``."""
    content: dict[str, Any] = json.loads((directory / META).read_text())
    return content


def _meta(
    encoder: Encoder,
    schema: Schema,
    recipe: Recipe,
    trained: Trained,
    train: Sequence[Example],
    metrics: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    return {
        "kind": "lora",
        "schema": schema.to_json(),
        "recipe": asdict(recipe),
        "base": {"name": encoder.spec.name, "revision": encoder.spec.revision, "id": encoder.base_id},
        "examples": sum(e.weight == 1 for e in train),
        "guessed": sum(e.weight < 1 for e in train),
        "controls": metrics,
        "loss": trained.loss,
        "steps": trained.steps,
        "seconds": seconds,
        "libraries": {name: installed(name) for name in LIBRARIES},
    }
