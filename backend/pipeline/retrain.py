"""A training from snapshot to registered version; each function is one step of the durable workflow.

A snapshot's hash names the work: the same labels, recipe and base model are the same version and are not trained again.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active.metrics import accuracy_interval, macro_f1_interval, worse_beyond_noise
from backend.errors import UserError
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec
from backend.pipeline.evaluation import evaluate, interval_json
from backend.pipeline.parts import Parts, main_control
from backend.pipeline.pool import Labels, TaskTable, read_labels
from backend.pipeline.publish import load
from backend.problems.guessing import LOOKED_AT, guesses, wants_guesses
from backend.problems.schema import Example, Output, Schema
from backend.problems.version import Version, load_version
from backend.registry import versions as records
from backend.registry.records import Project, VersionRow
from backend.serving.host import data_folder
from backend.telemetry import logger

log = logger("retrain")

Progress = Callable[[float, str], None]


def cold_start(parts: Parts, project: Project) -> VersionRow:
    """The version before any training: the frozen base model with a head made of the label names."""
    schema = project.asks()
    return records.add_version(
        parts.registry,
        project.key,
        schema_hash=schema.hash,
        snapshot=f"cold-{schema.hash}",
        seen=0,
        labels=0,
        location=None,
        audit=None,
        meta={"kind": "cold"},
        verdict="ready",
        first_number=0,
    )


def take_snapshot(parts: Parts, key: str) -> dict[str, Any]:
    """What is to be learned: ``{"hash", "path", "seen", "labels", "start"}``; the file is named by its content's hash.

    ``start`` is the key in the storage of the version that the training starts near, None where from scratch.

    Raises UserError where there is too little to learn from.
    """
    project = parts.registry.must_project(key)
    seen, _ = parts.registry.newest_change(key)
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    labels = read_labels(parts.registry, project)
    train, held_out = split(table, labels)
    _check_enough(project, train)
    recipe = Recipe.from_settings(parts.settings)
    start = _start(parts, project, recipe)
    content = {
        "schema": project.asks().to_json(),
        "model": asdict(ModelSpec.from_settings(parts.settings)),
        "recipe": asdict(recipe),
        "train": [_example_json(e) for e in train],
        "guessed": [_example_json(e) for e in _guessed(parts, project, table, labels, recipe, len(train))],
        "held_out": [_example_json(e) for e in held_out],
        "start": start,
    }
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = data_folder(parts.settings, "work", digest) / "snapshot.json"
    path.write_text(text)
    return {"hash": digest, "path": str(path), "seen": seen, "labels": len(train) + len(held_out), "start": start}


def _start(parts: Parts, project: Project, recipe: Recipe) -> str | None:
    """Where the active version is stored, if a training may start near it: same labels, base model and rank."""
    row = active_version(parts, project)
    if recipe.warm_start == 0 or row is None or row.location is None:
        return None
    same_rank = row.meta.get("recipe", {}).get("lora_rank") == recipe.lora_rank
    same_base = row.meta.get("base", {}).get("id") == parts.host.encoder().base_id
    return row.location if same_rank and same_base else None


def _guessed(
    parts: Parts, project: Project, table: TaskTable, labels: Labels, recipe: Recipe, most: int
) -> list[Example]:
    """What the active version is sure of among tasks that nobody touched and that are not held out, ``most`` at most.

    The tasks that versions are compared on without an audit share (:func:`stop_set`) come last.
    """
    row = active_version(parts, project)
    if not wants_guesses(recipe, most) or row is None or row.location is None:
        return []
    touched = np.isin(table.ids, list(labels.touched))
    order = np.argsort(-table.audit_rank, kind="stable")
    chosen = order[~table.audit[order] & ~touched[order]][:LOOKED_AT]
    texts = [table.texts[at] for at in chosen]
    version = load(parts, project, row.name)
    store = parts.features.of(version.encoder)
    store.fill(version.encoder, texts)
    return guesses(version, table.ids[chosen].tolist(), texts, store.get(texts), recipe, most)


def active_version(parts: Parts, project: Project) -> VersionRow | None:
    """The active version, None where there is none or the label config has changed since."""
    current = records.active(parts.registry, project.key)
    row = records.version(parts.registry, project.key, current.version) if current else None
    return row if row is not None and row.schema_hash == project.asks().hash else None


def split(table: TaskTable, labels: Labels) -> tuple[list[Example], list[Example]]:
    """(training examples, held-out examples), in order of the task ids."""
    train: list[Example] = []
    held_out: list[Example] = []
    for task_id in sorted(labels.targets):
        at = table.position.get(task_id)
        if at is not None:
            example = Example(task_id, table.texts[at], labels.targets[task_id])
            (held_out if table.audit[at] else train).append(example)
    return train, held_out


def train(parts: Parts, key: str, snapshot: Mapping[str, Any], on_progress: Progress) -> str:
    """Train in a process of its own and store the result; its key in the storage. Done already: returned at once.

    Raises UserError with the last line of the training's log where it failed.
    """
    location = f"{key}/{snapshot['hash']}"
    if parts.storage.has(location):
        return location
    folder = Path(snapshot["path"]).parent
    out = folder / "version"
    log_file = folder / "training.log"
    command = [sys.executable, "-m", "backend.pipeline.train_job", snapshot["path"], str(out)]
    if snapshot.get("start"):
        command.append(str(parts.storage.get(snapshot["start"])))
    with open(log_file, "w") as errors:
        # on a terminal the bar goes to the terminal, elsewhere the log takes what the training says
        stderr = None if sys.stderr.isatty() else errors
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.PIPE,
            text=True,
            # Ctrl-C is the worker's, whose end ends the training through its stdin; not a session of its own, within
            # which Linux would not heed its niceness
            process_group=0,
        ) as job:
            assert job.stdout is not None
            for line in job.stdout:
                _report(line, on_progress)
    if job.returncode != 0:
        lines = log_file.read_text().strip().splitlines()
        last = lines[-1] if lines else f"exit code {job.returncode}"
        raise UserError(f"The training process failed: {last}", f"Its log: {log_file}")
    parts.storage.put(out, location)
    return location


def _report(line: str, on_progress: Progress) -> None:
    try:
        value = json.loads(line)
        on_progress(float(value["progress"]), str(value["message"]))
    except (ValueError, KeyError, TypeError):
        log.info("training says", line=line.strip()[:500])


def register(parts: Parts, key: str, snapshot: Mapping[str, Any], location: str) -> dict[str, Any]:
    """Evaluate on the held-out tasks and register: ``{"version", "activate", "message"}``.

    The gate keeps a version back only if it is worse than the active one beyond noise on the same held-out tasks.
    """
    project = parts.registry.must_project(key)
    schema = project.asks()
    content = json.loads(Path(snapshot["path"]).read_text())
    meta = json.loads((parts.storage.get(location) / "version.json").read_text())
    held_out = [example_from(e) for e in content["held_out"]]
    trained_schema = Schema.from_json(content["schema"])
    version = load_version(parts.storage.get(location), parts.host.encoder())
    outputs = _outputs(version, trained_schema, held_out)
    verdict = _verdict(parts, project, held_out, correct(trained_schema, held_out, outputs))
    if schema.hash == trained_schema.hash:
        meta = {**meta, "evaluation": _evaluation(parts, project, content, version)}
    row = records.add_version(
        parts.registry,
        key,
        schema_hash=trained_schema.hash,
        snapshot=snapshot["hash"],
        seen=snapshot["seen"],
        labels=snapshot["labels"],
        location=location,
        audit=audit_result(trained_schema, held_out, outputs, parts.settings.seed),
        meta=meta,
        verdict=verdict,
    )
    if schema.hash != trained_schema.hash:
        return {"version": row.name, "activate": False, "message": "the label config changed during the training"}
    message = _message(row)
    log.info("version registered", project=key, version=row.name, verdict=row.verdict, audit=row.audit)
    return {"version": row.name, "activate": row.verdict == "ready", "message": message}


def discard(parts: Parts, snapshot: Mapping[str, Any]) -> None:
    """Delete the working folder of a training that is registered."""
    shutil.rmtree(Path(snapshot["path"]).parent, ignore_errors=True)


def audit_result(
    schema: Schema, held_out: Sequence[Example], outputs: Sequence[Output], seed: int
) -> dict[str, Any] | None:
    """``{"n", "correct", "value", "low", "high", "macro_f1": {"value", "low", "high"}}``, None without an example."""
    if not held_out:
        return None
    control, problem = main_control(schema)
    right = int(correct(schema, held_out, outputs).sum())
    answers = [problem.answer(output) for output in outputs]
    said = [-1 if answer is None else problem.hard_class(answer) for answer in answers]
    true = [problem.hard_class(e.targets[control.name]) for e in held_out]
    return {
        "n": len(held_out),
        "correct": right,
        **interval_json(accuracy_interval(right, len(held_out))),
        "macro_f1": interval_json(macro_f1_interval(said, true, seed=seed)),
    }


def correct(schema: Schema, held_out: Sequence[Example], outputs: Sequence[Output]) -> NDArray[np.bool_]:
    """Which of the outputs are right, (N,)."""
    control, problem = main_control(schema)
    pairs = zip(outputs, held_out, strict=True)
    return np.array([problem.correct(o, e.targets[control.name]) for o, e in pairs], bool)


def _outputs(version: Version, schema: Schema, held_out: Sequence[Example]) -> list[Output]:
    control, _ = main_control(schema)
    return version.predict([e.text for e in held_out])[control.name] if held_out else []


def _evaluation(parts: Parts, project: Project, content: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """See :func:`evaluate`; compared with the newest version of the same schema."""
    schema = project.asks()
    rows = [r for r in records.versions(parts.registry, project.key) if r.schema_hash == schema.hash]
    previous = load(parts, project, rows[-1].name) if rows else None
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    return evaluate(parts, schema, [example_from(e) for e in content["train"]], table, version, previous)


def _verdict(parts: Parts, project: Project, held_out: Sequence[Example], new: NDArray[np.bool_]) -> str:
    row = active_version(parts, project)
    if row is None:
        return "ready"
    old = correct(project.asks(), held_out, _outputs(load(parts, project, row.name), project.asks(), held_out))
    if not worse_beyond_noise(old, new):
        return "ready"
    return f"worse than {row.name} on the same {len(new)} held-out tasks: {int(new.sum())} right, not {int(old.sum())}"


def _message(row: VersionRow) -> str:
    on = f"{row.audit['correct']} of {row.audit['n']} held-out tasks right" if row.audit else "no held-out task yet"
    return f"{row.name} learned from {row.labels} labels, {on}" + (
        "" if row.verdict == "ready" else f"; not activated: {row.verdict}"
    )


def _check_enough(project: Project, train: list[Example]) -> None:
    control, problem = main_control(project.asks())
    if not problem.can_fit(control, [e.targets[control.name] for e in train]):
        raise UserError(
            f"{len(train)} labelled tasks that may be trained on are too few, or they all have the same label.",
            "Label a few more; tasks of the audit share do not count.",
        )


def _example_json(example: Example) -> dict[str, Any]:
    targets = {name: [round(float(x), 6) for x in target] for name, target in example.targets.items()}
    return {"task": example.task_id, "text": example.text, "targets": targets, "weight": example.weight}


def example_from(value: Mapping[str, Any]) -> Example:
    targets = {name: np.array(target, np.float32) for name, target in value["targets"].items()}
    return Example(value["task"], value["text"], targets, value.get("weight", 1.0))
