"""Which of two texts: ``<Pairwise>``. A target is the share of the annotators for the left and the right one, (2,).

The head scores one text (Bradley and Terry, Rank Analysis of Incomplete Block Designs, 1952): the left one is preferred
with the sigmoid of the difference of the scores, so that swapping the texts swaps the probabilities.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active import preference
from backend.active.calibration import fit_temperature
from backend.active.folds import out_of_fold
from backend.active.head import HELD_OUT_COUNTS, LinearHead
from backend.active.metrics import Interval
from backend.problems.choices import TRAINED_PRIOR, SingleChoice
from backend.problems.common import NOTHING_LEARNED
from backend.problems.schema import Control, Floats, Item, Output

if TYPE_CHECKING:
    from torch import Tensor

TIE = -1  # category of a target without a preference


class Pairwise(SingleChoice):
    """See :class:`backend.problems.base.Problem`. The labels are left and right; the columns, the features of both."""

    tried = False
    averaged = False

    # --------------------------------------------------------------------------------------------------- the texts
    def texts(self, control: Control, item: Item) -> tuple[str, ...]:
        """The left and the right text."""
        return item.fields[control.fields[0]].text, item.fields[control.fields[-1]].text

    def width(self, control: Control, dim: int) -> int:
        return 2 * dim

    def combined(self, logits: "Tensor") -> "Tensor":
        """Logits (B, 2) of left and right from the scores (B, 2, 1) of the texts."""
        import torch

        apart = logits[:, 0, 0] - logits[:, 1, 0]
        return torch.stack([apart, -apart], dim=1) / 2

    # --------------------------------------------------------------------------------------------------- the head
    def can_fit(self, control: Control, targets: Sequence[Floats]) -> bool:
        """One preference: it says of two texts which is better, also where it is always the left one."""
        return any(self.category(target) != TIE for target in targets)

    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Floats], *, seed: int) -> LinearHead:
        """``extra`` keeps to how many ``examples`` (1,) it was fitted."""
        n = len(columns)
        texts = np.concatenate(np.split(columns, 2, axis=1))  # (2 N, D)
        orders = [(at, n + at) for at in range(n)] + [(n + at, at) for at in range(n)]
        head = preference.fit_utility_head(texts, orders, np.stack(targets).T.ravel())
        return LinearHead(head.weight, head.bias, extra={"examples": np.array([n], np.float32)})

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Floats]],
        held_out: tuple[Floats, Sequence[Floats]],
        *,
        seed: int,
    ) -> LinearHead:
        """By cross-validation, and on held-out pairs, which count for four each."""
        columns, wanted = train[0], np.stack(train[1])

        def predict(rest: NDArray[np.int64], out: NDArray[np.int64]) -> Floats:
            return _sides(self.fit_head(control, columns[rest], list(wanted[rest]), seed=seed)).logits(columns[out])

        head = self.fit_head(control, *train, seed=seed)
        folded, at = out_of_fold(columns, predict, seed=seed)
        held, held_targets = _sides(head).logits(held_out[0]), self.target_array(control, held_out[1])
        temperature = fit_temperature(
            np.concatenate([folded.reshape(-1, 2), held]),
            np.concatenate([wanted[at], held_targets]),
            weights=np.repeat([1.0, HELD_OUT_COUNTS], [len(at), len(held)]),
        )
        return LinearHead(head.weight, head.bias, temperature, head.extra)

    def calibrated_on(
        self, control: Control, head: LinearHead, columns: Floats, targets: Sequence[Floats]
    ) -> LinearHead:
        wanted = self.target_array(control, targets)
        temperature = fit_temperature(_sides(head).logits(columns), wanted, prior_weight=TRAINED_PRIOR)
        return LinearHead(head.weight, head.bias, temperature, head.extra)

    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """A head that says nothing: left and right do not tell what is better."""
        return LinearHead(np.zeros((1, dim), np.float32), np.zeros(1, np.float32))

    def loss(
        self, control: Control, targets: Sequence[Floats], smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Cross entropy with soft, smoothed targets; both sides weigh the same, whichever is preferred more often."""
        import torch

        def soft_cross_entropy(logits: "Tensor", wanted: "Tensor") -> "Tensor":
            smooth = (1 - smoothing) * wanted + smoothing / 2
            return -(smooth * torch.log_softmax(logits.float(), dim=1)).sum(dim=1)

        return soft_cross_entropy

    def groups(self, targets: Floats) -> NDArray[np.int64]:
        """Each for itself: that two left texts are preferred to others does not make them alike."""
        return np.full(len(targets), -1, np.int64)

    # --------------------------------------------------------------------------------------------------- answers
    def outputs(self, control: Control, head: LinearHead, reading: Floats) -> list[Output]:
        if "examples" not in head.extra:
            return [Output(reason=NOTHING_LEARNED)] * len(reading)
        return super().outputs(control, _sides(head), reading)

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """The probabilities (N, 2) of left and right: what is close is worth a label."""
        return _sides(head).probs(columns)

    def mc_head(self, control: Control, head: LinearHead) -> LinearHead | None:
        return _sides(head)

    def category(self, target: Floats) -> Hashable:
        """0 for left, 1 for right, -1 where as many annotators preferred either."""
        left, right = np.asarray(target).tolist()
        return TIE if abs(left - right) < 1e-6 else int(right > left)

    def kept(self, shown: Floats, given: Floats) -> bool:
        return self.category(shown) == self.category(given)

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats]) -> Mapping[str, float]:
        """Those of a choice between left and right, of the pairs of which annotators prefer one."""
        clear = [at for at, target in enumerate(targets) if self.category(target) != TIE] or range(len(targets))
        return super().scores(control, [outputs[at] for at in clear], [targets[at] for at in clear])

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats], *, seed: int
    ) -> Mapping[str, Interval]:
        """Nothing beside the accuracy: F1 of a side means nothing."""
        return {}

    def labels_in(self, target: Any) -> frozenset[int]:
        """No label: a side is nothing that the texts of a task have in common with others."""
        return frozenset()


def _sides(head: LinearHead) -> LinearHead:
    """The head on columns (N, 2 D) whose softmax are the probabilities of left and right."""
    half = np.concatenate([head.weight, -head.weight], axis=1) / 2  # (1, 2 D)
    return LinearHead(np.concatenate([half, -half]), np.zeros(2, np.float32), head.temperature)
