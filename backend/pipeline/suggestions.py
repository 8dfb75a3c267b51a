"""Whether a suggestion is shown or the task is blank, and how often annotators kept what they were shown."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.active.suggestion import threshold
from backend.errors import UserError
from backend.pipeline.parts import Parts
from backend.problems.base import problem_for
from backend.problems.schema import Control, Item, Schema
from backend.registry import versions as records
from backend.registry.database import now
from backend.registry.records import Annotation, Project
from backend.studio.codec import decode, pieces, read_item
from backend.studio.schema import hidden_at_times

NEWEST = 500  # answers that the threshold is learned from
_NEVER = (None, None)
FRESH_S = 10.0  # a web process looks at the answers again after this


@dataclass(frozen=True)
class Shown:
    """An answer and the suggestion before it: ``name`` of the publication, whether all of it was ``kept``, None where
    the task was blank; and of each of its parts that tells one, the control, the confidence and whether that was
    kept."""

    name: str
    kept: bool | None
    parts: tuple[tuple[str, float, bool], ...] = ()


def shown_to_annotators(
    schema: Schema,
    annotations: Sequence[Annotation],
    data: Mapping[int, Mapping[str, Any]],
    hidden: Container[str] = (),
) -> list[Shown]:
    """What was shown for each answer that is no skip and of which Label Studio told the prediction; ``data``: of the
    tasks by id; ``hidden``: controls that annotators may not have seen."""
    found = (_shown(schema, a, _item(schema, data.get(a.task_id)), hidden) for a in annotations)
    return [shown for shown in found if shown is not None]


def _item(schema: Schema, data: Mapping[str, Any] | None) -> Item | None:
    try:
        return read_item(schema, data or {})
    except UserError:  # the task was changed or deleted since
        return None


def _shown(schema: Schema, annotation: Annotation, item: Item | None, hidden: Container[str]) -> Shown | None:
    if annotation.shown is None or annotation.cancelled:
        return None
    given = decode(schema, [annotation.to_studio()], item) or {}
    result = annotation.shown.get("result") or []
    name = str(annotation.shown.get("model_version") or "")
    there = [c for c in schema.controls if any(r.get("from_name") == c.name for r in result)]
    if not there:
        return Shown(name, None) if given else None
    suggested = decode(schema, [{"result": result}], item) or {}
    # what was shown and is not in the answer was deleted, not passed over; what is there and not read tells nothing
    deleted = {c.name for c in there if not pieces(c, annotation.result) and c.name not in hidden}
    compared = [c for c in there if c.name in suggested and (c.name in given or c.name in deleted)]
    if not compared:  # of a label that the config no longer has, say
        return None
    kept = all(c.name in given and problem_for(c).kept(suggested[c.name], given[c.name]) for c in compared)
    told = (part for c in compared for part in _parts(schema, c, result, item, given.get(c.name)))
    return Shown(name, kept, tuple(told))


def _parts(
    schema: Schema, control: Control, result: Sequence[Mapping[str, Any]], item: Item | None, given: Any | None
) -> Iterator[tuple[str, float, bool]]:
    """What :class:`Shown` has of the parts of one control's suggestion; none was kept where nothing is ``given``."""
    for sure, regions in pieces(control, result):
        said = decode(schema, [{"result": regions}], item)
        if sure is not None and said and control.name in said:
            yield control.name, sure, given is not None and problem_for(control).within(said[control.name], given)


def show_above(parts: Parts, project: Project | None, schema: Schema, *, fresh: bool = False) -> dict[str, float]:
    """The confidence that a suggestion of each control must exceed to be shown, in [0, 1]; ``SUGGEST_ABOVE`` until
    there are answers. What it means differs from kind to kind, so no control learns from another one's answers.

    Kept for some seconds, so that a request reads no annotations, unless it has to be ``fresh``.
    """
    known = parts.thresholds.get(project.key) if project else None
    if project is not None and (fresh or known is None or now() - known[0] > FRESH_S):
        found = _thresholds(parts, project, _answers(parts, project, NEWEST))
        parts.thresholds[project.key] = known = (now(), found)
    learned = known[1] if known else {}
    return {c.name: learned.get(c.name, parts.settings.suggest_above) for c in schema.controls}


def _answers(parts: Parts, project: Project, newest: int) -> list[Shown]:
    """What was shown for the newest answers of a project."""
    if project.schema is None:
        return []
    annotations = parts.registry.annotations_with_suggestion(project.key, newest)
    data = parts.registry.tasks(project.key, [a.task_id for a in annotations])
    return shown_to_annotators(project.schema, annotations, data, hidden_at_times(project.label_config))


def _thresholds(parts: Parts, project: Project, answers: Sequence[Shown]) -> dict[str, float]:
    """By control, of those that were answered. A trained version is not judged by what annotators thought of label
    names alone."""
    active = records.active(parts.registry, project.key)
    cold = {r.name for r in records.versions(parts.registry, project.key) if r.location is None}
    names = {a.name: a.version in cold for a in records.activations(parts.registry, project.key)}
    while_cold = active is None or names[active.name]
    past: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
    for control, sure, kept in (part for s in answers if names.get(s.name, False) == while_cold for part in s.parts):
        past[control].append((sure, kept))
    above = parts.settings.suggest_above
    return {name: threshold([c for c, _ in pairs], [k for _, k in pairs], above) for name, pairs in past.items()}


def report(parts: Parts, project: Project) -> dict[str, Any]:
    """``{"show_above": {control: confidence}, "kept", "changed", "blank", "corrections_per_task", "versions"}``, where
    ``versions`` has a ``name`` and the counts for each.

    A correction is an answer other than the suggestion that was shown; blank tasks count as tasks.
    """
    schema = project.schema
    answers = _all_shown(parts, project, schema) if schema else []
    above = show_above(parts, project, schema, fresh=True) if schema else {}
    by_name: defaultdict[str, list[Shown]] = defaultdict(list)
    for answer in answers:
        by_name[answer.name].append(answer)
    by_version = [{"name": name, **_counts(those)} for name, those in by_name.items()]
    return {
        "show_above": {name: round(share, 4) for name, share in above.items()},
        **_counts(answers),
        "versions": by_version,
    }


def _all_shown(parts: Parts, project: Project, schema: Schema) -> list[Shown]:
    """What was shown for every answer, newest first. What this process has read once is read again only if changed."""
    stamps = parts.registry.suggestion_stamps(project.key)
    before, known = parts.shown.get(project.key, ("", {}))
    known = known if before == schema.hash else {}
    new = max((at for at, i in enumerate(stamps, 1) if known.get(i, _NEVER)[0] != stamps[i]), default=0)
    read = parts.registry.annotations_with_suggestion(project.key, new) if new else []
    data = parts.registry.tasks(project.key, [a.task_id for a in read])
    hidden = hidden_at_times(project.label_config)
    fresh = {
        a.annotation_id: (stamps[a.annotation_id], _shown(schema, a, _item(schema, data.get(a.task_id)), hidden))
        for a in read
        if a.annotation_id in stamps
    }
    found = {i: fresh.get(i) or known[i] for i in stamps if i in fresh or i in known}
    parts.shown[project.key] = (schema.hash, found)
    return [shown for _, shown in found.values() if shown is not None]


def _counts(answers: Sequence[Shown]) -> dict[str, Any]:
    kept, changed, blank = (sum(a.kept is said for a in answers) for said in (True, False, None))
    rate = round(changed / len(answers), 4) if answers else None
    return {"kept": kept, "changed": changed, "blank": blank, "corrections_per_task": rate}
