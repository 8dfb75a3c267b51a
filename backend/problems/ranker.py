"""The order of the entries of a list: ``<Ranker>``. A target holds an order for each annotator, positions best first.

The head scores one entry, and the scores make an order probable as Plackett and Luce have it (see
:mod:`backend.active.preference`). Lists may be of any length, so no task has its features among the columns: what is
kept of one is how close its entries are, as the version's own head sees it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active import preference
from backend.active.head import LinearHead
from backend.active.metrics import Interval, accuracy_interval
from backend.active.multilabel import binary_calibration_error
from backend.problems.choices import TRAINED_PRIOR
from backend.problems.common import NOTHING_LEARNED, Common, two_classes
from backend.problems.schema import Control, Example, Floats, Item, Output

if TYPE_CHECKING:
    from torch import Tensor

    from backend.models.encoder import Encoder
    from backend.models.training import HeadTask

Target = tuple[tuple[int, ...], ...]
Reading = list[Floats]  # features (n, D) of the entries of each item


class Ranker(Common):
    """See :class:`backend.problems.base.Problem`."""

    fast = False
    apart = True
    metric = "concordance"
    measure = "closeness"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Target]) -> bool:
        """One list of two entries."""
        return any(len(order) > 1 for target in targets for order in target)

    def target_json(self, target: Target) -> Any:
        return [list(order) for order in target]

    def target_from_json(self, value: Any) -> Target:
        return tuple(tuple(int(at) for at in order) for order in value)

    # --------------------------------------------------------------------------------------------------- the model
    def texts(self, control: Control, item: Item) -> tuple[str, ...]:
        """The entries."""
        return item.fields[control.text_field].texts

    def width(self, control: Control, dim: int) -> int:
        """1: how close the entries are."""
        return 1

    def read(self, control: Control, head: LinearHead, encoder: "Encoder", items: Sequence[Item]) -> Reading:
        """Features of the entries of each item."""
        texts = [self.texts(control, item) for item in items]
        features = encoder.embed([entry for entries in texts for entry in entries])
        return np.split(features, np.cumsum([len(entries) for entries in texts])[:-1]) if texts else []

    def columns(self, control: Control, head: LinearHead, reading: Reading) -> Floats:
        """The closeness (N, 1) of neighbours in each list, in [0, 1]; 1 before there is a label."""
        known = "examples" in head.extra
        close = [preference.closeness(_scores(head, features)) if known else 1.0 for features in reading]
        return np.array(close, np.float32).reshape(-1, 1)

    def outputs(self, control: Control, head: LinearHead, reading: Reading) -> list[Output]:
        """The most probable order, and the probability that it is exactly right."""
        if "examples" not in head.extra:
            return [Output(reason=NOTHING_LEARNED)] * len(reading)
        found = []
        for features in reading:
            scores = _scores(head, features)
            order = tuple(np.argsort(-scores, kind="stable").tolist())
            confidence = float(np.exp(preference.log_probability(scores, order)))
            found.append(Output(answer=(order,), confidence=confidence))
        return found

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Two numbers (N, 2) whose margin is the closeness."""
        return two_classes(columns[:, 0])

    # ---------------------------------------------------------------------------------------------------- the head
    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Target], *, seed: int) -> LinearHead:
        raise TypeError("the head reads entries, which columns do not hold")

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Target]],
        held_out: tuple[Floats, Sequence[Target]],
        *,
        seed: int,
    ) -> LinearHead:
        raise TypeError("the head reads entries, which columns do not hold")

    def fit_lists(self, reading: Reading, targets: Sequence[Target]) -> LinearHead:
        """The head fitted to the features of lists and their targets; annotators of one list share its weight.

        ``extra`` keeps to how many ``examples`` (1,) it was fitted.
        """
        first = np.cumsum([0, *map(len, reading)])  # of each list among all entries
        orders = [[int(first[at]) + e for e in order] for at, target in enumerate(targets) for order in target]
        head = preference.fit_utility_head(np.concatenate(reading), orders, _shares(targets))
        return LinearHead(head.weight, head.bias, extra={"examples": np.array([len(targets)], np.float32)})

    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """A head that says nothing: what is good about an entry is not known."""
        return LinearHead(np.zeros((1, dim), np.float32), np.zeros(1, np.float32))

    def head_task(
        self, control: Control, encoder: "Encoder", examples: Sequence[Example], *, smoothing: float, seed: int
    ) -> "HeadTask":
        """What makes the annotators' orders probable. What annotators disagree on is all that smooths them."""
        import torch

        from backend.models.training import HeadTask

        wanted: list[Target] = [e.targets.get(control.name, ()) for e in examples]
        entries = [self.texts(control, e.item) if target else () for e, target in zip(examples, wanted, strict=True)]
        given = [e for e, target in zip(examples, wanted, strict=True) if target and e.weight == 1]
        blank = LinearHead(np.zeros((1, encoder.dim), np.float32), np.zeros(1, np.float32))
        reading = self.read(control, blank, encoder, [e.item for e in given])

        def task_loss(logits: "Tensor", batch: NDArray[np.int64]) -> "Tensor":
            lists = torch.split(logits[:, 0].float(), [len(entries[at]) for at in batch])
            return torch.stack([_surprise(scores, wanted[at]) for scores, at in zip(lists, batch, strict=True)])

        return HeadTask(
            start=self.fit_lists(reading, [e.targets[control.name] for e in given]),
            sequences=[encoder.tokens.ids(texts) if texts else [] for texts in entries],
            loss=task_loss,
            groups=np.full(len(examples), -1, np.int64),
        )

    def calibrated(
        self, control: Control, head: LinearHead, encoder: "Encoder", examples: Sequence[Example]
    ) -> LinearHead:
        targets: list[Target] = [e.targets[control.name] for e in examples]
        plain = LinearHead(head.weight, head.bias, extra=head.extra)
        reading = self.read(control, plain, encoder, [e.item for e in examples])
        pairs = [
            (_scores(plain, features), order)
            for features, target in zip(reading, targets, strict=True)
            for order in target
        ]
        temperature = preference.fit_order_temperature(
            [scores for scores, _ in pairs],
            [order for _, order in pairs],
            weights=_shares(targets),
            prior_weight=TRAINED_PRIOR,
        )
        return LinearHead(head.weight, head.bias, temperature, head.extra)

    # --------------------------------------------------------------------------------------------------- judgements
    def answer(self, output: Output) -> Any | None:
        return output.answer

    def sure(self, target: Target) -> Output:
        return Output(answer=(self.category(target),), confidence=1.0)

    def category(self, target: Target) -> tuple[int, ...]:
        """The order by the mean place that annotators gave; of entries at the same place the one that stands first."""
        return tuple(np.argsort(preference.mean_ranks(target), kind="stable").tolist())

    def kept(self, shown: Target, given: Target) -> bool:
        return self.category(shown) == self.category(given)

    def quality(self, control: Control, output: Output, target: Target) -> float:
        """Share of the pairs of entries that are ordered as the mean places of the annotators are; 0 without an
        answer."""
        return _measures(output, target)[0]

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Target]) -> Mapping[str, float]:
        """Mean quality, share of orders that are exactly right and of first entries that are; error of calibration of
        the confidence (15 bins)."""
        measured = np.array(list(map(_measures, outputs, targets)))
        ece = binary_calibration_error([o.confidence for o in outputs], measured[:, 1])
        return {**dict(zip(MEASURES, measured.mean(axis=0).tolist(), strict=True)), "ece": ece}

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Target], *, seed: int
    ) -> Mapping[str, Interval]:
        """Share of exact orders and of right first entries."""
        right = np.sum(list(map(_measures, outputs, targets)), axis=0)
        return {name: accuracy_interval(float(right[at]), len(outputs)) for at, name in enumerate(MEASURES) if at}


