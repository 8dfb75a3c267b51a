"""One label out of several: ``<Choices choice="single">``. A target is a distribution over the labels, (K,)."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active.calibration import expected_calibration_error, fit_temperature
from backend.active.head import LinearHead, class_weights, fit_calibrated_head, fit_linear_head
from backend.active.metrics import Interval, macro_f1, macro_f1_interval
from backend.problems.pooled import Pooled
from backend.problems.schema import Control, Example, Floats, Item, Output

if TYPE_CHECKING:
    from torch import Tensor

    from backend.models.encoder import Encoder

# What is known of a trained adapter's temperature before anything is held out: on TREC's unlabelled pool the best one
# of eight versions lay between 0.89 and 1.13, while one fitted to 30 held-out answers wandered from 0.73 to 1.36.
TRAINED_PRIOR = 20.0
HELD_OUT_COUNTS = 2.0  # trials
ZERO_SHOT_SCALE = 10.0  # cosines differ by tenths; this makes them a preference, not a certainty


class SingleChoice(Pooled):
    """See :class:`backend.problems.base.Problem`."""

    metric = "accuracy"
    measure = "margin"
    tried = True
    averaged = True

    def can_fit(self, control: Control, targets: Sequence[Floats]) -> bool:
        """Two different labels: with one, every text would get it."""
        return len(targets) > 0 and np.count_nonzero(np.sum(targets, axis=0)) > 1

    def target_array(self, control: Control, targets: Sequence[Floats]) -> Floats:
        return np.stack([np.zeros(len(control.labels), np.float32), *targets])[1:]

    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Floats], *, seed: int) -> LinearHead:
        return fit_linear_head(columns, np.stack(targets), seed=seed)

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Floats]],
        held_out: tuple[Floats, Sequence[Floats]],
        *,
        seed: int,
    ) -> LinearHead:
        held_targets = self.target_array(control, held_out[1])
        return fit_calibrated_head(train[0], np.stack(train[1]), held_out[0], held_targets, seed=seed)

    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """Similarity of a text's direction to the labels' descriptions.

        Their common part is taken off: it says "a label", not which. Features differ little in length, so that one
        typical length stands for all and the head stays linear.
        """
        names = np.asarray(embed(control.descriptions), np.float64)
        lengths = np.linalg.norm(names, axis=1)
        directions = names / np.maximum(lengths, 1e-12)[:, None]
        centred = directions - directions.mean(axis=0)
        weight = ZERO_SHOT_SCALE * centred / max(float(lengths.mean()), 1e-12)
        return LinearHead(weight.astype(np.float32), np.zeros(len(names), np.float32))

    def loss(
        self, control: Control, targets: Sequence[Floats], smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Cross entropy with soft, smoothed targets; rare classes weigh more (square root of inverse frequency)."""
        import torch

        weights = torch.from_numpy(class_weights(np.stack(targets)).astype(np.float32))

        def soft_cross_entropy(logits: "Tensor", wanted: "Tensor") -> "Tensor":
            weight = (wanted * weights.to(wanted.device)).sum(dim=1)  # (B,)
            smooth = (1 - smoothing) * wanted + smoothing / wanted.shape[1]
            return -weight * (smooth * torch.log_softmax(logits, dim=1)).sum(dim=1)

        return soft_cross_entropy

    def groups(self, targets: Floats) -> NDArray[np.int64]:
        """The label, -1 where several share the target."""
        clear = targets.max(axis=1, initial=0) > 0.5
        return np.where(clear, targets.argmax(axis=1), -1).astype(np.int64)

    def logits(self, control: Control, head: LinearHead, model: "Encoder", items: Sequence[Item]) -> Floats:
        return head.logits(self.read(control, head, model, items))

    def calibrated_as_tried(
        self,
        control: Control,
        head: LinearHead,
        model: "Encoder",
        examples: Sequence[Example],
        tried: tuple[Floats, Sequence[Floats]],
    ) -> LinearHead:
        """One temperature for the held-out examples and for the trials. A held-out example counts for two trials: what
        a strategy chose is harder than the pool. The prior is the usual one, which lets SST-2 have its 2 where TREC has
        its 1."""
        logits = np.concatenate([self.logits(control, head, model, [e.item for e in examples]), tried[0]])
        wanted = self.target_array(control, [*(e.targets[control.name] for e in examples), *tried[1]])
        weights = np.repeat([HELD_OUT_COUNTS, 1.0], [len(examples), len(tried[0])])
        return LinearHead(head.weight, head.bias, fit_temperature(logits, wanted, weights=weights), head.extra)

    def calibrated_on(
        self, control: Control, head: LinearHead, columns: Floats, targets: Sequence[Floats]
    ) -> LinearHead:
        wanted = self.target_array(control, targets)
        temperature = fit_temperature(head.logits(columns), wanted, prior_weight=TRAINED_PRIOR)
        return LinearHead(head.weight, head.bias, temperature)

    def outputs(self, control: Control, head: LinearHead, reading: Floats) -> list[Output]:
        return [Output(probs) for probs in head.probs(reading)]

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """The labels' probabilities; their margin is the uncertainty (see :mod:`backend.active.uncertainty`)."""
        return head.probs(columns)

    def mc_head(self, control: Control, head: LinearHead) -> LinearHead | None:
        return head

    def answer(self, output: Output) -> Floats | None:
        """The most probable label, one-hot."""
        return (
            None if output.probs is None else np.eye(len(output.probs), dtype=np.float32)[int(np.argmax(output.probs))]
        )

    def sure(self, target: Floats) -> Output:
        return Output(np.asarray(target, np.float32))

    def category(self, target: Floats) -> Hashable:
        return self.hard_class(target)

    def hard_class(self, target: Floats) -> int:
        """The position of the target's first label."""
        return int(np.argmax(target))

    def kept(self, shown: Floats, given: Floats) -> bool:
        return self.hard_class(shown) == self.hard_class(given)

    def quality(self, control: Control, output: Output, target: Floats) -> float:
        """1 if the most probable label is one that no other label beats in the target (annotators may tie), else 0."""
        return float(output.probs is not None and bool(target[int(np.argmax(output.probs))] == target.max()))

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats]) -> Mapping[str, float]:
        """Accuracy, macro-F1, expected calibration error (15 bins) and negative log-likelihood."""
        blank = np.full(len(control.labels), 1 / len(control.labels), np.float32)
        probs = np.stack([blank if o.probs is None else o.probs for o in outputs])
        classes = np.array([self.hard_class(target) for target in targets], np.int64)
        likelihood = np.clip(probs[np.arange(len(classes)), classes], 1e-12, None)
        return {
            **super().scores(control, outputs, targets),
            "macro_f1": macro_f1(probs.argmax(axis=1), classes),
            "ece": expected_calibration_error(probs, classes),
            "nll": float(-np.log(likelihood).mean()),
        }

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats], *, seed: int
    ) -> Mapping[str, Interval]:
        """Macro-F1."""
        answers = [self.answer(output) for output in outputs]
        said = [-1 if answer is None else self.hard_class(answer) for answer in answers]
        return {"macro_f1": macro_f1_interval(said, [self.hard_class(t) for t in targets], seed=seed)}

    def reason(
        self,
        control: Control,
        profile: Floats,
        worth: float,
        *,
        pool_size: int,
        labelled: Sequence[Any] = (),
    ) -> Mapping[str, Any]:
        """The measure, its value, the size of the pool, the two labels between which the model wavers, and how many
        labelled tasks the likelier one has: few make the task worth more than its margin says."""
        best = np.argsort(-profile, kind="stable")[:2]
        return {
            **super().reason(control, profile, worth, pool_size=pool_size),
            "between": {control.labels[at]: round(float(profile[at]), 4) for at in best},
            "labelled_of_class": int(sum(target[best[0]] > 0 for target in labelled)),
        }
