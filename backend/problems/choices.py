"""One label out of several: ``<Choices choice="single">``. A target is a distribution over the labels, (K,)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active.calibration import fit_temperature
from backend.active.head import LinearHead, class_weights, fit_calibrated_head, fit_linear_head
from backend.active.uncertainty import margin
from backend.problems.schema import Control, Example, Floats, Output

if TYPE_CHECKING:
    from torch import Tensor

# What is known of a trained adapter's temperature before anything is held out: on TREC's unlabelled pool the best one
# of eight versions lay between 0.89 and 1.13, while one fitted to 30 held-out answers wandered from 0.73 to 1.36.
TRAINED_PRIOR = 20.0
ZERO_SHOT_SCALE = 10.0  # cosines differ by tenths; this makes them a preference, not a certainty


class SingleChoice:
    """See :class:`backend.problems.base.Problem`."""

    def targets_array(self, control: Control, examples: Sequence[Example]) -> tuple[Floats, NDArray[np.bool_]]:
        present = np.array([control.name in e.targets for e in examples], bool)
        targets = np.zeros((len(examples), len(control.labels)), np.float32)
        for row in np.flatnonzero(present):
            targets[row] = examples[row].targets[control.name]
        return targets, present

    def can_fit(self, control: Control, targets: Sequence[Floats]) -> bool:
        """Two different labels: with one, every text would get it."""
        return len(targets) > 0 and np.count_nonzero(np.sum(targets, axis=0)) > 1

    def fit_head(self, control: Control, features: Floats, targets: Sequence[Floats], *, seed: int) -> LinearHead:
        return fit_linear_head(features, np.stack(targets), seed=seed)

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Floats]],
        held_out: tuple[Floats, Sequence[Floats]],
        *,
        seed: int,
    ) -> LinearHead:
        empty = np.zeros((0, len(control.labels)), np.float32)
        held_targets = np.stack(held_out[1]) if len(held_out[1]) else empty
        return fit_calibrated_head(train[0], np.stack(train[1]), held_out[0], held_targets, seed=seed)

    def zero_shot_head(self, control: Control, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
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

    def loss(self, targets: Floats, smoothing: float) -> "Callable[[Tensor, Tensor], Tensor]":
        """Cross entropy with soft, smoothed targets; rare classes weigh more (square root of inverse frequency)."""
        import torch

        weights = torch.from_numpy(class_weights(targets).astype(np.float32))

        def soft_cross_entropy(logits: "Tensor", wanted: "Tensor") -> "Tensor":
            weight = (wanted * weights.to(wanted.device)).sum(dim=1)  # (B,)
            smooth = (1 - smoothing) * wanted + smoothing / wanted.shape[1]
            return -weight * (smooth * torch.log_softmax(logits, dim=1)).sum(dim=1)

        return soft_cross_entropy

    def groups(self, targets: Floats) -> NDArray[np.int64]:
        """The label, -1 where several share the target or there is none."""
        clear = targets.max(axis=1, initial=0) > 0.5
        return np.where(clear, targets.argmax(axis=1), -1).astype(np.int64)

    def calibrated(self, head: LinearHead, features: Floats, targets: Floats) -> LinearHead:
        temperature = fit_temperature(head.logits(features), targets, prior_weight=TRAINED_PRIOR)
        return LinearHead(head.weight, head.bias, temperature)

    def outputs(self, head: LinearHead, features: Floats) -> list[Output]:
        return [Output(probs) for probs in head.probs(features)]

    def uncertainty(self, outputs: Sequence[Output]) -> NDArray[np.float64]:
        """Margin: see :mod:`backend.active.uncertainty`."""
        worth = np.ones(len(outputs))
        answered = [at for at, output in enumerate(outputs) if output.probs is not None]
        if answered:
            worth[answered] = margin(np.stack([outputs[at].probs for at in answered]))  # type: ignore[misc]
        return worth

    def hard_class(self, target: Floats) -> int:
        return int(np.argmax(target))

    def answer(self, output: Output) -> Floats | None:
        """The most probable label, one-hot."""
        return (
            None if output.probs is None else np.eye(len(output.probs), dtype=np.float32)[int(np.argmax(output.probs))]
        )

    def kept(self, shown: Floats, given: Floats) -> bool:
        return self.hard_class(shown) == self.hard_class(given)

    def correct(self, output: Output, target: Floats) -> bool:
        """Whether the most probable label is one that no other label beats in the target (annotators may tie)."""
        return output.probs is not None and bool(target[int(np.argmax(output.probs))] == target.max())

    def reason(
        self, control: Control, output: Output, worth: float, *, pool_size: int, labelled: Sequence[Floats] = ()
    ) -> Mapping[str, Any]:
        """The measure, its value, the size of the pool, the two labels between which the model wavers, and how many
        labelled tasks the likelier one has: few make the task worth more than its margin says."""
        said: dict[str, Any] = {"measure": "margin", "value": round(worth, 4), "pool": pool_size}
        if output.probs is not None:
            best = np.argsort(-output.probs, kind="stable")[:2]
            said["between"] = {control.labels[at]: round(float(output.probs[at]), 4) for at in best}
            said["labelled_of_class"] = int(sum(target[best[0]] > 0 for target in labelled))
        return said
