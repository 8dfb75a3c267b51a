"""How right a version answers held-out tasks, and whether it is worse there than the active one: the gate.

An answer's quality in [0, 1] is its problem's; here these become numbers with intervals, over any kinds of controls.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active.audit import is_audit
from backend.active.metrics import accuracy_interval, worse_beyond_noise
from backend.pipeline import due
from backend.pipeline.evaluation import interval_json
from backend.pipeline.parts import Parts
from backend.pipeline.publish import load_or_none
from backend.problems.base import problem_for
from backend.problems.schema import Control, Example, Output, Schema
from backend.problems.version import Version
from backend.registry.records import Project
from backend.settings import Settings

Outputs = Mapping[str, Sequence[Output]]


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


def verdict(parts: Parts, project: Project, held_out: Sequence[Example], version: Version) -> str:
    """``ready``, or why the active version is better: on the held-out tasks that it has not learned from either."""
    row = due.active_version(parts, project)
    active = None if row is None else load_or_none(parts, project, row.name)
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
        f"worse than {row.name} on the same {len(new)} held-out tasks: {right_answers(new.sum())} right, not "
        f"{right_answers(old.sum())}"
    )


def right_answers(quality: float) -> str:
    """A sum of qualities: a whole number where answers are right or wrong."""
    return f"{quality:.1f}".removesuffix(".0")
