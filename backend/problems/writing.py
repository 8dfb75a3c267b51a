"""Texts that annotators write: ``<TextArea>``. A target is all texts that were given, :data:`Texts`: each is right.

A generator (``TEXT_MODEL``) writes what is suggested; without one nothing is, and the control is a queue alone. The
queue is ordered by what the tasks are like (:func:`backend.active.selection.diverse.random_diverse`), not by what the
model is unsure of: pure uncertainty picks noise here, and writing texts for a whole pool takes hours. So no columns are
kept, and a label is worth the same everywhere.

Options of the control: ``prompt``, a template (:func:`fill`); ``most``, the most texts of an answer.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.active.metrics import Interval, accuracy_interval, bootstrap_interval
from backend.active.multilabel import binary_calibration_error, fit_scale, logit, sigmoid
from backend.problems.common import Common, two_classes
from backend.problems.likeness import BleuCounts, chrf, corpus_chrf
from backend.problems.schema import Content, Control, Example, Floats, Item, Output

if TYPE_CHECKING:
    from backend.models.generator import Generator, Written
    from backend.models.writer import TextTask

Texts = tuple[str, ...]

KEPT = 0.35  # chrF above which a suggestion was of use: unrelated sentences have 0.1 to 0.2, one word exchanged 0.45
CALIBRATED = 10  # held-out answers from which the confidence counts as calibrated
TRUST = 0.5  # nats that an offset of 1 costs: the probability of a token is no likeness, and far from it
_PLACE = re.compile(r"\$\{([\w-]+)\}|\$([^\W\d][\w-]*)|\{([\w-]+)\}")  # $20 is an amount


class Writing(Common):
    """See :class:`backend.problems.base.Problem`. A reading is what was written of each item, None where nothing."""

    fast = False
    reads = "generator"
    # Typical tasks first (idds) taught less than random ones on E2E, as much on Multi30k, hardly more in a dialogue.
    auto = "random-diverse"
    metric = "sentence_chrf"
    score = "chrf"
    measure = "diversity"

    # ---------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Texts]) -> bool:
        """Any text teaches."""
        return len(targets) > 0

    def target_json(self, target: Texts) -> list[str]:
        return list(target)

    def target_from_json(self, value: Sequence[str]) -> Texts:
        return tuple(value)

    # --------------------------------------------------------------------------------------------------- the model
    def texts(self, control: Control, item: Item) -> tuple[str, ...]:
        return (document(control, item),)

    def width(self, control: Control, dim: int) -> int:
        """None: see the module."""
        return 0

    def read(self, control: Control, head: LinearHead, model: "Generator | None", items: Sequence[Item]) -> list[Any]:
        if model is None:
            return [None] * len(items)
        return model.write([prompt_of(control, item, model.template) for item in items])

    def columns(self, control: Control, head: LinearHead, reading: Sequence[Any]) -> Floats:
        return np.zeros((len(reading), 0), np.float32)

    def outputs(self, control: Control, head: LinearHead, reading: Sequence[Any]) -> list[Output]:
        """The texts as ``answer``, best first; ``confidence``: how like to what a person writes the first is expected
        to be, in chrF. ``extra`` says where that is not calibrated."""
        return [self._output(head, written) for written in reading]

    def _output(self, head: LinearHead, written: Sequence[Any] | None) -> Output:
        if not written:
            return Output(reason="no text has been written for the task")
        alike = bool(head.extra.get("drawn", (0.0,))[0]) == bool(written[0].drawn)
        slope, offset = head.extra.get("confidence", (1.0, 0.0)) if alike else (1.0, 0.0)
        confidence = float(sigmoid(float(slope) * _belief(written[0]) + float(offset)))
        few = not alike or float(head.extra.get("examples", (0.0,))[0]) < CALIBRATED
        texts = tuple(dict.fromkeys(w.text for w in written))
        return Output(answer=texts, confidence=confidence, extra={"uncalibrated": True} if few else {})

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Level everywhere."""
        return two_classes(np.ones(len(columns)))

    def guided(
        self, control: Control, head: LinearHead, model: "Generator | None", item: Item, given: Texts
    ) -> Output | None:
        """The text that is written where the annotator's draft stands below the prompt: a rewritten one."""
        if model is None or not given:
            return None
        (written,) = model.write([model.with_draft(prompt_of(control, item, model.template), given[-1])])
        return self._output(head, written)

    # ----------------------------------------------------------------------------------------------------- the head
    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """Without any knowledge: the confidence is the mean probability of a token."""
        return LinearHead(np.zeros((1, dim), np.float32), np.zeros(1, np.float32))

    def head_task(
        self, control: Control, model: "Generator", examples: Sequence[Example], *, smoothing: float, seed: int
    ) -> "TextTask":
        """What the generator learns: every text of every annotator."""
        from backend.models.writer import TextTask

        there = [e for e in examples if control.name in e.targets]
        return TextTask(
            prompts=[prompt_of(control, e.item, model.template) for e in there],
            texts=[e.targets[control.name] for e in there],
            start=self.zero_shot_head(control, 1, lambda _: np.zeros((0, 1), np.float32)),
        )

    def calibrated(
        self, control: Control, head: LinearHead, model: "Generator | None", examples: Sequence[Example]
    ) -> LinearHead:
        """``extra`` keeps slope and offset of the ``confidence`` (Platt 1999), how many ``examples`` (1,) they are of,
        and whether others were ``drawn`` (1,) beside the texts, which makes other numbers of them."""
        reading = self.read(control, head, model, [e.item for e in examples])
        pairs = [(w[0], e.targets[control.name]) for w, e in zip(reading, examples, strict=True) if w]
        belief = np.array([_belief(written) for written, _ in pairs]).reshape(-1, 1)
        quality = np.array([chrf(written.text, target) for written, target in pairs]).reshape(-1, 1)
        scale = fit_scale(belief, quality, np.ones(len(pairs)), trust=TRUST)
        extra = {
            "confidence": np.array([scale.slope, scale.offset[0]], np.float32),
            "examples": np.array([len(pairs)], np.float32),
            "drawn": np.array([any(written.drawn for written, _ in pairs)], np.float32),
        }
        return LinearHead(head.weight, head.bias, extra=extra)

    # --------------------------------------------------------------------------------------------------- judgements
    def answer(self, output: Output) -> Texts | None:
        return None if output.answer is None else tuple(output.answer)

    def sure(self, target: Texts) -> Output:
        return Output(answer=tuple(target), confidence=1.0)

    def category(self, target: Texts) -> Hashable:
        """The first text."""
        return target[0]

    def kept(self, shown: Texts, given: Texts) -> bool:
        """Whether the best of the suggested texts was more use than trouble: editing is not all or nothing."""
        return max(chrf(text, given) for text in shown) > KEPT

    def quality(self, control: Control, output: Output, target: Texts) -> float:
        """chrF of the first text against the reference that it is most like; 0 without a text."""
        return chrf(output.answer[0], target) if output.answer else 0.0

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Texts]) -> Mapping[str, float]:
        """chrF and BLEU of all texts together, mean chrF of the texts, share of texts that a person wrote exactly so;
        error of the confidence (15 bins) as the mean chrF that it foretells. All in [0, 1]."""
        said = [o.answer[0] if o.answer else "" for o in outputs]
        quality = [self.quality(control, o, t) for o, t in zip(outputs, targets, strict=True)]
        return {
            "chrf": corpus_chrf(said, targets),
            "bleu": BleuCounts(said, targets).score(np.arange(len(said))),
            "exact_match": float(_exact(said, targets).mean()),
            "sentence_chrf": float(np.mean(quality)),
            "ece": binary_calibration_error([o.confidence for o in outputs], quality),
        }

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Texts], *, seed: int
    ) -> Mapping[str, Interval]:
        """BLEU with the interval of a bootstrap, and the share of exact texts."""
        said = [o.answer[0] if o.answer else "" for o in outputs]
        exact, bleu = _exact(said, targets), BleuCounts(said, targets)
        return {
            "bleu": bootstrap_interval(bleu.score, len(said), seed=seed),
            "exact_match": accuracy_interval(float(exact.sum()), len(said)),
        }

    def reason(
        self,
        control: Control,
        profile: Floats,
        worth: float,
        *,
        pool_size: int,
        labelled: Sequence[Any] = (),
    ) -> Mapping[str, Any]:
        """That it was not chosen for what the model thinks, the size of the pool, and how many tasks have a text."""
        return {"measure": self.measure, "pool": pool_size, "labelled": len(labelled)}


