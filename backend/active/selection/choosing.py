"""``choose``, and how pools that are too large for expensive rules are cut to candidates first."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backend.active import uncertainty
from backend.active.selection.auto import rule
from backend.active.selection.directions import directions
from backend.active.selection.names import Plan, parse
from backend.active.selection.pool import Floats, Pool, Positions, descending, in_blocks, slices

LARGE = 50_000  # items; a larger pool is cut
ROUND = 100  # picks of one round of candidates
UNCERTAIN = 50 * ROUND  # candidates of a round by margin
RANDOM = 2_000  # candidates of a round by chance: what the model is sure and wrong of
RARE = 32  # labelled examples of the classes with the fewest labels
NEAR = 32  # candidates near each of them


def choose(strategy: str, pool: Pool, n: int, *, seed: int) -> Positions:
    """The ``min(n, N)`` positions to label next, distinct, best first.

    Of items that share a context (``pool.contexts``) one comes before a second of any, or all before the next's.
    Pools above 50,000 are cut to some 8,000 candidates before an expensive rule sees them. Raises ValueError for an
    unknown strategy, and for one that needs a part of the pool that is not there.
    """
    plan = parse(strategy)
    rng = np.random.default_rng(seed)

    def chosen(part: Pool, most: int) -> Positions:
        return _choose(plan, part, most, rng)

    n = min(n, len(pool))
    if plan.deal is None or pool.contexts is None:
        return chosen(pool, n)
    return plan.deal(chosen, pool, n, blind=plan.blind)


def _choose(plan: Plan, pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The picks where no contexts are looked at."""
    if n <= 0:
        return np.zeros(0, np.int64)
    if len(pool) <= LARGE or plan.cheap:
        return plan.strategy(pool, n, rng)[:n]
    return _choose_of_many(plan, pool, n, rng)


def _choose_of_many(plan: Plan, pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """The picks of a large pool: a hundred of each round's candidates, as if those before were labelled.

    In rounds, so that the candidates of the first picks do not depend on how many are wanted.
    """
    if plan.name.partition("@")[0] == "auto":  # now: what this call picks is no experience of the model
        plan = parse(rule(pool) + plan.name.removeprefix("auto"))
    shortlist = Shortlist.of(pool, rng, blind=plan.blind)
    picks: list[Positions] = []
    for child in _children(rng):
        at = shortlist.next(np.concatenate([np.zeros(0, np.int64), *picks]))
        found = plan.strategy(pool.take(at), min(ROUND, len(at)), child)[:ROUND]
        picks.append(at[found])
        pool = pool.labelled_too(at[found])
        if sum(map(len, picks)) >= n:
            break
    return np.concatenate(picks)[:n]


def _children(rng: np.random.Generator) -> Iterator[np.random.Generator]:
    while True:
        yield from rng.spawn(1)


@dataclass(frozen=True)
class Shortlist:
    """All positions in the order in which they become candidates: uncertain, random, near rare classes."""

    uncertain: Positions
    random: Positions
    near: Positions

    @classmethod
    def of(cls, pool: Pool, rng: np.random.Generator, *, blind: bool) -> "Shortlist":
        """The shortlist of a pool by margin; ``blind``: by chance, for rules that want a picture of the whole."""
        random = rng.permutation(len(pool))
        if blind:
            return cls(rng.permutation(random), random, near_rare_classes(pool))
        margin = in_blocks(len(pool), lambda rows: uncertainty.margin(pool.probs[rows]))
        return cls(descending(margin, rng), random, near_rare_classes(pool))

    def next(self, picked: Positions) -> Positions:
        """Ascending positions of the next round's candidates, without those that are ``picked``."""
        free = np.ones(len(self.random), bool)
        free[picked] = False
        parts = [_first(self.uncertain, free, UNCERTAIN), _first(self.random, free, RANDOM), self.near[free[self.near]]]
        return np.asarray(np.unique(np.concatenate(parts)))


def _first(order: Positions, free: np.ndarray[tuple[int], np.dtype[np.bool_]], n: int) -> Positions:
    """The first ``n`` positions of an order that are free."""
    return order[free[order]][:n]


def near_rare_classes(pool: Pool) -> Positions:
    """Distinct positions near labelled items of the classes with the fewest labels, at most 32 * 32.

    A rare class that the model does not know is neither uncertain nor drawn by chance.
    """
    counts = pool.labels_per_class()
    known = np.flatnonzero((pool.labelled_classes >= 0) & (pool.labelled_classes < len(counts)))
    rare = known[np.argsort(counts[pool.labelled_classes[known]], kind="stable")][:RARE]
    if not len(rare):
        return np.zeros(0, np.int64)
    wanted = directions(pool.labelled_features[rare])
    best = [_nearest(pool.features, rows, wanted) for rows in slices(len(pool))]
    similarity, position = (np.concatenate(part, axis=0) for part in zip(*best, strict=True))
    top = np.argpartition(-similarity, min(NEAR, len(similarity)) - 1, axis=0)[:NEAR]
    return np.asarray(np.unique(np.take_along_axis(position, top, axis=0)))


def _nearest(features: Floats, rows: slice, wanted: Floats) -> tuple[Floats, Positions]:
    """Similarities and positions (NEAR, R) of the rows that are most like each of ``wanted`` (R, D)."""
    similarity = directions(features[rows]) @ wanted.T
    top = np.argpartition(-similarity, min(NEAR, len(similarity)) - 1, axis=0)[:NEAR]
    return np.take_along_axis(similarity, top, axis=0), top + rows.start
