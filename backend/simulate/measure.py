"""What is measured of a version: on test items, on the audit tasks, and how well the labels cover the pool."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backend.active.metrics import accuracy_interval
from backend.pipeline.audit import qualities
from backend.problems.base import context_of, problem_for
from backend.problems.schema import Example, Floats, Item, Output, Schema

SAMPLE = 2000  # tasks of the pool whose nearest label is looked for
Outputs = Mapping[str, Sequence[Output]]


def quality(
    schema: Schema, outputs: Outputs, examples: Sequence[Example], weights: Mapping[str, float]
) -> dict[str, float]:
    """``accuracy``: the score that the curve shows (whatever its name, the mean over the controls); ``quality``: the
    mean over the tasks, which is what audit tasks measure; then, with a single control, its other scores."""
    by_task = qualities(schema, examples, outputs, weights)
    found = [_scores(schema, name, outputs[name], examples) for name in outputs]
    first = float(np.mean([next(iter(scores.values())) for scores in found if scores]))
    others = found[0] if len(found) == 1 else {}
    return {**others, "accuracy": first, **({"quality": float(by_task.mean())} if len(by_task) else {})}


def metric(schema: Schema) -> str:
    """The name of the score that the curve shows."""
    return " and ".join(dict.fromkeys(problem_for(control).score for control in schema.controls))


def _scores(schema: Schema, name: str, outputs: Sequence[Output], examples: Sequence[Example]) -> Mapping[str, float]:
    (control,) = (c for c in schema.controls if c.name == name)
    pairs = [(o, e.targets[name]) for o, e in zip(outputs, examples, strict=True) if name in e.targets]
    return problem_for(control).scores(control, *zip(*pairs, strict=True)) if pairs else {}


def audit(
    schema: Schema, outputs: Outputs, examples: Sequence[Example], weights: Mapping[str, float]
) -> dict[str, Any] | None:
    """What a project would be shown: quality on the audit tasks with its interval; None without any that counts."""
    quality = qualities(schema, examples, outputs, weights)
    if not len(quality):
        return None
    interval = accuracy_interval(float(quality.sum()), len(quality))
    return {"n": len(quality), "value": interval.value, "low": interval.low, "high": interval.high}


def characters(schema: Schema, batch: Sequence[Item]) -> int:
    """Characters to be read in a batch of tasks; a context that some of them share is read once."""
    shared = [context for context in (context_of(schema, item) for item in batch) if context is not None]
    repeated = sum(map(len, shared)) - sum(map(len, set(shared)))
    return sum(len(item.text) for item in batch) - repeated


def coverage(schema: Schema, features: Floats, pool: Sequence[Example], labelled: Sequence[int]) -> dict[str, Any]:
    """Of features (N, D): labels seen, and the cosine of a task of the pool to its nearest labelled one, on average
    and at the least (1 minus the k-center radius)."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    sample = np.random.default_rng(0).permutation(len(features))[:SAMPLE]
    nearest = (directions[sample] @ directions[list(labelled)].T).max(axis=1)
    seen = {
        (c.name, label)
        for at in labelled
        for c in schema.controls
        if c.name in pool[at].targets
        for label in problem_for(c).labels_in(pool[at].targets[c.name])
    }
    return {
        "classes": len(seen),
        "similarity": float(nearest.mean()),
        "least_similarity": float(nearest.min()),
    }