def _belief(written: "Written") -> float:
    """The logit of the mean probability of a token; where texts were drawn beside the text, its logarithm counts by how
    unlike them the text is, 1 − mean chrF (CoCoA: Vashurin et al., arXiv:2502.04964, 2025)."""
    unlike = 1 - float(np.mean([chrf(other, (written.text,)) for other in written.drawn])) if written.drawn else 1.0
    return float(logit(np.exp(written.logp * unlike)))


def _exact(said: Sequence[str], targets: Sequence[Texts]) -> NDArray[np.bool_]:
    return np.array([text in given for text, given in zip(said, targets, strict=True)], bool)


# ---------------------------------------------------------------------------------------------------------- the prompt
def named_fields(template: str) -> list[str]:
    """The fields of a task's data that a template of a label config names, ``$field``, in order."""
    return list(dict.fromkeys(a or b for a, b, _ in _PLACE.findall(template) if a or b))


def prompt_of(control: Control, item: Item, template: str) -> str:
    """What the generator is asked of an item: the control's own prompt, else ``template``, filled."""
    return fill(str(control.options.get("prompt", template)), item, document(control, item))


def fill(template: str, item: Item, text: str) -> str:
    """A template with ``$field``, ``${field}`` or ``{field}`` replaced by what the item holds there.

    One that names none of its fields stands before ``text``; names that are no fields stay as they are.
    """
    used: list[str] = []

    def content(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        if name not in item.fields:
            return match[0]
        used.append(name)
        return _spoken(item.fields[name])

    filled = _PLACE.sub(content, template)
    return filled if used else f"{template}\n\n{text}".strip()


def document(control: Control, item: Item) -> str:
    """All that the control is about, utterances with who said them; an empty line between fields."""
    return "\n\n".join(_spoken(item.fields[name]) for name in control.fields)


def _spoken(content: Content) -> str:
    if not content.names:
        return content.text
    return "\n".join(f"{name}: {text}" for name, text in zip(content.names, content.texts, strict=True))
