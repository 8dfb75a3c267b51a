"""``<Labels>`` on a text: spans with labels, their regions, and how annotators' spans combine.

``options["type"]`` is the region's type, which also names its list of labels.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Control, Item, Output
from backend.studio import refuse, results
from backend.studio.multiple import answers
from backend.studio.places import PLACES, place_in, region_id

KIND = "labels"

Vote = frozenset[tuple[int, int, int]]  # start, end, position of the label


def read_labels(element: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels of a ``<Labels>`` tag as results hold them (``alias``, else ``value``), and a description of each.

    Raises UnsupportedConfig.
    """
    refuse.unless_about_the_task(element)
    refuse.labels_from_outside(element)
    tags = list(element.iter("Label"))
    names = [tag.get("alias") or tag.get("value") or "" for tag in tags]
    if not names or not all(name.strip() for name in names):
        raise UnsupportedConfig(f"<{element.tag}> has no <Label>, or one without a value.", "Give each a value.")
    if varying := [name for name in names if name.startswith("$")]:
        raise UnsupportedConfig(f'<Label value="{varying[0]}"> differs from task to task.', "Write the label itself.")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise UnsupportedConfig(f"<{element.tag}> has the label {twice!r} twice.", "Remove one of them.")
    return tuple(names), tuple(tag.get("hint") or tag.get("value") or tag.get("alias") or "" for tag in tags)


def options(element: Element) -> dict[str, Any]:
    """``type``; ``several``: a region may have several labels; ``empty``: no span at all is an answer."""
    several = {"several": True} if element.get("choice") == "multiple" else {}
    return {"type": element.tag.lower(), **several, **answers(element)}


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> Vote | None:
    """The spans that one annotation marks; None where it marks none that is a place in the text with a known label.

    An annotation without any region says that there is none, where that is an answer.
    """
    if not regions:
        return frozenset() if control.options.get("empty") else None
    if item is None or control.text_field not in item.fields:
        return None
    content, key = item.fields[control.text_field], str(control.options["type"])
    known = {label: at for at, label in enumerate(control.labels)}
    found = set()
    for region in regions:
        value = results.value_of(region)
        labels = value.get(key, value.get("labels"))
        place = place_in(control.object, content, value)
        if place is not None and isinstance(labels, list):
            found |= {(*place, known[label]) for label in labels if isinstance(label, str) and label in known}
    return frozenset(found) or None


def combine(control: Control, votes: Sequence[Vote]) -> list[tuple[int, int, int, float]]:
    """Spans in order, each with the share of the annotators who marked exactly this."""
    counts = Counter(span for vote in votes for span in vote)
    return [(*span, count / len(votes)) for span, count in sorted(counts.items())]


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """A region for each span; its ``score`` is the probability that it is right, in [0, 1]. Empty without an answer."""
    if output.answer is None:
        return []
    content, key = item.fields[control.text_field], str(control.options["type"])
    scores = output.extra.get("scores", [output.confidence] * len(output.answer))
    places: defaultdict[tuple[int, ...], list[tuple[str, float]]] = defaultdict(list)
    for (start, end, label, _), score in zip(output.answer, scores, strict=True):
        apart = () if control.options.get("several") else (label,)
        places[start, end, *apart].append((control.labels[label], score))
    return [
        {
            "id": region_id(control, place),
            **results.suggestion(
                control,
                key,
                {**PLACES[control.object].write(content, place[0], place[1]), key: [name for name, _ in labels]},
                min(score for _, score in labels),
            ),
        }
        for place, labels in sorted(places.items())
        if np.isfinite([score for _, score in labels]).all()
    ]
