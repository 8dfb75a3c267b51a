"""Any number of labels: ``<Choices choice="multiple">``, trees and ``<Taxonomy>``. A target is the share of the
annotators who gave each label, (K,) in [0, 1]; all 0 is the answer that no label fits.

Options of the control: ``empty``: no label at all is an answer; ``most``: the most labels that may be given.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active import multilabel
from backend.active.head import LinearHead
from backend.active.metrics import Interval, accuracy_interval, bootstrap_interval
from backend.active.multilabel import sigmoid
from backend.problems.common import two_classes
from backend.problems.pooled import Pooled
from backend.problems.schema import Control, Example, Floats, Output

if TYPE_CHECKING:
    from torch import Tensor

    from backend.models.encoder import Encoder

TRAINED_TRUST = 10.0  # nats that doubling the logits of a trained adapter costs: few held-out answers are few
ZERO_SHOT_SCALE = 10.0  # cosines differ by tenths
ZERO_SHOT_LABELS = 1.5  # labels of a task, before anything is known
NAMED = 4  # labels in doubt that a reason names


class MultipleChoice(Pooled):
    """See :class:`backend.problems.base.Problem`."""

    metric = "example_f1"
    measure = "label-entropy"

    @property
    def score(self) -> str:
        return "micro_f1"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Floats]) -> bool:
        """A label that some examples have and others do not."""
        shares = self.target_array(control, targets)
        return bool(((shares.max(axis=0, initial=0) > 0) & (shares.min(axis=0, initial=1) < 1)).any())

    def target_array(self, control: Control, targets: Sequence[Floats]) -> Floats:
        return np.stack([np.zeros(len(control.labels), np.float32), *targets])[1:]

    # --------------------------------------------------------------------------------------------------- the head
    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Floats], *, seed: int) -> LinearHead:
        """``extra`` keeps how many positives (K,) each label had among how many ``examples`` (1,)."""
        wanted = self.target_array(control, targets)
        head = multilabel.fit_sigmoid_head(columns, wanted)
        extra = {"positives": wanted.sum(axis=0), "examples": np.array([len(wanted)], np.float32)}
        return LinearHead(head.weight, head.bias, extra=extra)

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Floats]],
        held_out: tuple[Floats, Sequence[Floats]],
        *,
        seed: int,
    ) -> LinearHead:
        head = self.fit_head(control, *train, seed=seed)
        known, held = ((columns, self.target_array(control, targets)) for columns, targets in (train, held_out))
        return multilabel.fit_calibrated_sigmoids(head, known, held, _rule(control), seed=seed)

    def calibrated_on(
        self, control: Control, head: LinearHead, columns: Floats, targets: Sequence[Floats]
    ) -> LinearHead:
        wanted, weights = self.target_array(control, targets), np.ones(len(targets))
        logits = np.asarray(head.logits(columns), np.float64).reshape(wanted.shape)
        return multilabel.calibrate(head, logits, wanted, weights, _rule(control), trust=TRAINED_TRUST)

    def calibrated_apart(
        self, control: Control, head: LinearHead, model: "Encoder", folds: Sequence[Sequence[Example]]
    ) -> list[LinearHead]:
        """Thresholds found on the very answers that they are measured on flatter mean F1 by 3 to 4 points (10 to 28
        labels, 20 to 50 held-out answers, simulated)."""
        columns = [self.read(control, head, model, [e.item for e in fold]) for fold in folds]
        found = []
        for out in range(len(folds)):
            rest = [number for number in range(len(folds)) if number != out]
            targets = [e.targets[control.name] for number in rest for e in folds[number]]
            found.append(self.calibrated_on(control, head, np.concatenate([columns[n] for n in rest]), targets))
        return found

    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """Similarity of a text's direction to the labels' descriptions, beyond what all descriptions have in common.

        As for a single choice; the level is such that a text like no label in particular has ``ZERO_SHOT_LABELS``.
        """
        names = np.asarray(embed(control.descriptions), np.float64)
        lengths = np.linalg.norm(names, axis=1)
        directions = names / np.maximum(lengths, 1e-12)[:, None]
        centred = directions - directions.mean(axis=0)
        weight = ZERO_SHOT_SCALE * centred / max(float(lengths.mean()), 1e-12)
        k = len(names)
        share = min(0.5, ZERO_SHOT_LABELS / max(k, 1))
        extra = {
            "positives": np.zeros(k, np.float32),
            "examples": np.zeros(1, np.float32),
            "thresholds": np.full(k, 0.5 if k < 3 else min(0.5, 3 * share), np.float32),
        }
        bias = np.full(k, multilabel.logit(share), np.float32)
        return LinearHead(weight.astype(np.float32), bias, extra=extra)

    def loss(
        self, control: Control, targets: Sequence[Floats], smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Binary cross entropy summed over the labels; positives of rare ones weigh more.

        Smoothing draws targets to the label's share of the examples. What a weight adds to the logits is added here,
        so that the head's own logits are those of the probability.
        """
        import torch

        array = self.target_array(control, targets)
        emphasis = multilabel.positive_weights(array.sum(axis=0), len(array))
        weights = torch.from_numpy(emphasis.astype(np.float32))
        usual = torch.from_numpy(array.mean(axis=0))

        def weighted_entropy(logits: "Tensor", wanted: "Tensor") -> "Tensor":
            weight, share = weights.to(wanted.device), usual.to(wanted.device)
            smooth = (1 - smoothing) * wanted + smoothing * share
            return torch.nn.functional.binary_cross_entropy_with_logits(
                logits.float() + weight.log(), smooth, pos_weight=weight, reduction="none"
            ).sum(dim=1)

        return weighted_entropy

    def groups(self, targets: Floats) -> NDArray[np.int64]:
        """Equal numbers for the same set of labels; -1 where there is none, or where annotators are divided."""
        clear = ((targets > 0.99) | (targets < 0.01)).all(axis=1) & (targets > 0.99).any(axis=1)
        numbers = np.full(len(targets), -1, np.int64)
        if clear.any():
            numbers[clear] = np.unique(targets[clear] > 0.5, axis=0, return_inverse=True)[1].ravel()
        return numbers

    # --------------------------------------------------------------------------------------------------- answers
    def outputs(self, control: Control, head: LinearHead, reading: Floats) -> list[Output]:
        """``probs`` of each label, the set as ``answer`` (K,), and the probability that exactly this set is right."""
        probs = _probs(head, reading)
        chosen = _rule(control)(probs, _thresholds(head))
        slope, offset = head.extra.get("confidence", (1.0, 0.0))
        confidence = sigmoid(float(slope) * multilabel.set_logits(probs, chosen) + float(offset))
        return [
            Output(p.astype(np.float32), answer=c.astype(np.float32), confidence=float(s))
            for p, c, s in zip(probs, chosen, confidence, strict=True)
        ]

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Two numbers (N, 2) whose margin is the mean entropy of the labels, each by the share of rare ones."""
        doubt = multilabel.binary_entropy(_probs(head, columns))  # (N, K)
        rarity = _rarity(head)
        return two_classes(doubt @ (rarity / max(rarity.sum(), 1e-12)))

    def answer(self, output: Output) -> Floats | None:
        return None if output.answer is None else np.asarray(output.answer, np.float32)

    def sure(self, target: Floats) -> Output:
        shares = np.asarray(target, np.float32)
        return Output(shares, answer=(shares > 0.5).astype(np.float32), confidence=1.0)

    def category(self, target: Floats) -> Hashable:
        """The labels that most annotators gave."""
        return tuple(np.flatnonzero(np.asarray(target) > 0.5).tolist())

    def kept(self, shown: Floats, given: Floats) -> bool:
        return self.category(shown) == self.category(given)

    # --------------------------------------------------------------------------------------------------- measures
    def quality(self, control: Control, output: Output, target: Floats) -> float:
        """F1 of the labels given and wanted; 1 where both are none, 0 without an answer."""
        if output.answer is None:
            return 0.0
        return float(multilabel.agreement(np.asarray(output.answer)[None], np.asarray(target)[None])[0])

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats]) -> Mapping[str, float]:
        """Micro-F1, macro-F1 over the labels that occur, mean F1 of the tasks, share of sets that are exactly right;
        error of calibration of the confidence (15 bins), and negative log-likelihood of a task's labels in nats.

        Where there is no answer, no label is given, and the task counts as wrong.
        """
        given, share, answered = self._arrays(control, outputs, targets)
        unknown = np.full(len(control.labels), 0.5, np.float32)
        probs = np.stack([unknown if o.probs is None else o.probs for o in outputs]).astype(np.float64)
        p = np.clip(probs, 1e-7, 1 - 1e-7)
        exact = (multilabel.agreement(given, share) == 1) & answered
        return {
            **self._f1s(given, share, answered),
            "ece": multilabel.binary_calibration_error([o.confidence for o in outputs], exact),
            "nll": float(-(share * np.log(p) + (1 - share) * np.log1p(-p)).sum(axis=1).mean()),
        }

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats], *, seed: int
    ) -> Mapping[str, Interval]:
        """The scores of answers but the metric, which is told anyway: F1 with the intervals of a bootstrap."""
        arrays = given, share, answered = self._arrays(control, outputs, targets)
        exact = (multilabel.agreement(given, share) == 1) & answered

        def measure(name: str) -> Callable[[NDArray[np.int64]], float]:
            return lambda at: self._f1s(*(array[at] for array in arrays))[name]

        f1s = {name: bootstrap_interval(measure(name), len(outputs), seed=seed) for name in ("micro_f1", "macro_f1")}
        return {**f1s, "exact_match": accuracy_interval(int(exact.sum()), len(outputs))}

    def _arrays(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Floats]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Labels given (N, K), shares of the votes (N, K), and whether there is an answer (N,)."""
        blank = np.zeros(len(control.labels), np.float32)
        given = np.stack([blank if o.answer is None else o.answer for o in outputs]) > 0.5
        return given, self.target_array(control, targets), np.array([o.answer is not None for o in outputs])

    def _f1s(self, given: NDArray[Any], share: NDArray[Any], answered: NDArray[Any]) -> dict[str, float]:
        answer, wanted = multilabel.settled(given, share)
        right = multilabel.agreement(given, share) * answered
        return {
            "micro_f1": multilabel.micro_f1(answer, wanted),
            "macro_f1": multilabel.macro_f1(answer, wanted),
            self.metric: float(right.mean()),
            "exact_match": float((right == 1).mean()),
        }

    def doubts(
        self, control: Control, head: LinearHead, columns: Floats, *, labelled: Sequence[Any] = ()
    ) -> list[Mapping[str, Any]]:
        """``in_doubt``: the labels that make a task worth most, with their probabilities; ``labelled_of_label``: how
        many labelled tasks have these."""
        probs = _probs(head, columns)
        doubt = multilabel.binary_entropy(probs) * _rarity(head)
        counts = (self.target_array(control, labelled) > 0).sum(axis=0)
        found: list[Mapping[str, Any]] = []
        for row, p in zip(doubt, probs, strict=True):
            top = np.argsort(-row, kind="stable")[:NAMED]
            found.append(
                {
                    "in_doubt": {control.labels[at]: round(float(p[at]), 4) for at in top},
                    "labelled_of_label": {control.labels[at]: int(counts[at]) for at in top},
                }
            )
        return found


def _probs(head: LinearHead, columns: Floats) -> NDArray[np.float64]:
    """Honest probabilities (N, K) of each label."""
    return sigmoid(head.logits(columns).astype(np.float64) / head.temperature)


def _thresholds(head: LinearHead) -> NDArray[np.float64]:
    """Probabilities (K,) from which on labels are given."""
    if "thresholds" in head.extra:
        return np.asarray(head.extra["thresholds"], np.float64)
    return multilabel.rule_of_thumb(head.extra["positives"], float(head.extra["examples"][0]))


def _rarity(head: LinearHead) -> NDArray[np.float64]:
    """What the doubt about each label counts for (K,), in (0, 1]: more for labels of which few examples are known."""
    return np.asarray(1 / np.sqrt(1 + np.asarray(head.extra["positives"], np.float64)))


def _rule(control: Control) -> Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]:
    """Probabilities (N, K) and thresholds (K,) -> the labels that are given (N, K)."""
    most, empty = control.options.get("most"), bool(control.options.get("empty"))

    def rule(probs: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
        return multilabel.choose_sets(probs, thresholds, most=most, empty=empty)

    return rule
