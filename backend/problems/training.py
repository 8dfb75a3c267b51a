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
from backend.problems.schema import Control, Example, Floats, Schema
from backend.problems.version import HEADS, META, load_heads, save_heads

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
    texts = [e.text for e in train]
    tasks = head_tasks(encoder, schema, train, recipe)
    if start is not None:
        tasks = {name: _near(task, load_heads(start / HEADS)[name], recipe.warm_start) for name, task in tasks.items()}
    trained = train_adapter(encoder, texts, tasks, recipe, on_progress, start)
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
    """What each control's head learns, starting from a linear head on the frozen encoder's features."""
    features = encoder.embed([e.text for e in train])
    return {c.name: _head_task(c, features, train, recipe) for c in schema.controls}


def _head_task(control: Control, features: Floats, train: Sequence[Example], recipe: Recipe) -> HeadTask:
    problem = problem_for(control)
    targets, present = problem.targets_array(control, train)
    weights = np.array([e.weight for e in train], np.float32)
    given = present & (weights == 1)  # by annotators: what a model guessed neither starts the head nor weighs classes
    if not given.any():
        raise ValueError(f"no example has a target for {control.name!r}")
    start = problem.fit_head(control, features[given], list(targets[given]), seed=recipe.seed)
    loss = problem.loss(targets[given], recipe.smoothing)
    groups = np.where(weights == 1, problem.groups(targets), -1)
    return HeadTask(start, targets, present, loss, groups, weights)


def _near(task: HeadTask, before: LinearHead, share: float) -> HeadTask:
    """The task with a start that is ``share`` of the way to the head ``before``."""
    weight, bias = (
        (share * old + (1 - share) * new).astype(np.float32)
        for old, new in ((before.weight, task.start.weight), (before.bias, task.start.bias))
    )
    return replace(task, start=LinearHead(weight, bias))


def measured(
    encoder: Encoder, schema: Schema, trained: Trained, held_out: Sequence[Example]
) -> tuple[dict[str, LinearHead], dict[str, Any]]:
    """Calibrated heads, and for each control ``{"n", "correct": {task id: bool}}`` on the held-out examples."""
    features = encoder.embed([e.text for e in held_out])
    heads: dict[str, LinearHead] = {}
    metrics: dict[str, Any] = {}
    for control in schema.controls:
        problem = problem_for(control)
        targets, present = problem.targets_array(control, held_out)
        heads[control.name] = problem.calibrated(trained.heads[control.name], features[present], targets[present])
        outputs = problem.outputs(heads[control.name], features[present])
        ids = [held_out[at].task_id for at in np.flatnonzero(present)]
        right = [problem.correct(o, t) for o, t in zip(outputs, targets[present], strict=True)]
        metrics[control.name] = {"n": len(ids), "correct": dict(zip(map(str, ids), right, strict=True))}
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
