"""Whether more labels are worth it, as a sentence with its numbers; no criterion alone is best everywhere.

Three witnesses: the predicted gain (:mod:`backend.active.curve`); predictions that no longer change on a fixed set
(Bloodgood & Vijay-Shanker, A Method for Stopping Active Learning Based on Stabilizing Predictions, 2009); a model that
is sure of the whole pool (Zhu et al., Confidence-Based Stopping Criteria for Active Learning, 2010).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from backend.active.metrics import Interval

GAIN = 0.01  # a point of accuracy for 100 labels; replayed, the next 100 after the advice to stop added 0.7 points
STABLE = 0.9  # kappa of two adapters trained on nearly the same labels is rarely higher
VERSIONS = 2  # kappas in a row that must be stable
SURE = 0.2  # mean uncertainty
# From end to end of a predicted gain's interval. The value of a wider one is next to chance: with LoRA at 50 labels,
# where it is 17 points wide, it was within two points of what came in 6 of 24 cases, at 100 to 200 labels in 62 of 72.
VAGUE = 0.14


@dataclass(frozen=True)
class Advice:
    """What to do, ``keep labelling``, ``nearly done`` or ``stop``, and the sentence that says why."""

    action: str
    sentence: str


def kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Cohen's kappa of two models' classes (N,) for the same examples, in [-1, 1], high = they agree.

    Agreement beyond chance, Cohen 1960. 1 where both say one and the same class, and without examples.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"{a.shape} and {b.shape}: both models must answer the same examples")
    if not len(a):
        return 1.0
    agreed = float((a == b).mean())
    chance = sum(float((a == c).mean() * (b == c).mean()) for c in np.unique(np.concatenate([a, b])))
    return 1.0 if chance >= 1 else (agreed - chance) / (1 - chance)


def advise(
    gain: Interval,
    *,
    more: int,
    kappas: Sequence[float],
    uncertainty: float | None,
    trained: bool,
    labels: int,
    left: int,
) -> Advice:
    """What to do next. ``gain`` of the next ``more`` labels; ``kappas`` of versions to the one before, oldest first;
    mean ``uncertainty`` of the pool in [0, 1]; whether there is a ``trained`` version; ``labels`` that were given, and
    the tasks that are ``left``, neither labelled nor skipped.
    """
    if left == 0 and labels:
        return Advice("stop", "You can stop: every task is labelled or skipped.")
    if left == 0:
        return Advice("keep labelling", "There is no task to label: import some, or label those that were skipped.")
    if not trained:
        return Advice("keep labelling", "Keep labelling: nothing was learned yet, the first labels matter most.")
    if is_vague(gain):
        between = f"{_whole(gain.low)} to {_whole(gain.high)} points"
        return Advice("keep labelling", f"Keep labelling: what the next {more} labels add may be {between} so far.")
    adds = f"the next {more} labels should add about {_points(gain)}"
    small = gain.value < GAIN
    stable = len(kappas) >= VERSIONS and min(kappas[-VERSIONS:]) >= STABLE
    sure = uncertainty is not None and uncertainty <= SURE
    if small and stable:
        surely = " and the model is sure of most tasks" if sure else ""
        return Advice("stop", f"You can stop: {adds}, the last versions gave the same answers{surely}.")
    if small:
        why = "the answers still change from version to version" if kappas else "there is no second version to compare"
        return Advice("nearly done", f"Nearly done: {adds}, but {why}.")
    if stable and sure:
        return Advice("nearly done", f"Nearly done: {adds}, though the last versions gave the same answers.")
    return Advice("keep labelling", f"Keep labelling: {adds}.")


def is_vague(gain: Interval) -> bool:
    """Whether the interval of a predicted gain is so wide that its ends alone are to be told."""
    return gain.high - gain.low > VAGUE


def _points(gain: Interval) -> str:
    """``3 points (1 to 6)``: percentage points, whole ones."""
    value = _whole(gain.value)
    return f"{value} {'point' if value == 1 else 'points'} ({_whole(gain.low)} to {_whole(gain.high)})"


def _whole(gain: float) -> int:
    return round(100 * gain)
