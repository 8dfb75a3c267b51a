"""What the version before answers to tasks without a label: a second opinion, by which the next version sees how often
it must be wrong (see :mod:`backend.active.disagreement`)."""

from collections.abc import Sequence

from backend.problems.base import problem_for
from backend.problems.schema import Control, Example, Floats, Item, Schema
from backend.problems.version import Version

ASKED = 300  # tasks
OPINION = 0.5  # weight of such an example: below an annotator's
LEAST_SHARE = 0.6  # of the labels of a training that the version before knew; one of fewer errs more by itself


def heeding(schema: Schema) -> list[Control]:
    """The controls that second opinions make more honest."""
    return [c for c in schema.controls if problem_for(c).opinions]


def wants_opinions(version: Version, labels: int) -> bool:
    """Whether a training on so many labels, those that only measure not counted, asks this version."""
    learned = version.meta.get("examples", 0)  # of a version without an adapter there are none
    return learned >= LEAST_SHARE * labels > 0 and bool(heeding(version.schema))


def opinions(version: Version, ids: Sequence[int], items: Sequence[Item], rows: Floats) -> list[Example]:
    """What the version answers to these tasks, as examples that weigh less than 1. ``rows`` (N, W) are the version's.

    The tasks are a random sample of those that no version learns from.
    """
    asked = heeding(version.schema)
    answers = version.outputs(items, rows, asked)
    found: list[Example] = []
    for at, (task_id, item) in enumerate(zip(ids, items, strict=True)):
        said = {c.name: problem_for(c).answer(answers[c.name][at]) for c in asked}
        targets = {name: target for name, target in said.items() if target is not None}
        if targets:
            found.append(Example(task_id, item, targets, OPINION))
    return found
