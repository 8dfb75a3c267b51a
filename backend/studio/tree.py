"""``<Choices allowNested="true">``: a tree of which Label Studio keeps the leaves.

Its results are lists of paths. An inner node is checked where all below it are, so a click on one gives its path and
all paths below it: the leaves say everything. With one answer the label is therefore the highest node whose leaves are
the chosen ones, with several answers the labels are the leaves.

Label Studio validates stored predictions as if choices were never nested, and drops those with paths. So nothing is
suggested here; scores, and with them the order of the queue, are stored as ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from backend.problems.schema import Control, Item, Output
from backend.studio.paths import Node, Path, known_path, labels_of, read_tree
from backend.studio.results import value_of

SINGLE = "choices-tree"


def nodes_of(element: Element, *, several: bool) -> list[Node]:
    """The nodes that are labels: the leaves, and for one answer inner nodes that are not the same as their only
    child."""
    nodes = [node for top in read_tree(element) for node in top.all()]
    return [node for node in nodes if not node.children or (len(node.children) > 1 and not several)]


def read_labels(element: Element, *, several: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and descriptions. Raises UnsupportedConfig."""
    return labels_of(nodes_of(element, several=several))


def options(element: Element, *, several: bool) -> dict[str, Any]:
    """``paths`` of the labels, and ``nodes``: the paths of all nodes."""
    everything = [list(node.path) for top in read_tree(element) for node in top.all()]
    return {"paths": [list(n.path) for n in nodes_of(element, several=several)], "nodes": everything}


def chosen_leaves(control: Control, entries: Sequence[Any]) -> set[Path]:
    """The leaves that a result stands for: those it names, and all below an inner node of which it names none."""
    nodes = {tuple(path): None for path in control.options["nodes"]}
    inner = {path[:-1] for path in nodes}
    named = {path for entry in entries if (path := known_path(entry, nodes)) is not None}
    leaves = {path for path in named if path not in inner}
    for path in named & inner:
        if not any(other != path and other[: len(path)] == path for other in named):
            leaves |= {p for p in nodes if p not in inner and p[: len(path)] == path}
    return leaves


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> str | None:
    """The label that one annotation gives the task; None where it gives none, several, or one not in the config."""
    leaves = chosen_leaves(control, entries_of(regions, "choices"))
    for label, path in zip(control.labels, control.options["paths"], strict=True):
        if leaves and all(leaf[: len(path)] == tuple(path) for leaf in leaves):
            whole = chosen_leaves(control, [path])
            if leaves == whole:
                return label
    return None


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """Nothing: Label Studio would drop the prediction, score and all."""
    return []


def names_of(regions: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """The names that the regions of one control list; with ``allowNested``, which writes paths, those of the top."""
    entries = [e[0] if isinstance(e, list) and len(e) == 1 else e for e in entries_of(regions, key)]
    return [entry for entry in entries if isinstance(entry, str)]


def entries_of(regions: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """What the regions of one control list under ``key``."""
    found: list[Any] = []
    for region in regions:
        chosen = value_of(region).get(key)
        found += chosen if isinstance(chosen, list) else [chosen] if isinstance(chosen, str) else []
    return found
