"""Stars: ``<Rating>``. A target is the share of the annotators who gave each number of stars, (K,), sum 1.

The labels of the control are the numbers of stars from 1 on, in order.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.active import ordinal
from backend.active.head import LinearHead
from backend.active.metrics import Interval, accuracy_interval, bootstrap_interval
from backend.active.multilabel import binary_calibration_error, sigmoid
from backend.problems.common import NOTHING_LEARNED, two_classes
from backend.problems.pooled import Pooled
from backend.problems.schema import Control, Floats, Output

if TYPE_CHECKING:
    from torch import Tensor

TRAINED_TRUST = 10.0  # nats that doubling the logits of a trained adapter costs: few held-out answers are few


class Rating(Pooled):
    """See :class:`backend.problems.base.Problem`. The head has a row for each number of stars but the highest."""

    metric = "closeness"
    measure = "expected-error"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Floats]) -> bool:
        """Two different numbers of stars: with one, every text would get it."""
        return len(targets) > 0 and np.count_nonzero(np.sum(targets, axis=0)) > 1

    def target_array(self, control: Control, targets: Sequence[Floats]) -> Floats:
        return np.stack([np.zeros(len(control.labels), np.float32), *targets])[1:]

    # --------------------------------------------------------------------------------------------------- the head
    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Floats], *, seed: int) -> LinearHead:
        """``extra`` keeps to how many ``examples`` (1,) it was fitted."""
        head = ordinal.fit_ordinal_head(columns, np.stack(targets))
        return LinearHead(head.weight, head.bias, extra={"examples": np.array([len(targets)], np.float32)})

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Floats]],
        held_out: tuple[Floats, Sequence[Floats]],
        *,
        seed: int,
    ) -> LinearHead:
        head = self.fit_head(control, *train, seed=seed)
        known, held = (self.target_array(control, targets) for _, targets in (train, held_out))
        return ordinal.fit_calibrated_ordinal(head, train[0], known, held_out[0], held, seed=seed)

    def calibrated_on(
        self, control: Control, head: LinearHead, columns: Floats, targets: Sequence[Floats]
    ) -> LinearHead:
        logits, wanted = head.logits(columns), self.target_array(control, targets)
        return ordinal.calibrate(head, logits, wanted, np.ones(len(wanted)), trust=TRAINED_TRUST)

    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """A head that says nothing: the name of a number does not tell what is rated."""
        k = len(control.labels)
        return LinearHead(np.zeros((k - 1, dim), np.float32), np.zeros(k - 1, np.float32))

    def loss(
        self, control: Control, targets: Sequence[Floats], smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Binary cross entropy of being above each number of stars, summed; smoothing draws to the usual shares."""
        import torch

        usual = torch.from_numpy(ordinal.above(np.stack(targets)).mean(axis=0).astype(np.float32))

        def ordinal_entropy(logits: "Tensor", wanted: "Tensor") -> "Tensor":
            above = 1 - wanted.cumsum(dim=1)[:, :-1]
            smooth = ((1 - smoothing) * above + smoothing * usual.to(wanted.device)).clamp(0, 1)
            return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none").sum(
                dim=1
            )

        return ordinal_entropy

    def groups(self, targets: Floats) -> NDArray[np.int64]:
        """The stars, -1 where annotators are divided."""
        return np.where(targets.max(axis=1, initial=0) > 0.99, targets.argmax(axis=1), -1).astype(np.int64)

    # --------------------------------------------------------------------------------------------------- answers
    def outputs(self, control: Control, head: LinearHead, reading: Floats) -> list[Output]:
        """``probs`` of each number of stars; the median, one-hot, as ``answer``, and its probability."""
        if "examples" not in head.extra:
            return [Output(reason=NOTHING_LEARNED)] * len(reading)
        probs = _probs(head, reading)
        best = ordinal.medians(probs)[0]
        return [
            Output(p.astype(np.float32), answer=np.eye(len(p), dtype=np.float32)[at], confidence=float(p[at]))
            for p, at in zip(probs, best, strict=True)
        ]

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Two numbers (N, 2) whose margin is the error that is to be expected of the answer; 1 where nothing is known.

        As a share of the largest one, which even chances of the least and the most stars have.
        """
        if "examples" not in head.extra:
            return two_classes(np.ones(len(columns)))
        probs = _probs(head, columns)
        expected = ordinal.expected_distance(probs, ordinal.medians(probs)[0])
        return two_classes(2 * expected / (probs.shape[1] - 1))

    def answer(self, output: Output) -> Floats | None:
        return None if output.answer is None else np.asarray(output.answer, np.float32)

    def sure(self, target: Floats) -> Output:
        shares = np.asarray(target, np.float32)
        return Output(shares, answer=np.eye(len(shares), dtype=np.float32)[self.category(shares)], confidence=1.0)

    def category(self, target: Floats) -> int:
        """The position of the median, of two the lower one."""
        return int(ordinal.medians(np.asarray(target)[None])[0][0])

    def kept(self, shown: Floats, given: Floats) -> bool:
        return self.category(shown) == self.category(given)

    # --------------------------------------------------------------------------------------------------- measures
    def quality(self, control: Control, output: Output, target: Floats) -> float:
        """1 for a median of what annotators gave, 0 for an answer at the other end of the scale or none."""
        return self._measures(control, *self._arrays(control, [output], [target]))[self.metric]

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats]) -> Mapping[str, float]:
        """Mean quality; mean absolute error in stars, share of answers that are exactly right and kappa with quadratic
        weights; error of calibration of the confidence (15 bins), and negative log-likelihood in nats.

        Where there is no answer, the error is the largest one, and kappa counts the least stars.
        """
        arrays = self._arrays(control, outputs, targets)
        blank = np.full(len(control.labels), 1 / len(control.labels), np.float32)
        probs = np.stack([blank if o.probs is None else o.probs for o in outputs]).astype(np.float64)
        likelihood = self.target_array(control, targets) * np.log(np.clip(probs, 1e-12, None))
        return {
            **self._measures(control, *arrays),
            "ece": binary_calibration_error([o.confidence for o in outputs], arrays[-1] == 0),
            "nll": float(-likelihood.sum(axis=1).mean()),
        }

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats], *, seed: int
    ) -> Mapping[str, Interval]:
        """Share of exact answers, and kappa with the interval of a bootstrap."""
        said, wanted, errors = self._arrays(control, outputs, targets)

        def kappa(at: NDArray[np.int64]) -> float:
            return ordinal.quadratic_agreement(said[at], wanted[at])

        return {
            "exact_match": accuracy_interval(int((errors == 0).sum()), len(outputs)),
            "quadratic_kappa": bootstrap_interval(kappa, len(outputs), seed=seed),
        }

    def _arrays(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Positions of answers and of what annotators gave, and the distance to the nearest median of these, each (N,).

        Annotators who are divided have several medians, and what they gave is the one next to the answer.
        """
        said = np.array([0 if o.answer is None else int(np.argmax(o.answer)) for o in outputs], np.int64)
        there = np.array([o.answer is not None for o in outputs], bool)
        wanted = np.clip(said, *ordinal.medians(self.target_array(control, targets)))
        return said, wanted, np.where(there, np.abs(said - wanted), len(control.labels) - 1)

    def _measures(
        self, control: Control, said: NDArray[np.int64], wanted: NDArray[np.int64], errors: NDArray[np.int64]
    ) -> dict[str, float]:
        return {
            self.metric: float(1 - errors.mean() / (len(control.labels) - 1)),
            "mean_absolute_error": float(errors.mean()),
            "exact_match": float((errors == 0).mean()),
            "quadratic_kappa": ordinal.quadratic_agreement(said, wanted),
        }


def _probs(head: LinearHead, columns: Floats) -> NDArray[np.float64]:
    """Honest probabilities (N, K) of each number of stars."""
    return ordinal.class_probs(sigmoid(head.logits(columns).astype(np.float64) / head.temperature))
