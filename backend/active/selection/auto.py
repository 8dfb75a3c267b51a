"""The default: which strategy a project needs now."""

import numpy as np

from backend.active.selection.clusters import cluster_margin, typiclust
from backend.active.selection.pool import Pool, Positions

REPRESENTATIVE_PER_CLASS = 3
RULES = {"typiclust": typiclust, "cluster-margin": cluster_margin}


def rule(pool: Pool) -> str:
    """The name of the strategy for this pool: representative while there are few labels, then uncertain with coverage.

    A model of a handful of labels is sure of nonsense, so its uncertainty is worth little (Hacohen et al. 2022).
    """
    few = REPRESENTATIVE_PER_CLASS * pool.probs.shape[1]
    return "typiclust" if len(pool.labelled_classes) < few else "cluster-margin"


def auto(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The order of the strategy that :func:`rule` gives."""
    return RULES[rule(pool)](pool, n, rng)
