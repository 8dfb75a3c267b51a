"""Any number of labels: ``<Choices choice="multiple">`` and ``<Taxonomy>``, their regions, and how answers combine.

``options["type"]`` is the region's type. With ``paths`` a label is a path (see :mod:`backend.studio.paths`), without it
a name.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.problems.schema import Control, Floats, Item, Output
from backend.studio import refuse, results, tree
from backend.studio.paths import Node, Path, known_path, labels_of, read_tree

KIND = "choices-multiple"

Vote = frozenset[str]


# ------------------------------------------------------------------------------------------------------------ taxonomy
def read_taxonomy(element: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and descriptions of a ``<Taxonomy>``: all nodes, or the leaves. Raises UnsupportedConfig."""
    refuse.set_to_true(element, "perRegion", "perItem", "labeling")
    refuse.labels_from_outside(element)
    return labels_of(_taxonomy_nodes(element))


def taxonomy_options(element: Element) -> dict[str, Any]:
    """``type``, ``paths``, and ``most``, the most labels, where ``maxUsages`` says one; and see :func:`answers`."""
    most = element.get("maxUsages", "").strip()
    limit = {"most": int(most)} if most.isdecimal() and int(most) > 0 else {}
    paths = [list(node.path) for node in _taxonomy_nodes(element)]
    return {"type": "taxonomy", "paths": paths, **limit, **answers(element)}


def _taxonomy_nodes(element: Element) -> list[Node]:
    nodes = [node for top in read_tree(element) for node in top.all()]
    return [node for node in nodes if not (node.children and refuse.is_true(element, "leafsOnly"))]


def answers(element: Element) -> dict[str, bool]:
    """``empty``: no label at all is an answer, as Label Studio lets it be submitted. Not so where the tag is hidden now
    and then."""
    return {} if refuse.is_true(element, "required") or element.get("visibleWhen") else {"empty": True}


# ------------------------------------------------------------------------------------------------------------- results
def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> Vote | None:
    """The labels that one annotation gives the task; None where it gives none of the config.

    An annotation that was left empty gives no label, where that is an answer.
    """
    kind = str(control.options["type"])
    if all(region.get("value") == {kind: []} for region in regions):  # as it is without any region
        return frozenset() if control.options.get("empty") else None
    if "paths" not in control.options:
        return frozenset(tree.names_of(regions, kind)) & frozenset(control.labels) or None
    entries = tree.entries_of(regions, kind)
    if "nodes" in control.options:
        found = _labels(control, tree.chosen_leaves(control, entries))
    else:
        known: dict[Path, None] = {tuple(path): None for path in control.options["paths"]}
        found = _labels(control, {path for entry in entries if (path := known_path(entry, known)) is not None})
    return found or None


def _labels(control: Control, paths: set[Path]) -> Vote:
    pairs = zip(control.labels, control.options["paths"], strict=True)
    return frozenset(label for label, path in pairs if tuple(path) in paths)


def combine(control: Control, votes: Sequence[Vote]) -> Floats:
    """Target of a task, shape (K,): the share of the votes that have each label."""
    counts = np.array([sum(label in vote for vote in votes) for label in control.labels], np.float32)
    return np.asarray(counts / len(votes), np.float32)


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with all labels of the answer; its ``score`` is the probability that they are exactly right. Empty
    where there is no label or no answer."""
    if output.answer is None or not np.isfinite(output.answer).all() or "nodes" in control.options:
        return []
    chosen = np.flatnonzero(np.asarray(output.answer) > 0.5)
    if not len(chosen) or not np.isfinite(output.confidence):
        return []
    kind, paths = str(control.options["type"]), control.options.get("paths", control.labels)
    names = [list(paths[at]) if "paths" in control.options else paths[at] for at in chosen]
    return [results.suggestion(control, kind, {kind: names}, output.confidence)]
