"""The answer to a question, marked in a text: ``<Labels … question="$field">`` or, typed or copied from the text,
``<TextArea … question="$field" extractive="true">``.

Label Studio ignores the attribute ``question``; it names the field of the task's data that holds the question.
``options["type"]`` is the region's type.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Content, Control, Item, Output
from backend.studio import refuse, results
from backend.studio.multiple import answers
from backend.studio.places import PLACES, place_in, region_id

KIND = "question"

Span = tuple[int, int, str]  # first character, the one after the last, the text
Vote = tuple[Span, ...]  # none where the text has no answer

_FIELD = re.compile(r"\$([\w-]+)")
_HINT = (
    'A question about a text is <Labels name="answer" toName="context" question="$question"><Label value="Answer"/>'
    '</Labels>, or <TextArea … question="$question" extractive="true"/>.'
)


def asked(node: Element) -> bool:
    """Whether a tag asks for a place in a text that answers a question."""
    return node.get("question") is not None and (node.tag.lower() != "textarea" or refuse.is_true(node, "extractive"))


def read_labels(node: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The only label of ``<Labels>``, none of ``<TextArea>``. Raises UnsupportedConfig for other labels."""
    if node.tag.lower() == "textarea":
        return (), ()
    labels = list(node.iter("Label"))
    if len(labels) != 1:
        raise UnsupportedConfig(f"<Labels question=…> has {len(labels)} labels; it needs exactly one.", _HINT)
    label = labels[0].get("alias") or labels[0].get("value") or ""
    if not label.strip() or label.startswith("$"):
        raise UnsupportedConfig(f"<Label value={label!r}> is not supported: the label must be named.", _HINT)
    return (label,), (labels[0].get("hint") or labels[0].get("value") or label,)


def options(node: Element) -> dict[str, Any]:
    """``type``; ``fields``: the field of the question, as the schema takes it; and see :func:`multiple.answers`."""
    field = _FIELD.fullmatch(node.get("question", ""))
    if field is None:
        raise UnsupportedConfig(f'question="{node.get("question")}" names no field.', 'Such as question="$question".')
    refuse.unless_about_the_task(node)
    return {"type": node.tag.lower(), "fields": (field[1],), **answers(node)}


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> Vote | None:
    """The spans that one annotation marks, in their order; none where it was left empty and that is an answer.

    None where it says nothing that is in the text, or the text is not known.
    """
    if not regions:
        return () if control.options.get("empty") else None
    if item is None or not item.has(control):
        return None
    content = item.fields[control.text_field]
    found: list[Span] = []
    for region in regions:
        value, typed = results.value_of(region), control.options["type"] == "textarea"
        found += _typed(content.text, value) if typed else _marked(control, content, value)
    return tuple(dict.fromkeys(found)) or None


def _marked(control: Control, content: Content, value: Mapping[str, Any]) -> list[Span]:
    """The span of a region with a place."""
    labels = value.get(str(control.options["type"]), value.get("labels"))
    if not isinstance(labels, list) or not set(control.labels) & {x for x in labels if isinstance(x, str)}:
        return []
    place = place_in(control.object, content, value)
    return [] if place is None else [(*place, content.text[slice(*place)])]


def _typed(text: str, value: Mapping[str, Any]) -> list[Span]:
    """All places of the texts of a region without offsets."""
    said = value.get("text")
    entries = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    stripped = [entry.strip() for entry in entries if isinstance(entry, str)]
    return [(at, at + len(entry), entry) for entry in stripped for at in _places(text, entry)]


def _places(text: str, said: str) -> list[int]:
    """Where ``said`` begins in the text; nowhere if it is blank."""
    return [found.start() for found in re.finditer(re.escape(said), text)] if said.strip() else []


def combine(control: Control, votes: Sequence[Vote]) -> dict[str, Any]:
    """Target of a task: see :mod:`backend.problems.question`."""
    counts = Counter(span for vote in votes for span in vote)
    spans = sorted(counts, key=lambda span: (-counts[span], span))
    return {"spans": [list(span) for span in spans], "none": sum(not vote for vote in votes) / len(votes)}


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with the answer; its ``score`` is the probability that this is it. Empty where there is none."""
    if output.answer is None or not output.answer["spans"] or not np.isfinite(output.confidence):
        return []
    start, end, text = output.answer["spans"][0]
    kind = str(control.options["type"])
    content = item.fields[control.text_field]
    place = {**PLACES[control.object].write(content, start, end), kind: list(control.labels)}
    value = {"text": [text]} if kind == "textarea" else place
    return [{"id": region_id(control, (start, end)), **results.suggestion(control, kind, value, output.confidence)}]
