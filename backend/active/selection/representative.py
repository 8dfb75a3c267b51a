"""In-domain diversity: what is like the tasks that are left and unlike those that are labelled.

Made for texts that a model writes, where the most uncertain tasks are mostly noise.
"""

from collections.abc import Callable

import numpy as np

from backend.active import uncertainty
from backend.active.selection.directions import directions
from backend.active.selection.greedy import STEPS, greedily
from backend.active.selection.pool import Numbers, Pool, Positions

UNLABELLED = 0.67  # weight of the likeness to the unlabelled; the rest is that of the likeness to the labelled
SHORTLIST = 10  # representative items of which the most uncertain is taken
EXPLORE = 4  # every so many picks one is random


def idds(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The highest 0.67 * mean similarity to unlabelled items - 0.33 * mean similarity to labelled ones, one by one.

    Similarities are cosines. Each pick counts as labelled for the next one and costs N * D. Tsvigun et al., Active
    Learning for Abstractive Text Summarization, 2022.
    """
    order = rng.permutation(len(pool))  # ties
    return order[greedily(n, *_representative(pool, order))]


def dual(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Of the ten best by :func:`idds` the most uncertain, one by one; every fourth pick is random.

    The other nine are not looked at again until all are, so that the picks do not come from one region. Giouroukis et
    al., DUAL: Diversity and Uncertainty Active Learning for Text Summarization, 2025; with the margin for their
    variance of texts written under dropout. Where all are equally uncertain the shortlist is drawn from at random.
    """
    order = rng.permutation(len(pool))  # ties, and the random picks
    scores, after = _representative(pool, order)
    doubt = uncertainty.margin(pool.probs)[order]
    free, fresh = np.ones(len(pool), bool), np.ones(len(pool), bool)
    picks: list[int] = []
    while len(picks) < min(n, STEPS, len(pool)):
        if len(picks) % EXPLORE == EXPLORE - 1:
            pick = int(np.argmax(free))
        else:
            if not (free & fresh).any():
                fresh[:] = True
            open_ = np.where(free & fresh, scores, -np.inf)
            best = np.argpartition(-open_, min(SHORTLIST, len(open_)) - 1)[:SHORTLIST]
            best = np.sort(best[np.isfinite(open_[best])])  # in the random order, which decides between equals
            fresh[best] = False
            pick = int(best[np.argmax(doubt[best])])
        free[pick] = False
        picks.append(pick)
        scores = after(pick)
    rest = np.flatnonzero(free) if n > len(picks) else np.zeros(0, np.int64)
    found = np.concatenate([np.array(picks, np.int64), rest[np.argsort(-scores[rest], kind="stable")]])
    return np.asarray(order[found[:n]])


def _representative(pool: Pool, order: Positions) -> tuple[Numbers, Callable[[int], Numbers]]:
    """The scores (N,) of :func:`idds` in this order of the items, and the function that gives them after a pick."""
    x = directions(pool.features)[order]
    labelled = directions(pool.labelled_features)
    to_left = np.asarray(x @ x.sum(axis=0), np.float64)  # sums of cosines
    to_labelled = np.asarray(x @ labelled.sum(axis=0), np.float64) if len(labelled) else np.zeros(len(x))
    counts = [len(x), len(labelled)]

    def scores() -> Numbers:
        left, given = (max(1, count) for count in counts)
        return np.asarray(UNLABELLED * to_left / left - (1 - UNLABELLED) * to_labelled / given)

    def after(pick: int) -> Numbers:
        likeness = x @ x[pick]
        np.subtract(to_left, likeness, out=to_left)
        np.add(to_labelled, likeness, out=to_labelled)
        counts[0] -= 1
        counts[1] += 1
        return scores()

    return scores(), after
