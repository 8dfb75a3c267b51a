"""The version that a training comes after: what it starts near, and what its result is averaged with.

Versions that were trained from the same start, on much the same labels, differ by chance, and the average of their
weights is better than the later one alone and differs less from one version to the next, at no cost when it predicts
(Wortsman et al., Model soups, 2022).
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from backend.errors import ModelError
from backend.models.recipe import Recipe
from backend.models.training import Former, adapter_weights
from backend.problems.base import problem_for
from backend.problems.schema import Example, Schema
from backend.problems.trials import LEAST_SHARE
from backend.problems.version import HEADS, load_heads, read_meta
from backend.telemetry import logger

log = logger("former")


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
    (controls by name), from enough of the labels (:data:`LEAST_SHARE`); None where not.

    Adapters of another seed are not averaged: they start elsewhere, and weights in between are none of either.
    """
    meta, labels = read_meta(near), sum(e.weight == 1 for e in train)
    if recipe.average == 0 or meta["recipe"]["seed"] != recipe.seed or meta["examples"] < LEAST_SHARE * labels:
        return None
    asked = [c for c in schema.controls if c.name in learned]
    if not all(problem_for(c).averaged and c.name in meta["controls"] for c in asked):
        return None
    try:
        return Former(adapter_weights(near), load_heads(near / HEADS), recipe.average)
    except (ModelError, OSError, ValueError, KeyError) as error:
        log.warning("nothing is averaged", folder=str(near), reason=str(error))
        return None
