"""``<Choices perRegion="true">``: one label for each region that another control marks.

Label Studio keeps it as a region of its own with the place and the ``id`` of the one that it is about. With
``whenLabelValue`` it asks only of regions with one of these labels, and drops what is said of others when an annotation
is submitted.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.region import label_at
from backend.problems.schema import Control, Item, Output
from backend.studio import choices, refuse, results, spans
from backend.studio.paths import labels_of, read_tree
from backend.studio.places import place_in

KIND = "choices-region"


def asked(node: Element) -> bool:
    """Whether a tag asks something about each region."""
    return refuse.is_true(node, "perRegion")


def read_labels(node: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and descriptions, as of any ``<Choices>``. Raises UnsupportedConfig."""
    choices.refuse_variants(node)
    if node.get("choice") == "multiple" or refuse.is_true(node, "allowNested"):
        raise UnsupportedConfig(
            '<Choices perRegion="true"> with several answers or nested ones is not supported.',
            'Ask for one: choice="single".',
        )
    return labels_of(read_tree(node))


def options(node: Element) -> dict[str, Any]:
    """``type``, which names the list of labels in a region; ``when``: the labels of the regions of which it is asked,
    with commas between them, where these are not all."""
    when = node.get("whenLabelValue", "")
    return {"type": "choices", **({"when": when} if when else {})}


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> spans.Vote | None:
    """The places that one annotation labels; None where there is none."""
    return spans.decode(control, regions, item) or None


def encode(control: Control, output: Output, item: Item, others: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A label for each region among the ``others`` that is a place in the same text and of which it is asked; its
    ``score`` is the probability that it is right. Empty where the model says nothing."""
    if "logits" not in output.extra or not np.isfinite(output.extra["logits"]).all():
        return []
    found = []
    for region in others:
        value = region["value"]
        place = place_in(control.object, item.fields[control.text_field], value)
        if region["to_name"] != control.about or place is None or "id" not in region or not _asked_of(control, region):
            continue
        probs = label_at(output, *place)
        best = int(np.argmax(probs))
        where = {key: x for key, x in value.items() if key != region["type"]}
        said = {**where, "choices": [control.labels[best]]}
        found.append({"id": region["id"], **results.suggestion(control, "choices", said, probs[best])})
    return found


def _asked_of(control: Control, region: Mapping[str, Any]) -> bool:
    """Whether a region has a label of which it is asked; a label may hold a comma."""
    when = control.options.get("when", "")
    return not when or not {when, *when.split(",")}.isdisjoint(region["value"].get(region["type"], ()))
