"""A training from snapshot to registered version; each function is one step of the durable workflow.

A snapshot's hash names the work: the same labels, recipe and base model are the same version and are not trained again.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active.audit import is_audit
from backend.active.metrics import accuracy_interval, worse_beyond_noise
from backend.errors import UserError
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec, TextSpec
from backend.pipeline import due
from backend.pipeline.evaluation import earlier_one, evaluate, interval_json, stop_set
from backend.pipeline.parts import Parts
from backend.pipeline.pool import Labels, TaskTable, read_labels
from backend.pipeline.publish import load
from backend.problems.base import problem_for, readers
from backend.problems.examples import example_from, example_json, learnable
from backend.problems.guessing import LOOKED_AT, guesses, wants_guesses
from backend.problems.opinions import ASKED, opinions, wants_opinions
from backend.problems.schema import Control, Example, Output, Schema
from backend.problems.version import Version, load_version
from backend.registry import versions as records
from backend.registry.database import now
from backend.registry.records import Project, VersionRow
from backend.serving.host import data_folder
from backend.settings import Settings
from backend.telemetry import logger

log = logger("retrain")

Progress = Callable[[float, str], None]
Outputs = Mapping[str, Sequence[Output]]
TEXTS_MEASURED = 100  # held-out tasks that two versions write texts for


def starting_version(parts: Parts, project: Project) -> str:
    """Where a project begins that has no active version for what it asks: with the last one that answered this, else
    with :func:`cold_start`."""
    fitting = {v.name for v in due.usable_versions(parts, project)}
    before = [a.version for a in records.activations(parts.registry, project.key) if a.version in fitting]
    return before[-1] if before else cold_start(parts, project).name


def cold_start(parts: Parts, project: Project) -> VersionRow:
    """The version before any training: the frozen base model with a head made of the label names."""
    schema, base, writer = project.asks(), parts.host.encoder(), parts.host.generator(project.asks())
    models: dict[str, Any] = {"base": base} if writer is None else {"base": base, "text_base": writer}
    ids = {name: {"id": model.base_id} for name, model in models.items()}
    return records.add_version(
        parts.registry,
        project.key,
        schema_hash=schema.hash,
        snapshot="-".join(["cold", schema.hash, *(model["id"] for model in ids.values())]),
        seen=0,
        labels=0,
        location=None,
        audit=None,
        meta={"kind": "cold", **ids},
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
    labels = read_labels(parts.registry, project, table)
    train, held_out = split(table, labels)
    n, schema = len(train) + len(held_out), project.asks()
    writer = TextSpec.from_settings(parts.settings) if "generator" in readers(schema) else None
    _check_enough(schema, train, writer)
    recipe = Recipe.from_settings(parts.settings)
    start, held_out = _start(parts, project, recipe), measurable(schema, held_out)
    content = {
        "schema": schema.to_json(),
        "model": asdict(ModelSpec.from_settings(parts.settings)),
        "base": parts.host.encoder().base_id,  # a hub model without a revision may be another one tomorrow
        "recipe": asdict(recipe),
        "train": [example_json(schema, e) for e in train],
        "guessed": [example_json(schema, e) for e in _guessed(parts, project, table, labels, recipe, len(train))],
        "held_out": [example_json(schema, e) for e in held_out],
        "start": start,
        **({"text_model": asdict(writer)} if writer else {}),
        **({"text_base": generator.base_id} if (generator := parts.host.generator(schema)) else {}),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    # beside what names the work: when the same labels come again, the version before is another one
    second = [example_json(schema, e) for e in _opinions(parts, project, table, labels, len(train))]
    path = data_folder(parts.settings, "work", digest) / "snapshot.json"
    path.write_text(json.dumps({**content, "opinions": second}, sort_keys=True))
    return {"hash": digest, "path": str(path), "seen": seen, "labels": n, "start": start}


def _start(parts: Parts, project: Project, recipe: Recipe) -> str | None:
    """Where the active version is stored, if a training may start near it: same labels, base model and rank."""
    row = due.active_version(parts, project)
    if recipe.warm_start == 0 or row is None or row.location is None:
        return None
    same_rank = row.meta.get("recipe", {}).get("lora_rank") == recipe.lora_rank
    same_base = row.meta.get("base", {}).get("id") == parts.host.encoder().base_id
    return row.location if same_rank and same_base and parts.storage.has(row.location) else None


def _guessed(
    parts: Parts, project: Project, table: TaskTable, labels: Labels, recipe: Recipe, most: int
) -> list[Example]:
    """What the active version is sure of among tasks that nobody touched and that are not held out, ``most`` at most.

    The tasks that versions are compared on without an audit share (:func:`stop_set`) come last.
    """
    row = due.active_version(parts, project)
    if not wants_guesses(recipe, most) or row is None or row.location is None:
        return []
    touched = np.isin(table.ids, list(labels.touched))
    order = np.argsort(-table.audit_rank, kind="stable")
    chosen = order[~table.audit[order] & ~touched[order]][:LOOKED_AT]
    items = [table.items[at] for at in chosen]
    version = _former(parts, project, row.name)
    if version is None:
        return []
    store = parts.features.of(version)
    store.fill(version, items)
    return guesses(version, table.ids[chosen].tolist(), items, store.get(items), recipe, most)


def _opinions(parts: Parts, project: Project, table: TaskTable, labels: Labels, n: int) -> list[Example]:
    """What the newest version answers to tasks that versions are compared on and that have no label; none where it is
    no match for a training on ``n`` labels. Their features are stored since it was compared."""
    rows = due.usable_versions(parts, project)
    if not rows or rows[-1].location is None:
        return []
    version = _former(parts, project, rows[-1].name)
    if version is None or not wants_opinions(version, n):
        return []
    asked = stop_set(table.audit, table.audit_rank)
    asked = asked[~np.isin(table.ids[asked], list(labels.touched))][:ASKED]
    items = [table.items[at] for at in asked]
    store = parts.features.of(version)
    store.fill(version, items)
    return opinions(version, table.ids[asked].tolist(), items, store.get(items))


def split(table: TaskTable, labels: Labels) -> tuple[list[Example], list[Example]]:
    """(training examples, held-out examples), in order of the task ids."""
    train: list[Example] = []
    held_out: list[Example] = []
    for task_id in sorted(labels.targets):
        at = table.position.get(task_id)
        if at is not None:
            example = Example(task_id, table.items[at], labels.targets[task_id])
            (held_out if table.audit[at] else train).append(example)
    return train, held_out


def measurable(schema: Schema, held_out: Sequence[Example]) -> list[Example]:
    """Held-out examples of which at most ``TEXTS_MEASURED`` ask for texts: to write one takes seconds."""
    slow = {c.name for c in schema.controls if problem_for(c).reads == "generator"}
    kept, texts = [], 0
    for example in held_out:
        asked = slow & set(example.targets)
        texts += bool(asked)
        if asked and texts > TEXTS_MEASURED:
            example = replace(example, targets={k: v for k, v in example.targets.items() if k not in slow})
        if example.targets:
            kept.append(example)
    return kept


def train(parts: Parts, key: str, snapshot: Mapping[str, Any], on_progress: Progress) -> str:
    """Train in a process of its own and store the result; its key in the storage. Done already: returned at once.

    Raises UserError with the last line of the training's log where it failed, or what to do where it was killed.
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
    if job.returncode == -signal.SIGKILL:
        raise UserError(
            "The training process was killed: memory ran out, most likely.",
            "Give it more, lower TRAIN_TOKENS, MAX_TOKENS or TEXT_MAX_TOKENS, or choose a smaller model.",
        )
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

    The gate keeps a version back only if it is worse than the active one beyond noise on the same held-out tasks. A
    version that is there already is not made active once more: somebody may have chosen another one since.
    """
    if known := records.seen_again(parts.registry, key, snapshot["hash"], snapshot["seen"]):
        message = f"{known.name} has learned from these labels already"
        return {"version": known.name, "activate": False, "message": message}
    project = parts.registry.must_project(key)
    schema = project.asks()
    content = json.loads(Path(snapshot["path"]).read_text())
    meta = json.loads((parts.storage.get(location) / "version.json").read_text())
    trained_schema = Schema.from_json(content["schema"])
    held_out = [example_from(trained_schema, e) for e in content["held_out"]]
    generator = parts.host.generator(trained_schema)
    version = load_version(parts.storage.get(location), parts.host.encoder(), generator)
    outputs = version.outputs_apart(held_out)
    meta = {**meta, "features": version.base_id, "audit_share": parts.settings.audit_share}
    verdict = "ready"
    if schema.hash == trained_schema.hash:  # else the active version is asked something else
        verdict = _verdict(parts, project, held_out, version)
        meta = {**meta, "evaluation": _evaluation(parts, project, content, version)}
    row = records.add_version(
        parts.registry,
        key,
        schema_hash=trained_schema.hash,
        snapshot=snapshot["hash"],
        seen=snapshot["seen"],
        labels=snapshot["labels"],
        location=location,
        audit=audit_result(trained_schema, held_out, outputs, parts.settings),
        meta=meta,
        verdict=verdict,
    )
    if schema.hash != trained_schema.hash:
        return {"version": row.name, "activate": False, "message": "the label config changed during the training"}
    message = _message(row)
    log.info("version registered", project=key, version=row.name, verdict=row.verdict, audit=row.audit)
    return {"version": row.name, "activate": row.verdict == "ready", "message": message}


def sweep(parts: Parts, older_s: float) -> None:
    """Delete the working folders of trainings that came to nothing so long ago; their logs were there until then."""
    if records.active_jobs(parts.registry):
        return
    for folder in data_folder(parts.settings, "work").iterdir():
        if now() - folder.stat().st_mtime > older_s:
            shutil.rmtree(folder, ignore_errors=True)


def discard(parts: Parts, snapshot: Mapping[str, Any]) -> None:
    """Delete the working folder of a training that is registered."""
    shutil.rmtree(Path(snapshot["path"]).parent, ignore_errors=True)


def audit_result(
    schema: Schema, held_out: Sequence[Example], outputs: Outputs, settings: Settings
) -> dict[str, Any] | None:
    """``{"n", "metric", "correct", "value", "low", "high", …, "controls"}``, None without an example that counts.

    ``value`` is the mean quality of the answers; with one control ``metric`` is its name and what else its problem
    reports stands beside it, ``{"value", "low", "high"}`` each. With several ``controls`` has all that for each.
    """
    if not held_out:
        return None
    by_control = {c.name: _audit_of(c, held_out, outputs[c.name], settings.seed) for c in schema.controls}
    measured = {name: audit for name, audit in by_control.items() if audit is not None}
    if len(schema.controls) == 1:
        return measured.get(schema.controls[0].name)
    quality = qualities(schema, held_out, outputs, settings.weights)
    if not len(quality):
        return None
    return {"metric": "quality", **_mean_json(float(quality.sum()), len(quality)), "controls": measured}


def _audit_of(control: Control, held_out: Sequence[Example], outputs: Sequence[Output], seed: int) -> Any:
    problem, name = problem_for(control), control.name
    pairs = [(o, e.targets[name]) for o, e in zip(outputs, held_out, strict=True) if name in e.targets]
    if not pairs:
        return None
    right = sum(problem.quality(control, output, target) for output, target in pairs)
    report = problem.report(control, *zip(*pairs, strict=True), seed=seed)
    reported = {name: interval_json(interval) for name, interval in report.items()}
    return {"metric": problem.metric, **_mean_json(right, len(pairs)), **reported}


def _mean_json(right: float, n: int) -> dict[str, Any]:
    return {"n": n, "correct": round(right, 4), **interval_json(accuracy_interval(right, n))}


def qualities(
    schema: Schema, examples: Sequence[Example], outputs: Outputs, weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """How right the answers are, in [0, 1]: the weighted mean over the controls that the example has a target of.

    In order, without the examples that only have targets of controls that weigh nothing.
    """
    total, whole = np.zeros(len(examples)), np.zeros(len(examples))
    for control in schema.controls:
        problem, weight = problem_for(control), weights.get(control.name, 1.0)
        for at, (output, example) in enumerate(zip(outputs[control.name], examples, strict=True)):
            if control.name in example.targets:
                total[at] += weight * problem.quality(control, output, example.targets[control.name])
                whole[at] += weight
    return np.asarray(total[whole > 0] / whole[whole > 0])


def _evaluation(parts: Parts, project: Project, content: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """See :func:`evaluate`; compared with the newest version of the same schema, and the newest of far fewer labels."""
    schema = project.asks()
    train = [example_from(schema, e) for e in content["train"]]
    rows = due.usable_versions(parts, project)
    previous = _former(parts, project, rows[-1].name) if rows else None
    known = [(r.meta["evaluation"]["labels"], r.name) for r in rows if r.meta.get("evaluation")]
    fewer = earlier_one(schema, known, len(train))
    before = None if fewer is None else _former(parts, project, fewer[1])
    earlier = None if fewer is None or before is None else (fewer[0], before)
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    return evaluate(parts, schema, train, table, version, previous, earlier)


def _verdict(parts: Parts, project: Project, held_out: Sequence[Example], version: Version) -> str:
    """``ready``, or why the active version is better: on the held-out tasks that it has not learned from either."""
    row = due.active_version(parts, project)
    active = None if row is None else _former(parts, project, row.name)
    if row is None or active is None:
        return "ready"
    share = min(parts.settings.audit_share, row.meta.get("audit_share", 1.0))  # of more it has learned some
    both = [example for example in held_out if is_audit(project.key, example.task_id, share)]
    fair = active.apart or not version.apart  # else it is of a release that did not measure apart
    new, old = (
        qualities(project.asks(), both, said, parts.settings.weights)
        for said in (
            version.outputs_apart(both) if fair else version.predict([e.item for e in both]),
            active.outputs_apart(both),
        )
    )
    if not worse_beyond_noise(old, new):
        return "ready"
    return (
        f"worse than {row.name} on the same {len(new)} held-out tasks: {_right(new.sum())} right, not "
        f"{_right(old.sum())}"
    )


def _former(parts: Parts, project: Project, name: str) -> Version | None:
    """A version to compare with; None where it cannot be loaded, since lost weights are not to end learning."""
    try:
        return load(parts, project, name)
    except (UserError, OSError) as error:
        log.warning("a version cannot be loaded", project=project.key, version=name, reason=str(error))
        return None


def _message(row: VersionRow) -> str:
    on = (
        f"{_right(row.audit['correct'])} of {row.audit['n']} held-out tasks right"
        if row.audit
        else "no held-out task yet"
    )
    return f"{row.name} learned from {row.labels} labels, {on}" + (
        "" if row.verdict == "ready" else f"; not activated: {row.verdict}"
    )


def _right(quality: float) -> str:
    """A sum of qualities: a whole number where answers are right or wrong."""
    return f"{quality:.1f}".removesuffix(".0")


def _check_enough(schema: Schema, train: list[Example], writer: TextSpec | None) -> None:
    if readers(schema) == {"generator"} and writer is None:
        raise UserError("TEXT_MODEL is not set, so there is nothing to train.", "Set it; the queue is kept without it.")
    if not learnable(schema, train, texts=writer is not None):
        raise UserError(
            f"{len(train)} labelled tasks that may be trained on are too few, or they all have the same label.",
            "Label a few more; tasks of the audit share do not count.",
        )
