"""One label for each span that an annotator marks: ``<Choices perRegion="true">``. A target is a list of ``(start, end,
label, share)`` as for spans; shares are among those who labelled anything in the text.

Which spans there are, another control says; an output therefore knows what to say of any place (:func:`label_at`), and
a task's worth is that of its spans.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active.calibration import expected_calibration_error, fit_temperature, softmax
from backend.active.head import LinearHead, fit_linear_head
from backend.active.metrics import Interval, accuracy_interval, bootstrap_interval, macro_f1
from backend.problems.choices import TRAINED_PRIOR, SingleChoice
from backend.problems.common import Common, two_classes
from backend.problems.lessons import Lesson, lesson, lesson_states, token_loss
from backend.problems.schema import Control, Example, Floats, Item, Output
from backend.problems.spans import Span
from backend.problems.units import Units, unit_logits, units_of

if TYPE_CHECKING:
    from backend.models.encoder import Encoder
    from backend.models.training import HeadTask

Reading = tuple[NDArray[np.int64], NDArray[np.float64]]  # offsets (U, 2) of the tokens of a text, honest logits (U, K)


class RegionChoice(Common):
    """See :class:`backend.problems.base.Problem`."""

    fast = False
    metric = "accuracy"
    measure = "none"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Sequence[Span]]) -> bool:
        """Two different labels."""
        return len({label for target in targets for _, _, label, _ in target}) > 1

    def target_json(self, target: Sequence[Span]) -> Any:
        return [[start, end, label, round(share, 6)] for start, end, label, share in target]

    def target_from_json(self, value: Any) -> list[Span]:
        return [(int(start), int(end), int(label), float(share)) for start, end, label, share in value]

    def labels_in(self, target: Sequence[Span]) -> frozenset[int]:
        return frozenset(label for _, _, label, _ in target)

    # -------------------------------------------------------------------------------------------------- the model
    def texts(self, control: Control, item: Item) -> tuple[str, ...]:
        """The text that offsets count in."""
        return (item.fields[control.text_field].text,)

    def width(self, control: Control, dim: int) -> int:
        """Nothing: what a label is worth, the spans say."""
        return 0

    def read(self, control: Control, head: LinearHead, encoder: "Encoder", items: Sequence[Item]) -> list[Reading]:
        units = [units_of(encoder.tokens, self.texts(control, item)[0], words=False) for item in items]
        return [
            (one.offsets, np.asarray(logits, np.float64) / head.temperature)
            for one, logits in zip(units, unit_logits(encoder, head, units), strict=True)
        ]

    def columns(self, control: Control, head: LinearHead, reading: Sequence[Reading]) -> Floats:
        return np.zeros((len(reading), 0), np.float32)

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        return two_classes(np.zeros(len(columns)))

    def outputs(self, control: Control, head: LinearHead, reading: Sequence[Reading]) -> list[Output]:
        """``extra`` has what :func:`label_at` needs; there is no answer without a place."""
        return [Output(extra={"offsets": offsets, "logits": logits}, worth=0.0) for offsets, logits in reading]

    # --------------------------------------------------------------------------------------------------- the head
    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """Similarity to the labels' descriptions, as for a whole text."""
        return SingleChoice().zero_shot_head(control, dim, embed)

    def head_task(
        self, control: Control, encoder: "Encoder", examples: Sequence[Example], *, smoothing: float, seed: int
    ) -> "HeadTask":
        from backend.models.training import HeadTask

        lessons = {}
        for at, example in enumerate(examples):
            if not example.targets.get(control.name):
                continue
            units = units_of(encoder.tokens, self.texts(control, example.item)[0], words=False)
            places = votes(control, example.targets[control.name])
            rows = [units.between(start, end) for start, end in places]
            pairs = [(t, row) for row, ends in enumerate(rows) for t in _tokens(units, *ends)]
            if pairs:
                shares = np.stack(list(places.values()))
                lessons[at] = lesson(units, np.array(pairs, np.int64), shares, np.ones(len(shares), bool), seed)
        known = list(lessons.values())
        usual = float(np.mean([len(one.targets) for one in known] or [1]))
        return HeadTask(
            start=self._start(control, encoder, known, seed),
            sequences=[lessons[at].sequences if at in lessons else [] for at in range(len(examples))],
            loss=token_loss([slice(0, len(control.labels))], lessons, usual, smoothing),
            groups=np.full(len(examples), -1, np.int64),
            tokens=True,
        )

    def _start(self, control: Control, encoder: "Encoder", lessons: Sequence[Lesson], seed: int) -> LinearHead:
        """The head fitted to frozen states of the places; the one before any label where no place has a token."""
        if not lessons:
            return self.zero_shot_head(control, encoder.dim, encoder.embed)
        wanted = np.concatenate([one.targets for one in lessons])
        return fit_linear_head(lesson_states(encoder, lessons, np.arange(len(wanted))), wanted, seed=seed)

    def calibrated(
        self, control: Control, head: LinearHead, encoder: "Encoder", examples: Sequence[Example]
    ) -> LinearHead:
        logits: list[NDArray[np.float64]] = []
        wanted: list[Floats] = []
        readings = self.read(control, head, encoder, [e.item for e in examples])
        for reading, example in zip(readings, examples, strict=True):
            for place, share in votes(control, example.targets[control.name]).items():
                logits.append(_logits_at(*reading, *place))
                wanted.append(share)
        if not logits:
            return head
        temperature = fit_temperature(np.stack(logits), np.stack(wanted), prior_weight=TRAINED_PRIOR)
        return LinearHead(head.weight, head.bias, head.temperature * temperature, head.extra)

    # --------------------------------------------------------------------------------------------------- judgements
    def answer(self, output: Output) -> list[Span] | None:
        return None if output.answer is None else list(output.answer)

    def sure(self, target: Sequence[Span]) -> Output:
        return Output(answer=list(target), worth=0.0)

    def category(self, target: Sequence[Span]) -> tuple[Span, ...]:
        return tuple(sorted(target))

    def kept(self, shown: Sequence[Span], given: Sequence[Span]) -> bool:
        return {span[:3] for span in shown} == {span[:3] for span in given}

    def within(self, part: Sequence[Span], given: Sequence[Span]) -> bool:
        return {span[:3] for span in part} <= {span[:3] for span in given}

    def quality(self, control: Control, output: Output, target: Sequence[Span]) -> float:
        """The share of the places in the target whose label is right."""
        right = [said == int(share.argmax()) for said, _, share in self._judged(control, output, target)]
        return float(np.mean(right)) if right else 0.0

    def scores(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Sequence[Span]]
    ) -> Mapping[str, float]:
        """Over all places: accuracy, macro-F1, and the error of calibration (15 bins)."""
        judged = [one for o, target in zip(outputs, targets, strict=True) for one in self._judged(control, o, target)]
        if not judged:
            return {"accuracy": 0.0, "macro_f1": 0.0, "ece": 0.0}
        said, probs, shares = (np.array(values) for values in zip(*judged, strict=True))
        wanted = shares.argmax(axis=1)
        return {
            "accuracy": float((said == wanted).mean()),
            "macro_f1": macro_f1(said, wanted),
            "ece": expected_calibration_error(probs, wanted),
        }

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Sequence[Span]], *, seed: int
    ) -> Mapping[str, Interval]:
        """Over all places: accuracy, and macro-F1 with the interval of a bootstrap over the tasks; nothing without one.

        Places of one task may all be right or wrong together, so that they tell no more than as many tasks of one
        place as Kish's effective sample size says (Survey Sampling, 1965).
        """
        judged = [self._judged(control, o, target) for o, target in zip(outputs, targets, strict=True)]
        pairs = [np.array([(said, share.argmax()) for said, _, share in one]) for one in judged if one]  # (P, 2) each
        if not pairs:
            return {}
        said, wanted = np.concatenate(pairs).T
        sizes = np.array(list(map(len, pairs)))
        n = float(sizes.sum() ** 2 / (sizes**2).sum())

        def f1(at: NDArray[np.int64]) -> float:
            return macro_f1(*np.concatenate([pairs[i] for i in at]).T)

        return {
            "accuracy": accuracy_interval(float((said == wanted).mean()) * n, n),
            "macro_f1": bootstrap_interval(f1, len(pairs), seed=seed),
        }

    def _judged(
        self, control: Control, output: Output, target: Sequence[Span]
    ) -> list[tuple[int, NDArray[np.float64], Floats]]:
        """Of each place in the target the label that is said, the probabilities (K,), and the shares of the votes."""
        given = {span[:2]: span[2] for span in output.answer or ()}
        k = len(control.labels)
        found = []
        for place, share in votes(control, target).items():
            probs: NDArray[np.float64] = np.full(k, 1 / k)
            if place in given:
                probs = np.eye(k)[given[place]]
            elif "logits" in output.extra:
                probs = label_at(output, *place)
            found.append((int(probs.argmax()), probs, share))
        return found


