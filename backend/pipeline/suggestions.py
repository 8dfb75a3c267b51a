"""Whether a suggestion is shown or the task is blank, and how often annotators kept what they were shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.active.suggestion import threshold
from backend.pipeline.parts import Parts, main_control
from backend.problems.schema import Schema
from backend.registry import versions as records
from backend.registry.database import now
from backend.registry.records import Annotation, Project
from backend.studio.codec import confidence, decode

NEWEST = 500  # answers that the threshold is learned from
FRESH_S = 10.0  # a web process looks at the answers again after this


@dataclass(frozen=True)
class Shown:
    """An answer and the suggestion before it: ``name`` of the publication, its ``confidence``, whether it was ``kept``.

    ``kept`` is None where the task was blank, ``confidence`` where the suggestion tells none.
    """

    name: str
    confidence: float | None
    kept: bool | None


def shown_to_annotators(schema: Schema, annotations: Sequence[Annotation]) -> list[Shown]:
    """What was shown for each answer that is no skip and of which Label Studio told the prediction."""
    return [shown for a in annotations if (shown := _shown(schema, a)) is not None]


def _shown(schema: Schema, annotation: Annotation) -> Shown | None:
    control, problem = main_control(schema)
    given = decode(schema, [annotation.to_studio()])
    if annotation.shown is None or not given or control.name not in given:
        return None
    result = annotation.shown.get("result") or []
    name = str(annotation.shown.get("model_version") or "")
    suggested = decode(schema, [{"result": result}])
    if not suggested or control.name not in suggested:
        return Shown(name, None, None)
    return Shown(name, confidence(control, result), problem.kept(suggested[control.name], given[control.name]))


def show_above(parts: Parts, project: Project | None, *, fresh: bool = False) -> float:
    """The confidence that a suggestion must exceed to be shown, in [0, 1]; ``SUGGEST_ABOVE`` until there are answers.

    Kept for some seconds, so that a request reads no annotations, unless it has to be ``fresh``.
    """
    if project is None or project.schema is None:
        return parts.settings.suggest_above
    known = parts.thresholds.get(project.key)
    if fresh or known is None or now() - known[0] > FRESH_S:
        annotations = parts.registry.annotations_with_suggestion(project.key, NEWEST)
        found = _threshold(parts, project, shown_to_annotators(project.schema, annotations))
        parts.thresholds[project.key] = known = (now(), found)
    return known[1]


def _threshold(parts: Parts, project: Project, answers: Sequence[Shown]) -> float:
    """A trained version is not judged by what annotators thought of label names alone."""
    active = records.active(parts.registry, project.key)
    cold = {r.name for r in records.versions(parts.registry, project.key) if r.location is None}
    names = {a.name: a.version in cold for a in records.activations(parts.registry, project.key)}
    while_cold = active is None or names[active.name]
    pairs = [
        (s.confidence, s.kept)
        for s in answers
        if s.kept is not None and s.confidence is not None and names.get(s.name, False) == while_cold
    ]
    return threshold([c for c, _ in pairs], [k for _, k in pairs], parts.settings.suggest_above)


def report(parts: Parts, project: Project) -> dict[str, Any]:
    """``{"show_above", "kept", "changed", "blank", "corrections_per_task", "versions": [the same for each name]}``.

    A correction is an answer other than the suggestion that was shown; blank tasks count as tasks.
    """
    annotations = parts.registry.annotations_with_suggestion(project.key)
    answers = shown_to_annotators(project.schema, annotations) if project.schema else []
    names = dict.fromkeys(a.name for a in answers)
    by_version = [{"name": name, **_counts([a for a in answers if a.name == name])} for name in names]
    return {"show_above": round(show_above(parts, project, fresh=True), 4), **_counts(answers), "versions": by_version}


def _counts(answers: Sequence[Shown]) -> dict[str, Any]:
    kept, changed, blank = (sum(a.kept is said for a in answers) for said in (True, False, None))
    rate = round(changed / len(answers), 4) if answers else None
    return {"kept": kept, "changed": changed, "blank": blank, "corrections_per_task": rate}
