"""How good a head is after how many labels, by cross-validation, and how many of its answers still change: what a
learning curve is drawn through.

Run it on features of the *frozen* base model. A version's own features have seen the training labels: there every
subset looks perfect and the curve flat. The linear head's level is lower than the adapted model's, and examples that
were chosen for being hard make it lower still; so where versions can be compared, their changes take its place.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active.curve import Change, Point
from backend.active.folds import FOLDS, folds_of
from backend.problems.base import Problem, said
from backend.problems.schema import Control, Floats

SHARES = (0.25, 0.5, 0.75, 1.0)  # of what is left when one fold is held out
HALVES = 4  # random ones
MOST = 600  # examples; more say little about the slope and cost seconds


def cross_validate(
    problem: Problem, control: Control, columns: Floats, targets: Sequence[Any], *, seed: int
) -> list[Point]:
    """Quality after growing numbers of labels, ascending; every size answers the same held-out examples.

    ``columns`` (N, W) and N ``targets``. Empty where the examples are too few or too alike for it, and for a problem
    whose head is not fitted to columns.
    """
    if not problem.fast:
        return []
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(targets))[:MOST]
    if len(chosen) < 2 * FOLDS:
        return []
    folds = folds_of(columns[chosen], FOLDS)
    points = []
    for share in SHARES:
        right, asked, sizes = 0.0, 0, []
        for fold in range(folds.max() + 1):
            rest, held_out = chosen[folds != fold], chosen[folds == fold]
            subset = rest[: max(2, round(share * len(rest)))]
            taught = [targets[at] for at in subset]
            if not problem.can_fit(control, taught):
                continue
            head = problem.fit_head(control, columns[subset], taught, seed=seed)
            outputs = problem.outputs(control, head, columns[held_out])
            right += sum(problem.quality(control, o, targets[at]) for o, at in zip(outputs, held_out, strict=True))
            asked += len(held_out)
            sizes.append(len(subset))
        if asked:
            points.append(Point(labels=float(np.mean(sizes)), accuracy=right / asked, n=asked))
    return points


def countable(problem: Problem) -> bool:
    """Whether an answer is either right or wrong, so that answers that change are what accuracy can gain."""
    return problem.fast and problem.metric == "accuracy"


def change_of_heads(
    problem: Problem, control: Control, columns: Floats, targets: Sequence[Any], others: Floats, *, seed: int
) -> Change | None:
    """How the answers to ``others`` (M, W) change from the head of half of the examples, ``columns`` (N, W) and N
    ``targets``, to that of all; the mean over some halves. None where the examples are too few or too alike for it, or
    the problem is not :func:`countable`."""
    chosen = np.random.default_rng(seed).permutation(len(targets))[:MOST]
    if not countable(problem) or len(chosen) < 4 or not len(others):
        return None

    def answers(at: NDArray[np.int64]) -> list[Any] | None:
        taught = [targets[i] for i in at]
        if not problem.can_fit(control, taught):
            return None
        head = problem.fit_head(control, columns[at], taught, seed=seed)
        return [said(problem, output) for output in problem.outputs(control, head, others)]

    half, whole = len(chosen) // 2, answers(chosen)
    if whole is None:
        return None
    shares = []
    for start in range(HALVES):
        some = answers(np.roll(chosen, -start * len(chosen) // HALVES)[:half])
        if some is not None:
            shares.append(float(np.mean([one != other for one, other in zip(some, whole, strict=True)])))
    return Change(half, len(chosen), float(np.mean(shares))) if shares else None
