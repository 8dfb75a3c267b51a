"""A number: ``<Number>``. A target is the median of what the annotators gave, a float.

Options of the control: ``min``, ``max`` and ``step``, each where the tag has it.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active import regression
from backend.active.head import LinearHead
from backend.active.metrics import Interval, bootstrap_interval
from backend.active.multilabel import binary_calibration_error
from backend.active.ordinal import quadratic_agreement
from backend.active.regression import Scale
from backend.problems.common import NOTHING_LEARNED, two_classes
from backend.problems.pooled import Pooled
from backend.problems.schema import Control, Floats, Output

if TYPE_CHECKING:
    from torch import Tensor

Numbers = NDArray[np.float64]

NEAR = 0.1  # an answer counts as right where it misses by at most this share of the span
UNIT = 1.0  # the step of Label Studio's arrows, where the tag does not say
DIGITS = 6  # behind the point, at most
USUAL_SHARE = 0.9  # of the labels have no more digits than an answer has
TRAINED_COUNT = 20.0  # held-out answers that an adapter's error is as well known as before any of them


class Number(Pooled):
    """See :class:`backend.problems.base.Problem`. The head has one row, in units of the labels' standard deviation."""

    metric = "closeness"
    measure = "spread"
    # The spread follows what is unlike the labels, outliers first: picked by it, labels taught less than random ones on
    # both sets that were tried (frozen features, 50 to 200 labels, four seeds); typical texts taught as much.
    auto = "typiclust"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[float]) -> bool:
        """Two different numbers."""
        return len(set(targets)) > 1

    def target_array(self, control: Control, targets: Sequence[float]) -> Floats:
        return np.array(targets, np.float32).reshape(-1, 1)

    def target_json(self, target: float) -> float:
        return float(target)

    def target_from_json(self, value: Any) -> float:
        return float(value)

    def labels_in(self, target: Any) -> frozenset[int]:
        """No label."""
        return frozenset()

    # --------------------------------------------------------------------------------------------------- the head
    def fit_head(self, control: Control, columns: Floats, targets: Sequence[float], *, seed: int) -> LinearHead:
        """``extra`` keeps centre and width of the targets as ``scale`` (2,), how many ``digits`` (1,) they have behind
        the point, and what :mod:`backend.active.regression` knows of the error."""
        scale = Scale.of(targets)
        head = regression.fit_ridge(columns, scale.standard(targets))
        own = {"scale": np.array([scale.centre, scale.width]), "digits": np.array([_digits(targets)])}
        extra = {**head.extra, **{name: array.astype(np.float32) for name, array in own.items()}}
        return LinearHead(head.weight, head.bias, extra=extra)

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[float]],
        held_out: tuple[Floats, Sequence[float]],
        *,
        seed: int,
    ) -> LinearHead:
        head = self.fit_head(control, *train, seed=seed)
        return regression.with_held_out(head, held_out[0], _scale(head).standard(held_out[1]))

    def calibrated_on(
        self, control: Control, head: LinearHead, columns: Floats, targets: Sequence[float]
    ) -> LinearHead:
        wanted = _scale(head).standard(targets)
        return regression.with_held_out(regression.trained(head), columns, wanted, known=TRAINED_COUNT)

    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """A head that says nothing."""
        return LinearHead(np.zeros((1, dim), np.float32), np.zeros(1, np.float32))

    def loss(
        self, control: Control, targets: Sequence[float], smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Half the squared error, in squared standard deviations of the targets; there is nothing to smooth."""
        scale = Scale.of(targets)

        def squared_error(logits: "Tensor", wanted: "Tensor") -> "Tensor":
            return 0.5 * ((logits.float() - (wanted - scale.centre) / scale.width) ** 2).sum(dim=1)

        return squared_error

    # --------------------------------------------------------------------------------------------------- answers
    def outputs(self, control: Control, head: LinearHead, reading: Floats) -> list[Output]:
        """The expected number, as a label can be: on the grid of ``step``, else with as many digits as labels have.

        ``confidence`` is the probability that the truth is at most ``extra["within"]`` away.
        """
        if "scale" not in head.extra:
            return [Output(reason=NOTHING_LEARNED)] * len(reading)
        scale = _scale(head)
        mean = scale.centre + scale.width * head.logits(reading)[:, 0].astype(np.float64)
        deviation = scale.width * regression.deviation(head, reading)
        answers = _on_grid(control, mean, int(head.extra["digits"][0]))
        within = _tolerance(control, answers, int(head.extra["digits"][0]))
        low, high = answers - within, answers + within
        low = np.where(low <= control.options.get("min", -np.inf), -np.inf, low)  # there is nothing beyond
        high = np.where(high >= control.options.get("max", np.inf), np.inf, high)
        sure = regression.within(low, high, mean, deviation)
        return [
            Output(answer=float(a), confidence=float(s), extra={"within": float(w)})
            for a, s, w in zip(answers, sure, within, strict=True)
        ]

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Two numbers (N, 2) whose margin is d / (1 + d), where d is the standard deviation of what is predicted in
        those of the labels: one half where the text tells nothing; 1 before there is a label."""
        if "scale" not in head.extra:
            return two_classes(np.ones(len(columns)))
        deviation = regression.deviation(head, columns)
        return two_classes(deviation / (1 + deviation))

    def answer(self, output: Output) -> float | None:
        return None if output.answer is None else float(output.answer)

    def sure(self, target: float) -> Output:
        return Output(answer=float(target), confidence=1.0, extra={"within": 0.0})

    def category(self, target: float) -> Hashable:
        """The number, to nine digits behind the point."""
        return round(float(target), 9)

    def kept(self, shown: float, given: float) -> bool:
        return self.category(shown) == self.category(given)

    # --------------------------------------------------------------------------------------------------- measures
    def quality(self, control: Control, output: Output, target: float) -> float:
        """1 for the number itself, falling with the error as a share of the span (see :func:`_span`), 0 from there on.

        The span depends on the control and the target alone, so that two versions are measured alike.
        """
        if output.answer is None:
            return 0.0
        return float(np.maximum(0, 1 - abs(output.answer - target) / _span(control, target)))

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[float]) -> Mapping[str, float]:
        """Mean quality; and of the answers that there are mean absolute error and Lin's concordance correlation; error
        of calibration of the confidence (15 bins)."""
        there = [(o, t) for o, t in zip(outputs, targets, strict=True) if o.answer is not None]
        measured = _measures(np.array([[o.answer, t] for o, t in there], np.float64)) if there else {}
        near = [abs(o.answer - t) <= o.extra["within"] + 1e-9 for o, t in there]
        ece = binary_calibration_error([o.confidence for o, _ in there], near)
        return {**super().scores(control, outputs, targets), **measured, "ece": ece}

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[float], *, seed: int
    ) -> Mapping[str, Interval]:
        """Mean absolute error and concordance correlation, with the intervals of a bootstrap."""
        pairs = [[o.answer, t] for o, t in zip(outputs, targets, strict=True) if o.answer is not None]
        array = np.array(pairs, np.float64)

        def measure(name: str) -> Callable[[NDArray[np.int64]], float]:
            return lambda at: _measures(array[at])[name]

        names = ("mean_absolute_error", "concordance_correlation") if pairs else ()
        return {name: bootstrap_interval(measure(name), len(array), seed=seed) for name in names}


