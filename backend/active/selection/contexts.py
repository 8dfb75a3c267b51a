"""Items that share a context: several questions about one text.

Either each text has its turn before any is asked about again, or the questions of a text follow each other: that is a
fraction of the reading, and taught a model of answers more (README, "What each kind of control learns").
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.active import uncertainty
from backend.active.selection.directions import fingerprints
from backend.active.selection.pool import Numbers, Pool, Positions, in_blocks

STRETCH = 12  # items of a context one after another, as many as there were where it was seen to help
Chooser = Callable[[Pool, int], Positions]  # a strategy that has its source of randomness


class Deal(Protocol):
    """How the items of a context take turns: of a strategy, the pool and a number, the positions."""

    def __call__(self, choose: Chooser, pool: Pool, n: int, *, blind: bool) -> Positions: ...


def one_of_each(choose: Chooser, pool: Pool, n: int, *, blind: bool) -> Positions:
    """``n`` positions, an item of each context before a second of any: those of labelled items have had a turn.

    Within a context the most uncertain item comes first, any one where the rule is ``blind``. Raises ValueError for a
    pool without contexts.
    """
    turns = _turns(pool, blind)
    picks: Positions = np.zeros(0, np.int64)
    for turn in np.unique(turns):
        members = np.flatnonzero(turns == turn)
        found = members[choose(pool.take(members), min(n - len(picks), len(members)))]
        picks = np.concatenate([picks, found])
        if len(picks) >= n:
            break
        pool = pool.labelled_too(found)
    return picks


def one_after_another(choose: Chooser, pool: Pool, n: int, *, blind: bool) -> Positions:
    """``n`` positions, the items of a context before the next: twelve of them, what is left has its turn after all
    others. Contexts that are begun come first, that with most labels before.

    A new context stands where its most uncertain item does, any one where the rule is ``blind``. Raises ValueError for
    a pool without contexts.
    """
    contexts, labelled = _contexts(pool)
    had, turns = _counts(contexts, labelled), _turns(pool, blind)
    stretch = turns // STRETCH
    begun = np.where(stretch == had // STRETCH, had % STRETCH, 0)
    firsts = np.flatnonzero((turns == had) | (turns % STRETCH == 0))
    old, new = firsts[begun[firsts] > 0], firsts[begun[firsts] == 0]
    order = [old[np.argsort(-begun[old], kind="stable")]]
    for number in np.unique(stretch[new]):
        members = new[stretch[new] == number]
        order.append(members[choose(pool.take(members), min(n, len(members)))])
        if sum(map(len, order)) >= n:
            break
    flat = np.concatenate(order)
    piece = contexts * (stretch.max(initial=0) + 1) + stretch
    place = np.full(piece.max(initial=-1) + 1, len(flat))  # what is not in the order comes after all of it
    place[piece[flat]] = np.arange(len(flat))
    return np.asarray(np.lexsort((turns, place[piece]))[:n])


def companions(pool: Pool, positions: Positions) -> list[dict[str, int]]:
    """How many items of the pool share each position's context, itself counted, and how many labelled ones do:
    ``{"context_size", "context_labelled"}``; empty for a pool without contexts."""
    if pool.contexts is None:
        return [{} for _ in positions]
    contexts, labelled = _contexts(pool)
    open_, given = _counts(contexts, contexts)[positions], _counts(contexts, labelled)[positions]
    return [
        {"context_size": size, "context_labelled": n} for size, n in zip(open_.tolist(), given.tolist(), strict=True)
    ]


def _contexts(pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if pool.contexts is None or pool.labelled_contexts is None:
        raise ValueError("the pool does not say which items share a context: give Pool(contexts=, labelled_contexts=)")
    return pool.contexts, pool.labelled_contexts


def _turns(pool: Pool, blind: bool) -> NDArray[np.int64]:
    """How many items of its context come before each item (N,), the labelled ones counted.

    Without chance, so that the rest of the order stays when its first item is labelled.
    """
    contexts, labelled = _contexts(pool)
    worth: Numbers = np.zeros(len(pool))
    if not blind:
        worth = in_blocks(len(pool), lambda rows: uncertainty.margin(pool.probs[rows]))
    order = np.lexsort((fingerprints(pool.features), -worth, contexts))
    starts = np.flatnonzero(np.diff(contexts[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    turns = np.empty(len(pool), np.int64)
    turns[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return turns + _counts(contexts, labelled)


def _counts(contexts: NDArray[np.int64], labelled: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many labelled items share the context of each item (N,)."""
    counts = np.bincount(labelled, minlength=int(contexts.max(initial=-1)) + 1)
    return np.asarray(counts[contexts], np.int64)
