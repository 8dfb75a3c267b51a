"""The answer to a question, marked in a text: ``<Labels question="$field">`` and the like.

A target is ``{"spans": [[start, end, text], …], "none": share}``: the distinct spans that annotators marked, those of
most annotators first, in Unicode code points of the text, end exclusive; and the share of the annotators who say that
the text has no answer. An answer has the same form with one span, or none and a share of 1.

Options of the control: ``empty``: that there is no answer is an answer.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active import answers
from backend.active.calibration import fit_confidence
from backend.active.extractive import IMPOSSIBLE, LOOKED_AT, Spans, fit_null, spans_of
from backend.active.head import LinearHead
from backend.active.metrics import Interval, accuracy_interval
from backend.active.multilabel import binary_calibration_error
from backend.problems.answering import (
    ROWS,
    Target,
    answer_loss,
    lesson_of,
    longest_answer,
    places_of,
    pulled,
    start_head,
)
from backend.problems.common import Common, two_classes
from backend.problems.nearness import fit_sharpness, nearness
from backend.problems.schema import Control, Example, Floats, Item, Output

if TYPE_CHECKING:
    from backend.models.encoder import Encoder
    from backend.models.tokens import Window
    from backend.models.training import HeadTask

STRIDE = 48  # tokens that neighbouring windows share
TRAINED_PRIOR = 10.0  # nats of log(T / typical)² that another temperature costs: few held-out answers are few


@dataclass(frozen=True)
class Read:
    """What the head says of one text, before the temperature: the spans, and the text that they are in."""

    text: str
    spans: Spans | None


class Question(Common):
    """See :class:`backend.problems.base.Problem`."""

    fast = False
    # The least sure first taught less than random ones on SQuAD 2.0 at 50 and 200 labels: the model knows too little.
    # All questions of a text before the next taught more than one of each, on held-out articles of its training file.
    auto = "random@whole-contexts"
    metric = "f1"
    measure = "least-confidence"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Target]) -> bool:
        """One answer: without any it is not known what an answer looks like."""
        return any(target["spans"] for target in targets)

    # -------------------------------------------------------------------------------------------------- the model
    def texts(self, control: Control, item: Item) -> tuple[str, str]:
        """The question, and the text that has the answer."""
        return item.fields[control.more_fields[-1]].text, item.fields[control.text_field].text

    def context(self, control: Control, item: Item) -> str:
        """The text that the question is about."""
        return self.texts(control, item)[1]

    def windows(self, control: Control, encoder: "Encoder", item: Item) -> "list[Window]":
        """The text in pieces, the question before each."""
        question, text = self.texts(control, item)
        return encoder.tokens.windows(text, before=question, stride=STRIDE)

    def width(self, control: Control, dim: int) -> int:
        """2: what a label is worth, and the probability that there is no answer."""
        return 2

    def read(self, control: Control, head: LinearHead, encoder: "Encoder", items: Sequence[Item]) -> list[Read]:
        """The spans of each item; None before anything is learned."""
        texts = [self.texts(control, item)[1] for item in items]
        if not head.weight.any():
            return [Read(text, None) for text in texts]
        windows = [self.windows(control, encoder, item) for item in items]
        flat = [window.ids for found in windows for window in found]
        logits = {at: head.logits(states) for at, states in encoder.hidden(flat)}
        said = iter([logits[at] for at in range(len(flat))])
        longest, sharpness = int(head.extra["longest"][0]), float(head.extra["sharpness"][0])
        near = nearness(encoder, [self.texts(control, item) for item in items])
        return [
            Read(text, spans_of([(pulled(next(said), w, one, sharpness), w.offsets) for w in found], longest))
            for text, found, one in zip(texts, windows, near, strict=True)
        ]

    def columns(self, control: Control, head: LinearHead, reading: Sequence[Read]) -> Floats:
        rows = [(o.worth, o.extra.get("no_answer", 0.0)) for o in self.outputs(control, head, reading)]
        return np.array(rows, np.float32).reshape(len(reading), 2)

    def outputs(self, control: Control, head: LinearHead, reading: Sequence[Read]) -> list[Output]:
        """The likeliest span or no answer, with its probability among all of them; in ``extra`` the text of that span,
        said or not, and the probability of no answer.

        No answer is said where it is likelier than what the span shares with the answer on average (its expected F1):
        of many spans that are nearly the same none need be likelier than no answer."""
        return [self._output(control, head, read) for read in reading]

    def _output(self, control: Control, head: LinearHead, read: Read) -> Output:
        if read.spans is None:
            return Output(reason="no answer was marked yet")
        empty = _may_be_empty(control)
        probs = read.spans.probs(head.temperature, *map(float, head.extra["null"]), empty=empty)
        if len(probs) == 1 and not empty:
            return Output(reason="the text has no words")
        best, likeliest = 0, []
        if len(probs) > 1:  # the first span is the likeliest
            likeliest = [_likeliest(read.text, read.spans)]
            best = 0 if probs[0] > probs[1:] @ read.spans.likeness(0) else 1
        confidence = min(1.0, float(probs[best]))
        answer = {"spans": likeliest if best else [], "none": float(best == 0)}
        extra = {"no_answer": float(probs[0]), "span": likeliest[0][2] if likeliest else ""}
        return Output(answer=answer, confidence=confidence, worth=1 - confidence, extra=extra)

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Two numbers (N, 2) whose margin is 1 minus the probability of what is said."""
        return two_classes(columns[:, 0])

    # --------------------------------------------------------------------------------------------------- the head
    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """A head that says nothing: what a label is called does not tell where the answers are."""
        return LinearHead(np.zeros((ROWS, dim), np.float32), np.zeros(ROWS, np.float32))

    def head_task(
        self, control: Control, encoder: "Encoder", examples: Sequence[Example], *, smoothing: float, seed: int
    ) -> "HeadTask":
        """Minus the log probability of the answer among all spans of the windows and no answer: of any of several
        acceptable spans (marginal likelihood, Clark and Gardner, Simple and Effective Multi-Paragraph Reading
        Comprehension, 2018). Nothing is smoothed: of a text's thousand spans hardly any is nearly right.

        The head starts at the examples' share without an answer, the same for all texts.
        """
        from backend.models.training import HeadTask

        name, rng = control.name, np.random.default_rng(seed)
        windows = [self.windows(control, encoder, e.item) if name in e.targets else [] for e in examples]
        found = [places_of(w, e.targets.get(name)) for w, e in zip(windows, examples, strict=True)]
        there = [at for at, e in enumerate(examples) if name in e.targets]
        near = dict(
            zip(there, nearness(encoder, [self.texts(control, examples[at].item) for at in there]), strict=True)
        )
        starts = [[span[0] for span in examples[at].targets[name]["spans"]] for at in there]
        sharpness, longest = fit_sharpness(list(near.values()), starts), longest_answer(found)
        pulls = [[near[at].at(w.offsets, sharpness) for w in some] for at, some in enumerate(windows)]
        lessons = [
            lesson_of(w, pull, p, e.targets.get(name), longest, rng)
            for w, pull, p, e in zip(windows, pulls, found, examples, strict=True)
        ]
        given = [e.targets[name]["none"] for e in examples if name in e.targets and e.weight == 1]
        return HeadTask(
            start=start_head(lessons, longest, sharpness, given, encoder.dim),
            sequences=[[window.ids for window in lesson.windows] for lesson in lessons],
            loss=answer_loss(lessons, longest, empty=_may_be_empty(control)),
            groups=np.full(len(examples), -1, np.int64),
            tokens=True,
        )

    def calibrated(
        self, control: Control, head: LinearHead, encoder: "Encoder", examples: Sequence[Example]
    ) -> LinearHead:
        """The head with what makes it honest on the held-out answers: the temperature with which the likeliest span is
        right as often as it seems, where there is an answer, and slope and offset of whether there is one."""
        reading = self.read(control, head, encoder, [e.item for e in examples])
        known = [
            (read.text, read.spans, example.targets[control.name])
            for read, example in zip(reading, examples, strict=True)
            if read.spans is not None and len(read.spans.ends)
        ]
        answered = [(text, spans, target) for text, spans, target in known if _settled(target)["spans"]]
        logits = np.full((len(answered), LOOKED_AT), IMPOSSIBLE)
        for row, (_, spans, _) in enumerate(answered):
            logits[row, : len(spans.logits)] = spans.logits
        right = [_best_of(answers.exact, _likeliest(text, spans)[2], target) for text, spans, target in answered]
        typical = typical_temperature(float(head.extra["labels"][0]))
        temperature = fit_confidence(logits, right, typical=typical, prior_weight=TRAINED_PRIOR)
        told, none = (np.array(v) for v in ([s.null_logit() for _, s, _ in known], [t["none"] for _, _, t in known]))
        null = fit_null(told, none, float(head.extra["null"][1]))
        return LinearHead(head.weight, head.bias, temperature, {**head.extra, "null": null})

    # ------------------------------------------------------------------------------------------------- judgements
    def answer(self, output: Output) -> Target | None:
        return None if output.answer is None else dict(output.answer)

    def sure(self, target: Target) -> Output:
        """The span of most annotators, or no answer where they are more."""
        return Output(answer=_settled(target), confidence=1.0, worth=0.0)

    def category(self, target: Target) -> Hashable:
        """Where the answer is; nothing where there is none."""
        return tuple(tuple(span[:2]) for span in _settled(target)["spans"])

    def kept(self, shown: Target, given: Target) -> bool:
        """Whether the span that was shown is among those given, or neither has one."""
        places = [span[:2] for span in given["spans"]]
        return all(span[:2] in places for span in shown["spans"]) and bool(shown["spans"]) == bool(places)

    def labels_in(self, target: Target) -> frozenset[int]:
        """The only label, where something is marked."""
        return frozenset([0] if target["spans"] else [])

    def quality(self, control: Control, output: Output, target: Target) -> float:
        """The best F1 with an acceptable answer (see :mod:`backend.active.answers`); 0 without an answer."""
        return _best(answers.f1, output, target)

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Target]) -> Mapping[str, float]:
        """Mean F1, share of exact matches and share of tasks of which it is said rightly whether there is an answer;
        mean F1 of the tasks that have an answer, that of their likeliest spans, said or not, and the share told right
        of those that have none, where there are such; error of calibration of the confidence (15 bins), and its
        negative log-likelihood in nats."""
        f1, exact, told = self._rights(outputs, targets)
        has = np.array([bool(_settled(target)["spans"]) for target in targets])
        spans = np.array(
            [_best_of(answers.f1, o.extra.get("span", ""), t) for o, t in zip(outputs, targets, strict=True)]
        )
        confidence = np.clip([o.confidence for o in outputs], 1e-7, 1 - 1e-7)
        return {
            "f1": float(f1.mean()),
            "exact_match": float(exact.mean()),
            "answerable": float(told.mean()),
            **({"has_answer_f1": float(f1[has].mean()), "span_f1": float(spans[has].mean())} if has.any() else {}),
            **({"no_answer_accuracy": float(f1[~has].mean())} if not has.all() else {}),
            "ece": binary_calibration_error(confidence, exact),
            "nll": float(-np.log(np.where(exact == 1, confidence, 1 - confidence)).mean()),
        }

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Target], *, seed: int
    ) -> Mapping[str, Interval]:
        """Share of exact matches, and of tasks of which it is said rightly whether there is an answer."""
        _, exact, told = self._rights(outputs, targets)
        shares = {"exact_match": exact, "answerable": told}
        return {name: accuracy_interval(float(right.sum()), len(right)) for name, right in shares.items()}

    def _rights(self, outputs: Sequence[Output], targets: Sequence[Target]) -> tuple[NDArray[np.float64], ...]:
        """F1, exact match, and whether it is told right that there is an answer, each (N,)."""
        pairs = list(zip(outputs, targets, strict=True))
        both = [[_best(measure, o, t) for o, t in pairs] for measure in (answers.f1, answers.exact, _both_or_neither)]
        f1, exact, told = (np.array(values, np.float64) for values in both)
        return f1, exact, told

    def doubts(
        self, control: Control, head: LinearHead, columns: Floats, *, labelled: Sequence[Any] = ()
    ) -> list[Mapping[str, Any]]:
        """``no_answer``: the probability that there is none."""
        return [{"no_answer": round(float(p), 4)} for p in columns[:, 1]]


