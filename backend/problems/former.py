"""The version that a training comes after: what it starts near, and what its result is averaged with.

Versions that were trained from the same start, on much the same labels, differ by chance, and the average of their
weights is better than the later one alone and differs less from one version to the next, at no cost when it predicts
(Wortsman et al., Model soups, 2022).
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from backend.active.curve import effective_classes
from backend.errors import ModelError
from backend.models.recipe import Recipe
from backend.models.training import Former, adapter_weights
from backend.problems.base import problem_for
from backend.problems.schema import Example, Schema
from backend.problems.trials import LEAST_SHARE
from backend.problems.version import HEADS, load_heads, read_meta
from backend.telemetry import logger

log = logger("former")

# Labels of each class, on average, that a version knew which is averaged with a later one: with two the later one alone
# is better (CLINC, on the pool), with six or seven too (TREC), with ten it is not.
LEAST_OF_CLASS = 8


def near_version(before: Path, schema: Schema, base_id: str, recipe: Recipe) -> Path | None:
    """The folder ``before``, if the weights in it are of the kind that a training makes: the same schema, base model
    and rank. None if not, or if it cannot be read: that is not to end learning."""
    try:
        meta = read_meta(before)
        same_schema = meta["schema"] == json.loads(json.dumps(schema.to_json()))
        fits = same_schema and (meta["base"]["id"], meta["recipe"]["lora_rank"]) == (base_id, recipe.lora_rank)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("nothing is taken from the version before", folder=str(before), reason=str(error))
        return None
    return before if fits else None


def former_of(
    near: Path, schema: Schema, learned: Collection[str], train: Sequence[Example], recipe: Recipe
) -> Former | None:
    """What a training on ``train`` is averaged with: the version in ``near``, where it learned what now is ``learned``
    (controls by name), from enough of the labels (:data:`LEAST_SHARE`) and of each class (:data:`LEAST_OF_CLASS`, on
    average): while classes are still met, what is older is too much worse. None where not.

    Adapters of another seed are not averaged: they start elsewhere, and weights in between are none of either.
    """
    meta, given = read_meta(near), [e for e in train if e.weight == 1]
    knew = meta["examples"]
    if recipe.average == 0 or meta["recipe"]["seed"] != recipe.seed or knew < LEAST_SHARE * len(given):
        return None
    for control in schema.controls:
        if control.name not in learned:
            continue
        problem = problem_for(control)
        classes = [problem.hard_class(e.targets[control.name]) for e in given if control.name in e.targets]
        if not problem.averaged or control.name not in meta["controls"]:
            return None
        if knew < LEAST_OF_CLASS * effective_classes(classes):
            return None
    try:
        return Former(adapter_weights(near), load_heads(near / HEADS), recipe.average)
    except (ModelError, OSError, ValueError, KeyError) as error:
        log.warning("nothing is averaged", folder=str(near), reason=str(error))
        return None
