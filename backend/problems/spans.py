"""Spans of a text with a label each: ``<Labels>``. A target is a list of ``(start, end, label, share)``: characters
``[start, end)`` of the text, position of the label, and the share of the annotators who marked exactly this.

The head gives each unit of the text (see :mod:`backend.problems.units`) a tag (:mod:`backend.active.tagging`). Whether
words or tokens are the units, and whether spans may overlap, the labels tell: ``head.extra`` keeps both.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active.calibration import fit_temperature
from backend.active.head import LinearHead, fit_linear_head
from backend.active.metrics import Interval, accuracy_interval, bootstrap_interval
from backend.active.multilabel import binary_calibration_error, fit_scale, logit, sigmoid
from backend.active.tagging import Tags
from backend.problems.common import Common, two_classes
from backend.problems.lessons import Lesson, lesson, lesson_states, token_loss
from backend.problems.schema import Control, Example, Floats, Item, Output
from backend.problems.units import Units, unit_logits, units_of

if TYPE_CHECKING:
    from backend.models.encoder import Encoder
    from backend.models.training import HeadTask

Span = tuple[int, int, int, float]
Place = tuple[int, int, int]  # start, end, label

TRAINED_PRIOR = 20.0  # what is known of a temperature before anything is held out, as for one label out of several
TRUST = 10.0  # nats that doubling the logits of the confidence costs
MOST_UNITS = 3000  # that the head's start is fitted to
ROUGH = 0.02  # share of spans that may begin or end inside a word before tokens are the units
MAYBE = 0.01  # probability of a label from which on a unit may be part of a span
FEW = 2.0  # units without doubt that are added to those that may be part of a span: one such unit is little evidence


@dataclass(frozen=True)
class Reading:
    """Of one text: its units, and the logarithms of the tags' honest probabilities (U, T)."""

    units: Units
    log_probs: NDArray[np.float64]


