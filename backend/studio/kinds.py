"""How Label Studio writes each kind of control. A further control is one more module like
:mod:`backend.studio.choices` and one entry here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from xml.etree.ElementTree import Element

from backend.problems.schema import Control, Item, Output
from backend.studio import choices, multiple, number, pairwise, question, ranker, rating, region, spans, textarea, tree


@dataclass(frozen=True)
class Kind:
    """How Label Studio writes one kind of control.

    ``labels``: the tag -> labels and descriptions. ``decode``: one annotation's regions of this control, none where it
    has no result at all, and the item where it is known -> a vote, or None where that says nothing. ``combine``: the
    annotators' votes -> a target. ``encode``: what the model says of an item -> regions. ``objects``: the object tags
    it may be about. ``options``: the tag -> :attr:`Control.options`; ``empty`` among them, that an annotation which
    leaves the control empty answers so, is taken away where several controls ask. ``kind``: the tag -> the kind of
    problem, where that depends on its attributes. ``apart``: each region is a suggestion of its own. ``attach``: in
    place of ``encode`` for what is said of other controls' regions, which are its last argument. ``reads``: how many
    different fields of the data it needs.
    """

    labels: Callable[[Element], tuple[tuple[str, ...], tuple[str, ...]]]
    decode: Callable[[Control, Sequence[Mapping[str, Any]], Item | None], Any | None]
    combine: Callable[[Control, Sequence[Any]], Any]
    encode: Callable[[Control, Output, Item], list[dict[str, Any]]]
    objects: frozenset[str] = frozenset({"text", "hypertext", "paragraphs"})
    options: Callable[[Element], Mapping[str, Any]] = lambda _: {}
    kind: Callable[[Element], str] = lambda node: node.tag.lower()
    apart: bool = False
    attach: Callable[[Control, Output, Item, Sequence[Mapping[str, Any]]], list[dict[str, Any]]] | None = None
    reads: int = 1


CHOICES = Kind(
    choices.read_labels,
    choices.decode,
    choices.combine,
    choices.encode,
    options=choices.options,
    kind=choices.kind,
)
TREE = Kind(choices.read_labels, tree.decode, choices.combine, tree.encode)
MULTIPLE = Kind(
    multiple.read_taxonomy,
    multiple.decode,
    multiple.combine,
    multiple.encode,
    options=multiple.taxonomy_options,
    kind=lambda _: multiple.KIND,
)
SPANS = Kind(
    spans.read_labels,
    spans.decode,
    spans.combine,
    spans.encode,
    objects=frozenset({"text", "hypertext"}),
    options=spans.options,
    kind=lambda _: spans.KIND,
    apart=True,
)
QUESTION = Kind(
    question.read_labels,
    question.decode,
    question.combine,
    question.encode,
    objects=frozenset({"text", "hypertext"}),
    options=question.options,
    kind=lambda _: question.KIND,
    reads=2,
)
REGION = Kind(
    region.read_labels,
    region.decode,
    spans.combine,
    lambda *_: [],
    options=region.options,
    kind=lambda _: region.KIND,
    apart=True,
    attach=region.encode,
)
TEXTAREA = Kind(
    textarea.read_labels,
    textarea.decode,
    textarea.combine,
    textarea.encode,
    objects=textarea.OBJECTS,
    options=textarea.options,
)
RATING = Kind(rating.read_labels, rating.decode, rating.combine, rating.encode)
NUMBER = Kind(number.no_labels, number.decode, number.combine, number.encode, options=number.options)
PAIRWISE = Kind(pairwise.read_labels, pairwise.decode, pairwise.combine, pairwise.encode, options=pairwise.options)
RANKER = Kind(ranker.no_labels, ranker.decode, ranker.combine, ranker.encode, objects=frozenset({"list"}))
HYPERTEXT, PARAGRAPHS = frozenset({"hypertext"}), frozenset({"paragraphs"})
TAGS: Mapping[str, Kind] = MappingProxyType(  # by tag in lower case
    {
        "choices": CHOICES,
        "taxonomy": MULTIPLE,
        "labels": SPANS,
        "hypertextlabels": replace(SPANS, objects=HYPERTEXT),
        "paragraphlabels": replace(SPANS, objects=PARAGRAPHS),
        "rating": RATING,
        "number": NUMBER,
        "pairwise": PAIRWISE,
        "ranker": RANKER,
        "textarea": TEXTAREA,
    }
)
ASKING: Mapping[str, Kind] = MappingProxyType(  # the same, of tags that ask a question
    {
        "labels": QUESTION,
        "hypertextlabels": replace(QUESTION, objects=HYPERTEXT),
        "paragraphlabels": replace(QUESTION, objects=PARAGRAPHS),
        "textarea": replace(QUESTION, objects=frozenset({"text", "hypertext", "paragraphs"})),
    }
)
KINDS: Mapping[str, Kind] = MappingProxyType(  # by kind of problem
    {
        choices.KIND: CHOICES,
        tree.SINGLE: TREE,
        multiple.KIND: MULTIPLE,
        region.KIND: REGION,
        spans.KIND: SPANS,
        question.KIND: QUESTION,
        rating.KIND: RATING,
        number.KIND: NUMBER,
        pairwise.KIND: PAIRWISE,
        ranker.KIND: RANKER,
        textarea.KIND: TEXTAREA,
    }
)


def kind_of(node: Element) -> Kind | None:
    """How a control tag is written; None for one that is not known."""
    tag = node.tag.lower()
    if tag == "choices" and region.asked(node):
        return REGION
    return (ASKING if question.asked(node) else TAGS).get(tag)
