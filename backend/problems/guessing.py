"""Self-training: what a version is sure of becomes an example for the next one, with less weight than an annotator's.

Lee, Pseudo-Label, 2013; Mukherjee and Awadallah, Uncertainty-aware Self-training, 2020. Only kinds of control whose
probabilities say how sure the whole answer is take part.
"""

from collections.abc import Sequence

import numpy as np

from backend.models.recipe import Recipe
from backend.problems.base import problem_for
from backend.problems.schema import Example, Floats, Item
from backend.problems.version import Version

KINDS = frozenset({"choices"})
LOOKED_AT = 2000  # tasks that are asked for; most of a pool would say the same


def wants_guesses(recipe: Recipe, labels: int) -> bool:
    """Whether a training with so many labels learns from guesses too: a version of few labels is sure too easily."""
    return recipe.self_training > 0 and labels >= recipe.self_after


def guesses(
    version: Version, ids: Sequence[int], items: Sequence[Item], rows: Floats, recipe: Recipe, most: int
) -> list[Example]:
    """Examples for the first ``most`` of these tasks of which the version is surer than ``recipe.self_training``.

    ``rows`` (N, W) are the version's, of tasks without a label, in random order: the surest ones are those that
    teach least. A control of whose answer it is less sure has no target.
    """
    asked = [c for c in version.schema.controls if c.kind in KINDS]
    answers = version.outputs(items, rows, asked)
    found: list[Example] = []
    for at, (task_id, item) in enumerate(zip(ids, items, strict=True)):
        targets: dict[str, Floats] = {}
        for control in asked:
            output = answers[control.name][at]
            if output.probs is not None and np.max(output.probs) > recipe.self_training:
                answer = problem_for(control).answer(output)
                if answer is not None:
                    targets[control.name] = answer
        if targets and len(found) < most:
            found.append(Example(task_id, item, targets, recipe.self_weight))
    return found