def _measures(pairs: Numbers) -> dict[str, float]:
    """What is told of answers and targets (N, 2)."""
    said, wanted = pairs.T
    return {
        "mean_absolute_error": float(np.abs(said - wanted).mean()),
        "concordance_correlation": quadratic_agreement(said, wanted),
    }


def _scale(head: LinearHead) -> Scale:
    centre, width = head.extra["scale"]
    return Scale(float(centre), float(width))


def _span(control: Control, numbers: ArrayLike) -> Numbers:
    """The error that is as wrong as can be, by number: the range of the control, from 0 where only ``max`` is given.

    Without ``max`` there is no range, and errors are relative: the distance from ``min``, or from 0, and a step more.
    """
    low, high = control.options.get("min", 0.0), control.options.get("max", -np.inf)
    values = np.asarray(numbers, np.float64)
    if high > low:
        return np.full(values.shape, high - low)
    return np.asarray(np.abs(values - low) + control.options.get("step", UNIT))


def _tolerance(control: Control, answers: Numbers, digits: int) -> Numbers:
    """How far (N,) the truth may be from answers that count as right: whole steps, and half a step for rounding."""
    step = control.options.get("step", 10.0**-digits)
    return np.asarray((np.floor(NEAR * _span(control, answers) / step + 1e-9) + 0.5) * step)


def _on_grid(control: Control, numbers: Numbers, digits: int) -> Numbers:
    """The nearest numbers (N,) that the control accepts."""
    low, high = control.options.get("min", -np.inf), control.options.get("max", np.inf)
    if "step" not in control.options:
        return np.asarray(np.clip(np.round(numbers, digits), low, high))
    step, start = control.options["step"], control.options.get("min", 0.0)
    least, most = np.ceil((low - start) / step - 1e-9), np.floor((high - start) / step + 1e-9)
    return np.asarray(np.round(start + step * np.clip(np.round((numbers - start) / step), least, most), 9))


def _digits(targets: Sequence[float]) -> int:
    """How many digits behind the point nearly all targets have at most."""
    values = np.asarray(targets, np.float64)
    for digits in range(DIGITS):
        if np.isclose(np.round(values, digits), values, rtol=1e-12, atol=1e-9).mean() >= USUAL_SHARE:
            return digits
    return DIGITS
