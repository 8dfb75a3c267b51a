"""Picking one after the other, where each pick changes what the next is worth."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backend.active.selection.pool import Positions

STEPS = 1_000  # picks made one by one; the queue is sorted again long before they are used up


def greedily(n: int, gains: NDArray[np.floating], after: Callable[[int], NDArray[np.floating]]) -> Positions:
    """The ``n`` positions with the highest gain each time; ``after(pick)`` gives all gains (N,) after a pick.

    A longer answer begins with the shorter one. Behind the first 1,000 picks come the rest by their last gains.
    """
    taken = np.zeros(len(gains), bool)
    picks: list[int] = []
    while len(picks) < min(n, STEPS, len(taken)):
        pick = int(np.argmax(np.where(taken, -np.inf, gains)))
        if taken[pick]:  # all that is left is worth -inf
            pick = int(np.argmin(taken))
        taken[pick] = True
        picks.append(pick)
        gains = after(pick)
    rest = np.flatnonzero(~taken) if n > len(picks) else np.zeros(0, np.int64)
    return np.concatenate([np.array(picks, np.int64), rest[np.argsort(-gains[rest], kind="stable")]])[:n]