class Spans(Common):
    """See :class:`backend.problems.base.Problem`."""

    fast = False
    metric = "span_f1"
    measure = "mnlp"

    @property
    def score(self) -> str:
        return "micro_f1"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Sequence[Span]]) -> bool:
        """One span: what is no span is seen everywhere."""
        return any(settled(target) for target in targets)

    def target_json(self, target: Sequence[Span]) -> Any:
        return [[start, end, label, round(share, 6)] for start, end, label, share in target]

    def target_from_json(self, value: Any) -> list[Span]:
        return [(int(start), int(end), int(label), float(share)) for start, end, label, share in value]

    # -------------------------------------------------------------------------------------------------- the model
    def texts(self, control: Control, item: Item) -> tuple[str, ...]:
        """The text that offsets count in."""
        return (item.fields[control.text_field].text,)

    def width(self, control: Control, dim: int) -> int:
        """One number: what a label is worth."""
        return 1

    def read(self, control: Control, head: LinearHead, encoder: "Encoder", items: Sequence[Item]) -> list[Reading]:
        tags, words = _tags(control, head), bool(head.extra["words"][0])
        units = [units_of(encoder.tokens, self.texts(control, item)[0], words=words) for item in items]
        logits = unit_logits(encoder, head, units)
        return [Reading(u, tags.log_probs(one / head.temperature)) for u, one in zip(units, logits, strict=True)]

    def columns(self, control: Control, head: LinearHead, reading: Sequence[Reading]) -> Floats:
        tags = _tags(control, head)
        return np.array([[worth(tags, one.log_probs)] for one in reading], np.float32).reshape(-1, 1)

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        return two_classes(columns[:, 0])

    def outputs(self, control: Control, head: LinearHead, reading: Sequence[Reading]) -> list[Output]:
        """``answer``: the spans of the most probable valid tags; ``extra["scores"]``: the confidence of each, made of
        the geometric mean of its units' probabilities; ``confidence``: the least of these, or that there is no span."""
        tags = _tags(control, head)
        return [self._output(tags, head, one) for one in reading]

    def _output(self, tags: Tags, head: LinearHead, reading: Reading) -> Output:
        places, means = _decoded(tags, reading)
        nothing = float(np.exp(sum(reading.log_probs[:, part.start].sum() for part in tags.layers())))
        return self._saying(head, places, means, nothing, worth(tags, reading.log_probs))

    def _saying(
        self, head: LinearHead, places: Sequence[Place], means: Sequence[float], nothing: float, worth: float
    ) -> Output:
        slope, offset = head.extra.get("confidence", (1.0, 0.0))
        scores = [float(sigmoid(float(slope) * logit(mean) + float(offset))) for mean in means]
        answer = [(*place, 1.0) for place in places]
        return Output(answer=answer, extra={"scores": scores}, confidence=min(scores, default=nothing), worth=worth)

    def guided(
        self, control: Control, head: LinearHead, encoder: "Encoder", item: Item, given: Sequence[Span]
    ) -> Output | None:
        """A smart selection: each span that an annotator marked, drawn to what the model sees there or else to whole
        units, and all other places with the same text."""
        (reading,) = self.read(control, head, encoder, [item])
        tags, units, text = _tags(control, head), reading.units, self.texts(control, item)[0]
        seen = _decoded(tags, reading)[0]
        found: dict[Place, float] = {}
        for start, end, label in settled(given):
            first, last = units.between(start, end)
            own = [place for place in seen if place[2] == label and place[0] < end and start < place[1]]
            if own:
                start, end = min(own)[0], max(place[1] for place in own)
            elif first < last:
                start, end = int(units.offsets[first, 0]), int(units.offsets[last - 1, 1])
            for at in _occurrences(text, start, end):
                if at == start or units.exact(at, at + end - start):
                    found[at, at + end - start, label] = _mean(tags, reading, at, at + end - start, label)
        places = sorted(found)
        return self._saying(head, places, [found[p] for p in places], 0.0, worth(tags, reading.log_probs))

    # --------------------------------------------------------------------------------------------------- the head
    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """Before there is any label nothing is said, and all texts are worth the same."""
        tags = Tags(len(control.labels))
        bias = np.full(len(tags), -4.0, np.float32)
        bias[0] = 0.0
        return LinearHead(np.zeros((len(tags), dim), np.float32), bias, extra=_extra(words=True, layered=False))

    def head_task(
        self, control: Control, encoder: "Encoder", examples: Sequence[Example], *, smoothing: float, seed: int
    ) -> "HeadTask":
        from backend.models.training import HeadTask

        there = [at for at, e in enumerate(examples) if control.name in e.targets]
        texts = {at: self.texts(control, examples[at].item)[0] for at in there}
        spans = {at: examples[at].targets[control.name] for at in there}
        tags = Tags(len(control.labels), layered=_overlap(spans.values()))
        units = {at: units_of(encoder.tokens, texts[at], words=True) for at in there}
        words = _fit_words(units, spans)
        if not words:
            units = {at: units_of(encoder.tokens, texts[at], words=False) for at in there}
        lessons = {at: _lesson(tags, units[at], spans[at], seed) for at in there}
        first = LinearHead(*_start(encoder, tags, list(lessons.values()), seed), extra=_extra(words, tags.layered))
        usual = max(1.0, float(np.mean([len(lesson.targets) for lesson in lessons.values()])))
        return HeadTask(
            start=first,
            sequences=[lessons[at].sequences if at in lessons else [] for at in range(len(examples))],
            loss=token_loss(tags.layers(), lessons, usual, smoothing),
            groups=np.full(len(examples), -1, np.int64),
            tokens=True,
        )

    def calibrated(
        self, control: Control, head: LinearHead, encoder: "Encoder", examples: Sequence[Example]
    ) -> LinearHead:
        if not examples:
            return head
        tags = _tags(control, head)
        readings = self.read(control, head, encoder, [e.item for e in examples])
        given = [e.targets[control.name] for e in examples]
        targets = np.concatenate([_unit_targets(tags, r.units, t) for r, t in zip(readings, given, strict=True)])
        logits = np.concatenate([r.log_probs for r in readings])
        by_layer = [(logits[:, part], targets[:, part]) for part in tags.layers()]
        temperature = fit_temperature(*map(np.concatenate, zip(*by_layer, strict=True)), prior_weight=TRAINED_PRIOR)
        honest = [Reading(r.units, tags.log_probs(r.log_probs / temperature)) for r in readings]
        pairs = [
            (mean, span in right)
            for reading, right in zip(honest, map(_acceptable, given), strict=True)
            for span, mean in zip(*_decoded(tags, reading), strict=True)
        ]
        extra = dict(head.extra)
        if pairs:
            means, right = (np.array(values, np.float64)[:, None] for values in zip(*pairs, strict=True))
            scale = fit_scale(logit(means), right, np.ones(len(pairs)), trust=TRUST)
            extra["confidence"] = np.array([scale.slope, scale.offset[0]], np.float32)
        return LinearHead(head.weight, head.bias, head.temperature * temperature, extra)

    # --------------------------------------------------------------------------------------------------- judgements
    def answer(self, output: Output) -> list[Span] | None:
        return None if output.answer is None else list(output.answer)

    def sure(self, target: Sequence[Span]) -> Output:
        answer = [(*span, 1.0) for span in settled(target)]
        return Output(answer=answer, extra={"scores": [1.0] * len(answer)}, confidence=1.0, worth=0.0)

    def category(self, target: Sequence[Span]) -> Hashable:
        return tuple(settled(target))

    def kept(self, shown: Sequence[Span], given: Sequence[Span]) -> bool:
        return settled(shown) == settled(given)

    def within(self, part: Sequence[Span], given: Sequence[Span]) -> bool:
        return set(settled(part)) <= set(settled(given))

    def labels_in(self, target: Sequence[Span]) -> frozenset[int]:
        return frozenset(label for _, _, label, _ in target)

    def quality(self, control: Control, output: Output, target: Sequence[Span]) -> float:
        """F1 of the spans, each right with exactly its characters and its label; 1 where both are none.

        A span that half of the annotators marked is right, and not missed.
        """
        if output.answer is None:
            return 0.0
        both, said, wanted = _counts(output.answer, target).sum(axis=1)
        return float(2 * both / (said + wanted)) if said + wanted else 1.0

    def scores(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Sequence[Span]]
    ) -> Mapping[str, float]:
        """F1 over all spans, mean F1 over the labels that occur, mean F1 of the tasks, share of tasks all of whose
        spans are right; error of calibration of the spans' confidence (15 bins)."""
        quality = [self.quality(control, o, target) for o, target in zip(outputs, targets, strict=True)]
        right = [
            (score, (start, end, label) in acceptable)
            for output, acceptable in zip(outputs, map(_acceptable, targets), strict=True)
            for (start, end, label, _), score in zip(output.answer or [], output.extra.get("scores", []), strict=True)
        ]
        return {
            **_f1s(_by_label(control, outputs, targets).sum(axis=0)),
            self.metric: float(np.mean(quality)),
            "exact_match": float(np.mean([q == 1 for q in quality])),
            "ece": binary_calibration_error([s for s, _ in right], [r for _, r in right]),
        }

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Sequence[Span]], *, seed: int
    ) -> Mapping[str, Interval]:
        """The scores of answers but the metric, which is told anyway: F1 with the intervals of a bootstrap over the
        tasks."""
        counts = _by_label(control, outputs, targets)
        exact = sum(self.quality(control, o, target) == 1 for o, target in zip(outputs, targets, strict=True))

        def measure(name: str) -> Callable[[NDArray[np.int64]], float]:
            return lambda at: _f1s(counts[at].sum(axis=0))[name]

        f1s = {name: bootstrap_interval(measure(name), len(outputs), seed=seed) for name in ("micro_f1", "macro_f1")}
        return {**f1s, "exact_match": accuracy_interval(exact, len(outputs))}


