"""What most problems have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.problems.schema import Control, Example, Floats, Item, Output

NOTHING_LEARNED = "there is no label yet to learn from"  # what a head says that cannot know better


class Common:
    """Half of :class:`backend.problems.base.Problem`, to be overridden where a kind differs."""

    auto = "auto"
    reads = "encoder"
    tried = False
    averaged = False
    apart = False
    metric: str
    measure: str

    @property
    def score(self) -> str:
        """The metric."""
        return self.metric

    def mc_head(self, control: Control, head: LinearHead) -> LinearHead | None:
        """None: the profile is not the softmax of a linear head that dropout could thin."""
        return None

    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Any], *, seed: int) -> LinearHead:
        raise NotImplementedError("only the head of a fast problem is fitted to columns")

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Any]],
        held_out: tuple[Floats, Sequence[Any]],
        *,
        seed: int,
    ) -> LinearHead:
        raise NotImplementedError("only the head of a fast problem is fitted to columns")

    def logits(self, control: Control, head: LinearHead, model: Any, items: Sequence[Item]) -> Floats:
        raise NotImplementedError("only problems that are tried keep logits")

    def calibrated_as_tried(
        self,
        control: Control,
        head: LinearHead,
        model: Any,
        examples: Sequence[Example],
        tried: tuple[Floats, Sequence[Any]],
    ) -> LinearHead:
        raise NotImplementedError("only problems that are tried are calibrated so")

    def calibrated_apart(
        self, control: Control, head: LinearHead, model: Any, folds: Sequence[Sequence[Example]]
    ) -> list[LinearHead]:
        """None: calibration decides no answer, or so few (stars, whether a question has an answer) that it flatters by
        less than half a point (20 and 50 held-out answers, simulated)."""
        return []

    def context(self, control: Control, item: Item) -> str | None:
        """None: each item is read for itself."""
        return None

    def guided(self, control: Control, head: LinearHead, model: Any, item: Item, given: Any) -> Output | None:
        """None: an answer that is begun makes no difference."""
        return None

    def hard_class(self, target: Any) -> int:
        """0: the classes of the profile are none of targets."""
        return 0

    def labels_in(self, target: Any) -> frozenset[int]:
        """No label."""
        return frozenset()

    def within(self, part: Any, given: Any) -> bool:
        """As the whole: an answer of most kinds has no parts."""
        return self.kept(part, given)

    def kept(self, shown: Any, given: Any) -> bool:
        raise NotImplementedError

    def target_json(self, target: Any) -> Any:
        return target

    def target_from_json(self, value: Any) -> Any:
        return value

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Any]) -> Mapping[str, float]:
        """The mean quality, under the name of the metric."""
        return {self.metric: sum(map(self.quality, [control] * len(outputs), outputs, targets)) / len(outputs)}

    def quality(self, control: Control, output: Output, target: Any) -> float:
        raise NotImplementedError

    def reason(
        self,
        control: Control,
        profile: Floats,
        worth: float,
        *,
        pool_size: int,
        labelled: Sequence[Any] = (),
    ) -> Mapping[str, Any]:
        """The measure, its value and the size of the pool."""
        return {"measure": self.measure, "value": round(worth, 4), "pool": pool_size}

    def doubts(
        self, control: Control, head: LinearHead, columns: Floats, *, labelled: Sequence[Any] = ()
    ) -> list[Mapping[str, Any]]:
        """Nothing beside the reason."""
        return [{}] * len(columns)


def two_classes(worth: NDArray[np.floating[Any]]) -> Floats:
    """Probabilities (N, 2) whose margin is ``worth`` (N,) in [0, 1]."""
    half = np.clip(np.asarray(worth, np.float64), 0, 1) / 2
    return np.stack([1 - half, half], axis=1).astype(np.float32)
