"""The default: which strategy a project needs now."""

import numpy as np

from backend.active.selection.clusters import typiclust
from backend.active.selection.coverage import COVERAGE
from backend.active.selection.pool import Pool, Positions

REPRESENTATIVE_PER_CLASS = 3
REPRESENTATIVE_AT_MOST = 60  # labels; with a hundred classes uncertainty is worth something before each has three
RULES = {"typiclust": typiclust, "herding": COVERAGE["herding"]}


def rule(pool: Pool) -> str:
    """The name of the strategy for this pool: representative while there are few labels, then uncertain with coverage.

    A model of a handful of labels is sure of nonsense, so its uncertainty is worth little (Hacohen et al. 2022).
    """
    few = min(REPRESENTATIVE_PER_CLASS * (pool.classes or pool.probs.shape[1]), REPRESENTATIVE_AT_MOST)
    return "typiclust" if len(pool.labelled_classes) < few else "herding"


def auto(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The order of the strategy that :func:`rule` gives."""
    return RULES[rule(pool)](pool, n, rng)