def settled(target: Iterable[Span]) -> list[Place]:
    """The spans that more than half of the annotators marked, in order."""
    return sorted((start, end, label) for start, end, label, share in target if share > 0.5 + 1e-6)


def _acceptable(target: Iterable[Span]) -> set[Place]:
    """The spans that at least half of the annotators marked: right where they are said."""
    return {(start, end, label) for start, end, label, share in target if share > 0.5 - 1e-6}


def worth(tags: Tags, log_probs: NDArray[np.float64]) -> float:
    """What a label is worth, in [0, 1], high = label sooner: 1 minus the geometric mean of the probabilities of the
    best tags of the units that may be part of a span.

    Length-normalised log-probability of the best sequence (MNLP: Shen et al., Deep Active Learning for Named Entity
    Recognition, 2018), without the units of which all is known: there are many in a long text.
    """
    if not len(log_probs):
        return 0.0
    total, count = 0.0, 0
    for part in tags.layers():
        own = log_probs[:, part]
        doubt = np.exp(own[:, 0]) < 1 - MAYBE
        total += float(own[doubt].max(axis=1).sum())
        count += int(doubt.sum())
    return float(1 - np.exp(total / (count + FEW)))


def _lesson(tags: Tags, units: Units, spans: Sequence[Span], seed: int) -> Lesson:
    wanted = _unit_targets(tags, units, spans).astype(np.float32)
    every = np.column_stack([np.arange(len(units.unit)), units.unit])
    return lesson(units, every, wanted, _marked(tags, wanted), seed)


def _marked(tags: Tags, targets: Floats) -> NDArray[np.bool_]:
    """Which units (U,) of targets (U, T) somebody marked."""
    return np.asarray(np.any([targets[:, part.start] < 1 for part in tags.layers()], axis=0))


def _unit_targets(tags: Tags, units: Units, spans: Sequence[Span]) -> NDArray[np.float64]:
    placed = [(*units.between(start, end), label, share) for start, end, label, share in spans]
    return tags.targets(len(units), [span for span in placed if span[0] < span[1]])


