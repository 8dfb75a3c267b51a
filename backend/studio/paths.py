"""Trees of ``<Choice>`` tags: their nodes, and the labels that are made of paths.

A label of a tree is the path from the top to a node, as results hold it. In :class:`Control` it is one text (``Food /
Soup``), and ``options["paths"]`` has the path itself. How Label Studio shows a path (``pathSeparator``,
``showFullPath``) changes no label.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from backend.errors import UnsupportedConfig

Path = tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A ``<Choice>``. ``path``: names from the top to this one, as results hold them; ``description``: of the label."""

    path: Path
    description: str
    children: tuple["Node", ...] = field(default=())

    def all(self) -> Iterator["Node"]:
        """This node and all below it, in config order."""
        yield self
        for child in self.children:
            yield from child.all()


def read_tree(element: Element) -> tuple[Node, ...]:
    """The top nodes of a control tag. Raises UnsupportedConfig for a label without a value, or twice at one place."""
    nodes = _below(element, (), ())
    if not nodes:
        raise UnsupportedConfig(f"<{element.tag}> has no <Choice>.", "Add two or more, each with a value.")
    return nodes


def _below(element: Element, path: Path, words: tuple[str, ...]) -> tuple[Node, ...]:
    nodes = []
    for tag in tops(element):
        here, value = (*path, name_of(tag.attrib)), tag.get("value") or name_of(tag.attrib)
        description = tag.get("hint") or " / ".join((*words, value))
        nodes.append(Node(here, description, _below(tag, here, (*words, value))))
    for name, times in Counter(node.path[-1] for node in nodes).items():
        if times > 1:
            raise UnsupportedConfig(f"<Choice> {name!r} is there twice.", "Remove one, or give it another alias.")
    return tuple(nodes)


def tops(element: Element) -> list[Element]:
    """The ``<Choice>`` tags below a tag that are inside no other one; tags of layout between them do not count."""
    found: list[Element] = []
    for child in element:
        found += [child] if child.tag == "Choice" else tops(child)
    return found


def name_of(attributes: Mapping[str, str]) -> str:
    """How results name a ``<Choice>``: ``alias``, else ``value``. Raises UnsupportedConfig."""
    label = attributes.get("alias") or attributes.get("value") or ""
    if not label.strip():
        raise UnsupportedConfig("A <Choice> has no value.", "Give each <Choice> a value.")
    if label.startswith("$"):
        raise UnsupportedConfig(f'<Choice value="{label}"> differs from task to task.', "Write the label itself.")
    return label


def labels_of(nodes: Sequence[Node]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and their descriptions, as :class:`Control` has them."""
    names = [" / ".join(node.path) for node in nodes]
    if len(set(names)) < len(names):  # a name holds the separator
        names = [json.dumps(node.path, ensure_ascii=False) for node in nodes]
    return tuple(names), tuple(node.description for node in nodes)


def known_path(entry: Any, known: Mapping[Path, Any]) -> Path | None:
    """A path of a result where it is one of the ``known``; a text is the path of one name, or a name that is there
    once."""
    if isinstance(entry, str):
        if (entry,) in known:
            return (entry,)
        ends = [path for path in known if path[-1] == entry]
        return ends[0] if len(ends) == 1 else None
    if not isinstance(entry, list) or not all(isinstance(name, str) for name in entry):
        return None
    return tuple(entry) if tuple(entry) in known else None