def typical_temperature(labels: float) -> float:
    """The temperature of the spans, in [1, 3], before anything is held out, after so many labels.

    Of which of a thousand spans it is, an adapter is surer than it should be, the more so the less it learned from:
    near the best of nine versions on held-out articles of SQuAD 2.0's training file (50, 200, 500 labels).
    """
    return float(np.clip(2.5 * (50 / max(labels, 1.0)) ** 0.25, 1.0, 3.0))


# ------------------------------------------------------------------------------------------------------------ targets
def _may_be_empty(control: Control) -> bool:
    return bool(control.options.get("empty"))


def _settled(target: Target) -> dict[str, Any]:
    """The answer of most annotators: the first span, or none where more of them say so than not."""
    none = target["none"] > 0.5 or not target["spans"]
    return {"spans": [] if none else [list(target["spans"][0])], "none": float(none)}


def _acceptable(target: Target) -> list[str]:
    """The texts that are right: those marked, the empty one, or both where annotators are divided in halves."""
    marked = [span[2] for span in target["spans"]] if target["none"] <= 0.5 else []
    return [*marked, *([""] if target["none"] >= 0.5 else [])]


def _best(measure: Callable[[str, str], float], output: Output, target: Target) -> float:
    if output.answer is None:
        return 0.0
    return _best_of(measure, output.answer["spans"][0][2] if output.answer["spans"] else "", target)


def _best_of(measure: Callable[[str, str], float], said: str, target: Target) -> float:
    return max((float(measure(said, wanted)) for wanted in _acceptable(target)), default=0.0)


def _both_or_neither(said: str, wanted: str) -> bool:
    return bool(said) == bool(wanted)


def _likeliest(text: str, spans: Spans) -> list[Any]:
    """Where the likeliest span is, and its text."""
    return _trimmed(text, *map(int, spans.ends[0]))


def _trimmed(text: str, start: int, end: int) -> list[Any]:
    """The span without white space at its ends, which some tokenizers count to the words."""
    marked = text[start:end]
    start += len(marked) - len(marked.lstrip())
    return [start, max(start, start + len(marked.strip())), marked.strip()]
