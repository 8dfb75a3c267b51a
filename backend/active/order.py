"""Moving tasks to the top of a published queue with few changes.

Label Studio serves ascending scores, and changing one costs a call; so what is in order already stays.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np

STEP = 1e-5  # distance of scores where there is room
FIRST = 0.25  # where an empty queue begins
CEILING = 0.5  # queue scores stay below; the rest of the scale belongs to tasks outside the queue


def moves(scores: Mapping[int, float], top: Sequence[int], new: Collection[int] = ()) -> dict[int, float]:
    """The fewest score changes after which the tasks, by ascending score, begin with exactly ``top``.

    ``scores``: what all waiting tasks of the queue have now. Tasks of ``top`` that are not there, and those in
    ``new``, always get a score. All new scores are in (0, 0.5) and distinct. Where a gap has no room for distinct
    numbers all of ``top`` is scored again. Raises ValueError for repeated tasks and where no room is left at all.
    """
    if len(set(top)) != len(top):
        raise ValueError(f"the top of the queue repeats tasks: {list(top)}")
    members = set(top)
    others = [score for task, score in scores.items() if task not in members]
    ceiling = min([*others, CEILING]) if others else None
    limit = CEILING if ceiling is None else ceiling
    known = [scores.get(task, -1.0) if task not in new else -1.0 for task in top]
    kept = _longest_increasing([score if 0 < score < limit else None for score in known])
    changed = _fill(top, known, kept, ceiling)
    if changed is None:
        changed = _fill(top, known, [], ceiling)
    if changed is None:
        raise ValueError(f"no room for {len(top)} scores between 0 and {limit}")
    return changed


def _longest_increasing(values: Sequence[float | None]) -> list[int]:
    """Places of a longest strictly increasing subsequence; ``None`` is skipped. O(n log n)."""
    ends: list[float] = []  # smallest last value of a subsequence of each length
    at: list[int] = []  # its place
    before: dict[int, int] = {}
    for place, value in enumerate(values):
        if value is None:
            continue
        length = bisect_left(ends, value)
        before[place] = at[length - 1] if length else -1
        ends[length : length + 1] = [value]
        at[length : length + 1] = [place]
    chain: list[int] = []
    place = at[-1] if at else -1
    while place >= 0:
        chain.append(place)
        place = before[place]
    return chain[::-1]


def _fill(
    top: Sequence[int], known: Sequence[float], kept: Sequence[int], ceiling: float | None
) -> dict[int, float] | None:
    """Scores of all places of ``top`` that are not ``kept``; None where one of the gaps has no room."""
    changed: dict[int, float] = {}
    edges = [-1, *kept, len(top)]
    for left, right in pairwise(edges):
        low = known[left] if left >= 0 else None
        high = known[right] if right < len(top) else ceiling
        values = _between(low, high, right - left - 1)
        if values is None:
            return None
        changed.update(zip(top[left + 1 : right], values, strict=True))
    return changed


def _between(low: float | None, high: float | None, n: int) -> list[float] | None:
    """``n`` ascending scores between two ends, None where there is no room for distinct ones.

    An open lower end leaves ``STEP`` between scores, so that later moves find room too.
    """
    if low is None and high is None:
        return _checked([FIRST + STEP * i for i in range(n)], 0, CEILING)
    if low is None and high is not None and high - STEP * n > 0:
        return _checked([high - STEP * (n - i) for i in range(n)], 0, high)
    start, end = low or 0.0, CEILING if high is None else high
    if high is None and start + STEP * n < CEILING:
        end = start + STEP * (n + 1)
    return _checked([float(v) for v in np.linspace(start, end, n + 2)[1:-1]], start, end)


def _checked(values: list[float], low: float, high: float) -> list[float] | None:
    ends = [low, *values, high]
    return values if not values or all(a < b for a, b in pairwise(ends)) else None