def label_at(output: Output, start: int, end: int) -> NDArray[np.float64]:
    """The honest probabilities (K,) of the labels for the characters ``[start, end)``, of an output of a model."""
    logits = _logits_at(output.extra["offsets"], output.extra["logits"], start, end)
    return np.asarray(softmax(logits[None])[0])


def votes(control: Control, target: Sequence[Span]) -> dict[tuple[int, int], Floats]:
    """Of each place of a target, in order, how the annotators who labelled it are shared among the labels, (K,)."""
    counts: defaultdict[tuple[int, int], Floats] = defaultdict(lambda: np.zeros(len(control.labels), np.float32))
    for start, end, label, share in target:
        counts[start, end][label] += share
    return {place: counts[place] / counts[place].sum() for place in sorted(counts)}


def _logits_at(offsets: NDArray[np.int64], logits: NDArray[np.float64], start: int, end: int) -> NDArray[np.float64]:
    """The mean logits (K,) of the tokens that share characters with a place; level where there are none."""
    inside = (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return logits[inside].mean(axis=0) if inside.any() else np.zeros(logits.shape[1])


def _tokens(units: Units, first: int, last: int) -> NDArray[np.int64]:
    """The tokens of units ``[first, last)``."""
    return np.flatnonzero((units.unit >= first) & (units.unit < last))
