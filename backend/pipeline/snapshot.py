"""What there is to learn, written down once: labels, guesses, recipe and models in one file that a training reads.

A snapshot's hash names the work: the same labels, recipe and base model are the same version and are not trained again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from backend.errors import UserError
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec, TextSpec
from backend.pipeline import due
from backend.pipeline.parts import Parts
from backend.pipeline.pool import Labels, TaskTable, read_labels
from backend.pipeline.publish import load_or_none
from backend.problems.base import problem_for, readers
from backend.problems.examples import example_json, learnable
from backend.problems.guessing import LOOKED_AT, guesses, wants_guesses
from backend.problems.schema import Example, Schema
from backend.registry.records import Project
from backend.serving.host import data_folder

TEXTS_MEASURED = 100  # held-out tasks that two versions write texts for


def take_snapshot(parts: Parts, key: str) -> dict[str, Any]:
    """What is to be learned: ``{"hash", "path", "seen", "labels", "before"}``; its content's hash names the file.

    ``before`` is the key in the storage of the active version, None where it was not trained. Only where a training
    starts near it does it name the work: else the same labels would be other work once what they taught is active.

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
    before, held_out = _before(parts, project), measurable(schema, held_out)
    content = {
        "schema": schema.to_json(),
        "model": asdict(ModelSpec.from_settings(parts.settings)),
        "base": parts.host.encoder().base_id,  # a hub model without a revision may be another one tomorrow
        "recipe": asdict(recipe),
        "train": [example_json(schema, e) for e in train],
        "guessed": [example_json(schema, e) for e in _guessed(parts, project, table, labels, recipe, len(train))],
        "held_out": [example_json(schema, e) for e in held_out],
        "start": before if recipe.warm_start else None,
        **({"text_model": asdict(writer)} if writer else {}),
        **({"text_base": generator.base_id} if (generator := parts.host.generator(schema)) else {}),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    path = data_folder(parts.settings, "work", digest) / "snapshot.json"
    path.write_text(json.dumps({**content, "audit_share": parts.settings.audit_share}, sort_keys=True))
    return {"hash": digest, "path": str(path), "seen": seen, "labels": n, "before": before}


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


def _check_enough(schema: Schema, train: list[Example], writer: TextSpec | None) -> None:
    if readers(schema) == {"generator"} and writer is None:
        raise UserError("TEXT_MODEL is not set, so there is nothing to train.", "Set it; the queue is kept without it.")
    if not learnable(schema, train, texts=writer is not None):
        raise UserError(
            f"{len(train)} labelled tasks that may be trained on are too few, or they all have the same label.",
            "Label a few more; tasks of the audit share do not count.",
        )


def _before(parts: Parts, project: Project) -> str | None:
    """Where the active version is stored, if it was trained and is not lost."""
    row = due.active_version(parts, project)
    return row.location if row is not None and row.location and parts.storage.has(row.location) else None


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
    version = load_or_none(parts, project, row.name)
    if version is None:
        return []
    store = parts.features.of(version)
    store.fill(version, items)
    return guesses(version, table.ids[chosen].tolist(), items, store.get(items), recipe, most)