def _start(encoder: "Encoder", tags: Tags, lessons: Sequence[Lesson], seed: int) -> tuple[Floats, Floats]:
    """Weight and bias of a head fitted to frozen states of the units; where these are many, to all that may teach of a
    span and as many others as there is room for."""
    y = np.concatenate([one.targets for one in lessons])
    marked = _marked(tags, y)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(marked)), rng.permutation(np.flatnonzero(~marked))])
    chosen = order[:MOST_UNITS]
    x = lesson_states(encoder, lessons, chosen)
    fitted = [fit_linear_head(x, y[chosen][:, part], seed=seed) for part in tags.layers()]
    return np.concatenate([head.weight for head in fitted]), np.concatenate([head.bias for head in fitted])


def _overlap(targets: Iterable[Sequence[Span]]) -> bool:
    """Whether annotators mark spans that overlap others."""
    for target in targets:
        ends = 0
        for start, end, _ in settled(target):
            if start < ends:
                return True
            ends = max(ends, end)
    return False


def _fit_words(units: Mapping[int, Units], spans: Mapping[int, Sequence[Span]]) -> bool:
    """Whether spans begin and end where words do."""
    exact = [units[at].exact(start, end) for at in units for start, end, _, _ in spans[at]]
    return exact.count(False) <= ROUGH * len(exact)


def _extra(words: bool, layered: bool) -> dict[str, Floats]:
    return {"words": np.array([words], np.float32), "layered": np.array([layered], np.float32)}


def _tags(control: Control, head: LinearHead) -> Tags:
    return Tags(len(control.labels), layered=bool(head.extra["layered"][0]))


def _decoded(tags: Tags, reading: Reading) -> tuple[list[Place], list[float]]:
    """The spans of the best tags, in order, and the geometric mean of the probabilities of each one's tags."""
    found = []
    for first, last, label in tags.spans(tags.best(reading.log_probs)):
        start, end = int(reading.units.offsets[first, 0]), int(reading.units.offsets[last - 1, 1])
        found.append(((start, end, label), _mean(tags, reading, start, end, label)))
    found.sort()
    return [place for place, _ in found], [mean for _, mean in found]


def _mean(tags: Tags, reading: Reading, start: int, end: int, label: int) -> float:
    """The geometric mean of the probabilities that the units of a place are a span with this label."""
    first, last = reading.units.between(start, end)
    begin = tags.layers()[label if tags.layered else 0].start + 1 + (0 if tags.layered else 2 * label)
    logs = reading.log_probs[first:last, begin + 1].copy()
    if not len(logs):
        return 0.0
    logs[0] = reading.log_probs[first, begin]
    return float(np.exp(logs.mean()))


def _occurrences(text: str, start: int, end: int) -> list[int]:
    """Where the text of a place begins, in order: there, before it and behind it, without overlaps; nowhere if it has
    no characters."""
    same = re.compile(re.escape(text[start:end]))
    before, behind = ([found.start() for found in same.finditer(part)] for part in (text[:start], text[end:]))
    return [*before, start, *(end + at for at in behind)] if start < end else []


def _counts(said: Sequence[Span], target: Sequence[Span]) -> NDArray[np.int64]:
    """Spans that are right, said and wanted, (3, 1) in all."""
    answer = set(settled(said))
    wanted = set(settled(target)) | (answer & _acceptable(target))
    return np.array([[len(answer & wanted)], [len(answer)], [len(wanted)]], np.int64)


def _by_label(control: Control, outputs: Sequence[Output], targets: Sequence[Sequence[Span]]) -> NDArray[np.int64]:
    """:func:`_counts` of each task and label, (N, 3, K)."""

    def of(label: int, spans: Sequence[Span]) -> list[Span]:
        return [span for span in spans if span[2] == label]

    found = [
        np.concatenate([_counts(of(k, o.answer or []), of(k, target)) for k in range(len(control.labels))], axis=1)
        for o, target in zip(outputs, targets, strict=True)
    ]
    return np.stack(found)


def _f1s(counts: NDArray[np.int64]) -> dict[str, float]:
    """F1 over all spans of ``counts`` (3, K), and its mean over the labels that occur; 1 where there are none."""
    both, said, wanted = counts
    there, sizes = wanted > 0, said + wanted
    f1 = 2 * both / np.maximum(sizes, 1)
    return {
        "micro_f1": float(2 * both.sum() / sizes.sum()) if sizes.any() else 1.0,
        "macro_f1": float(f1[there].mean()) if there.any() else 1.0,
    }
