"""``<Choices>``: its tag; and the regions of one answer, and how several annotators' answers combine.

What has several answers is in :mod:`backend.studio.multiple`, a tree of labels in :mod:`backend.studio.tree`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Control, Floats, Item, Output
from backend.studio import multiple, refuse, results, tree
from backend.studio.paths import labels_of, read_tree

KIND = "choices"

_KNOWN = ("single", "single-radio", "multiple")


def kind(node: Element) -> str:
    """The kind of problem that a ``<Choices>`` tag is."""
    if _several(node):
        return multiple.KIND
    return tree.SINGLE if _nested(node) else KIND


def read_labels(node: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels of a ``<Choices>`` tag as results hold them (``alias``, else ``value``), and a description of each.

    A description is the ``hint`` where there is one, else what the annotator reads. A ``<Choice>`` inside another one
    is a label only with ``allowNested``; without it Label Studio does not show it. Raises UnsupportedConfig.
    """
    refuse_variants(node)
    if _nested(node):
        return tree.read_labels(node, several=_several(node))
    return labels_of(read_tree(node))


def options(node: Element) -> dict[str, Any]:
    """See :mod:`backend.studio.multiple` and :mod:`backend.studio.tree`; nothing for one answer on one level."""
    paths = tree.options(node, several=_several(node)) if _nested(node) else {}
    return {"type": KIND, **paths, **multiple.answers(node)} if _several(node) else paths


def _several(node: Element) -> bool:
    """Whether any number of labels may be given; so too where there is one, which is given or not."""
    return node.get("choice") == "multiple" or len(node.findall(".//Choice")) == 1


def _nested(node: Element) -> bool:
    """Whether there is a tree, and Label Studio shows it."""
    return refuse.is_true(node, "allowNested") and node.find(".//Choice//Choice") is not None


def refuse_variants(node: Element) -> None:
    """Raises UnsupportedConfig for what no ``<Choices>`` tag may have."""
    choice = node.get("choice", "single")
    if choice not in _KNOWN:
        raise UnsupportedConfig(f'<Choices choice="{choice}"> is not supported.', f"Known: {', '.join(_KNOWN)}.")
    refuse.set_to_true(node, "perItem")
    refuse.labels_from_outside(node)


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> str | None:
    """The label that one annotation gives the task; None where it gives none, several, or one not in the config."""
    found = set(tree.names_of(regions, "choices")) & set(control.labels)
    return found.pop() if len(found) == 1 else None


def combine(control: Control, votes: Sequence[str]) -> Floats:
    """Target of a task, shape (K,), sum 1: one-hot for the label with most votes, equal shares where labels tie."""
    counts = np.array([votes.count(label) for label in control.labels])
    winners = np.asarray(counts == counts.max(), np.float32)
    return np.asarray(winners / winners.sum(), np.float32)


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with the most probable label; its ``score`` is that probability, in [0, 1]. Empty without one."""
    if output.probs is None or not np.isfinite(output.probs).all():
        return []
    best = int(np.argmax(output.probs))
    return [results.suggestion(control, KIND, {"choices": [control.labels[best]]}, output.probs[best])]