MEASURES = (Ranker.metric, "exact_match", "first_match")


def _measures(output: Output, target: Target) -> tuple[float, float, float]:
    """Quality of an answer, whether it is exactly right, and whether its first entry is."""
    if output.answer is None:
        return 0.0, 0.0, 0.0
    (order,), ranks = output.answer, preference.mean_ranks(target)
    concordance = preference.concordance(order, ranks)
    return concordance, float(concordance == 1), float(ranks[order[0]] <= ranks.min() + preference.TIE)


def _scores(head: LinearHead, features: Floats) -> NDArray[np.float64]:
    """Honest scores (n,) of the entries of one list."""
    return np.asarray(head.logits(features)[:, 0], np.float64) / head.temperature


def _shares(targets: Sequence[Target]) -> list[float]:
    """What the order of each annotator counts, by list: all of one list together count 1."""
    return [1 / len(target) for target in targets for _ in target]


def _surprise(scores: "Tensor", target: Target) -> "Tensor":
    """Negative log-likelihood of a target, per choice so that a long list is no louder than a short one; a scalar."""
    import torch

    chosen = scores[torch.tensor(target, device=scores.device)]  # (annotators, n)
    rest = torch.logcumsumexp(chosen.flip(1), dim=1).flip(1)
    return (rest - chosen).sum(dim=1).mean() / max(1, chosen.shape[1] - 1)
