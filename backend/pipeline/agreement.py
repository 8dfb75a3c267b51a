"""How far annotators who answered the same tasks agree: what the labels are worth, and which tasks to talk about."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from backend.errors import UserError
from backend.pipeline.parts import Parts
from backend.problems.base import problem_for
from backend.problems.schema import Control, Schema
from backend.registry.records import Annotation, Project
from backend.studio.codec import decode_each, read_item

NEWEST = 500  # tasks with several annotators that are looked at
DISPUTED = 10  # tasks that are named

Count = list[int]  # agreeing pairs, pairs


def label_quality(parts: Parts, project: Project) -> dict[str, Any]:
    """``{"tasks", "controls": {name: rate}, "annotators": {id: rate}, "disputed": [task ids, newest first]}``.

    Of the newest tasks that several annotators answered. A rate is ``{"agreement", "pairs"}``: the share, in [0, 1], of
    the pairs of answers to one task that say the same: of which each, as a suggestion, the other one would have kept.
    """
    schema = project.schema
    by_task: defaultdict[int, list[Annotation]] = defaultdict(list)
    for annotation in parts.registry.annotations_of_several(project.key, NEWEST) if schema else ():
        by_task[annotation.task_id].append(annotation)
    data = parts.registry.tasks(project.key, list(by_task))
    controls: defaultdict[str, Count] = defaultdict(lambda: [0, 0])
    annotators: defaultdict[str, Count] = defaultdict(lambda: [0, 0])
    disputed, compared = [], 0
    for task in sorted(by_task, reverse=True):
        found = _compared(schema, by_task[task], data.get(task)) if schema else []
        compared += bool(found)
        for control, people, same in found:
            for count in (controls[control], *(annotators[_name(who)] for who in people)):
                count[0] += same
                count[1] += 1
        if not all(same for *_, same in found):
            disputed.append(task)
    return {
        "tasks": compared,
        "controls": _rates(controls),
        "annotators": _rates(annotators),
        "disputed": disputed[:DISPUTED],
    }


def _compared(
    schema: Schema, annotations: list[Annotation], data: Mapping[str, Any] | None
) -> list[tuple[str, tuple[Any, Any], bool]]:
    """Of one task each pair of annotators and each control that both answered: its name, who, whether they agree."""
    try:
        item = read_item(schema, data or {})
    except UserError:  # the task was changed or deleted since
        return []
    answers = decode_each(schema, [a.to_studio() for a in annotations], item)
    return [
        (c.name, (one, other), _agree(c, answers[one][c.name], answers[other][c.name]))
        for one, other in combinations(answers, 2)
        for c in schema.controls
        if c.name in answers[one] and c.name in answers[other]
    ]


def _agree(control: Control, one: Any, other: Any) -> bool:
    """Both ways: of several answers to a question one is kept, and all are not."""
    kept = problem_for(control).kept
    return kept(one, other) and kept(other, one)


def _name(who: Any) -> str:
    """An annotator's id; those whose account was deleted have none."""
    return "deleted" if isinstance(who, tuple) else str(who)


def _rates(counts: Mapping[str, Count]) -> dict[str, dict[str, float]]:
    return {name: {"agreement": round(same / pairs, 4), "pairs": pairs} for name, (same, pairs) in counts.items()}
