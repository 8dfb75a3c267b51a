"""Diversity: uncertain items unlike the picks, and random ones that keep their distance.

Maximal marginal relevance: Carbonell & Goldstein, The Use of MMR, 1998.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from backend.active import uncertainty
from backend.active.selection.directions import directions, distance_to_labelled, fingerprints
from backend.active.selection.greedy import greedily
from backend.active.selection.pool import Floats, Numbers, Pool, Positions

TRADE = 0.5  # weight of the margin; the rest is that of the likeness
LONGEST_WORD = 20  # characters; what is longer between two spaces is a text without spaces


def diverse_cosine(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Most uncertain and, by the cosine of features (in [0, 1], negative ones count as 0), unlike the picks."""
    order = rng.permutation(len(pool))  # ties
    return order[_marginal(n, uncertainty.margin(pool.probs[order]), _cosine(directions(pool.features)[order]))]


def diverse_jaccard(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Most uncertain and, by shared tokens over all tokens (Jaccard 1901), unlike the picks.

    Raises ValueError for a pool without texts.
    """
    if pool.texts is None:
        raise ValueError("diverse-jaccard compares texts: give Pool(texts=...)")
    order = rng.permutation(len(pool))  # ties
    likeness = _jaccard([tokens(pool.texts[i]) for i in order])
    return order[_marginal(n, uncertainty.margin(pool.probs[order]), likeness)]


def random_diverse(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Random items, each with a chance that grows with its squared distance to the nearest labelled item or pick.

    Near to random order without its repetitions: the sampling of k-means++, Arthur & Vassilvitskii 2007, by direction;
    it asks no model. The chance is drawn from the features themselves (an exponential race), so that the rest of the
    order stays when its first item is labelled: what is prepared for the items behind it is not in vain. A seed changes
    nothing.
    """
    x = directions(pool.features)
    uniform = ((fingerprints(pool.features) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    race = -np.log(uniform)
    nearest = np.minimum(distance_to_labelled(pool), 2.0) ** 2

    def after(pick: int) -> Numbers:
        np.minimum(nearest, np.maximum(2 - 2 * (x @ x[pick]), 0), out=nearest)
        return np.asarray(nearest / race)

    return greedily(n, nearest / race, after)


def tokens(text: str) -> frozenset[str]:
    """The words of a text where it has spaces, else pairs of neighbouring characters; case does not matter.

    No language is assumed: a long run of characters between spaces (Chinese, Thai, …) is cut into pairs too.
    """
    pieces = text.casefold().split()
    whole = len(pieces) > 1
    return frozenset(t for p in pieces for t in ([p] if whole and len(p) <= LONGEST_WORD else _pairs(p)))


def _pairs(piece: str) -> list[str]:
    return [piece[i : i + 2] for i in range(max(1, len(piece) - 1))]


def _marginal(n: int, worth: Numbers, likeness: Callable[[int], NDArray[np.floating]]) -> Positions:
    """The ``n`` positions with the highest ``worth`` minus highest likeness to an earlier pick, one by one."""
    nearest = np.zeros(len(worth))

    def after(pick: int) -> Numbers:
        np.maximum(nearest, likeness(pick), out=nearest)
        return np.asarray(TRADE * worth - (1 - TRADE) * nearest)

    return greedily(n, TRADE * worth, after)


def _cosine(x: Floats) -> Callable[[int], NDArray[np.floating]]:
    """The function from a position to its cosine with all rows (N, D) of length 1."""
    return lambda pick: x @ x[pick]


def _jaccard(sets: Sequence[frozenset[str]]) -> Callable[[int], NDArray[np.floating]]:
    """The function from a position to its Jaccard index (N,) with all sets, in [0, 1]; two empty sets are alike."""
    numbers: dict[str, int] = {}
    listed = [np.array([numbers.setdefault(t, len(numbers)) for t in s], np.int64) for s in sets]
    sizes = np.array([len(s) for s in sets], np.int64)
    token, owner = np.concatenate([np.zeros(0, np.int64), *listed]), np.repeat(np.arange(len(sets)), sizes)

    def likeness(pick: int) -> Numbers:
        mine = np.zeros(len(numbers), bool)
        mine[listed[pick]] = True
        shared = np.bincount(owner[mine[token]], minlength=len(sets))
        union = sizes + sizes[pick] - shared
        return np.where(union > 0, shared / np.maximum(union, 1), 1.0)

    return likeness
