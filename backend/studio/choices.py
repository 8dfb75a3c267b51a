"""``<Choices>`` with one answer on a ``<Text>``: its tag, its regions, and how several annotators' answers combine."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.errors import UnsupportedConfig
from backend.problems.schema import Control, Floats, Item, Output

KIND = "choices"

_SINGLE = ("single", "single-radio")


def read_labels(node: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels of a ``<Choices>`` tag as results hold them (``alias``, else ``value``), and a description of each.

    A description is the ``hint`` where there is one, else what the annotator reads. Raises UnsupportedConfig.
    """
    _refuse_variants(node.attrib)
    tags = list(node.iter("Choice"))
    if any(tag.find(".//Choice") is not None for tag in tags):
        raise UnsupportedConfig(
            "A <Choice> inside a <Choice> (a tree of labels) is not supported.", "Put all <Choice> tags on one level."
        )
    labels = tuple(_label(tag.attrib) for tag in tags)
    if not labels:
        raise UnsupportedConfig("<Choices> has no <Choice>.", "Add two or more, each with a value.")
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise UnsupportedConfig(f"<Choice> {twice[0]!r} is there twice.", "Remove one, or give it another alias.")
    return labels, tuple(t.get("hint") or t.get("value") or label for t, label in zip(tags, labels, strict=True))


def _refuse_variants(attributes: Mapping[str, str]) -> None:
    choice = attributes.get("choice", "single")
    if choice not in _SINGLE:
        raise UnsupportedConfig(f'<Choices choice="{choice}"> is not supported.', 'Use choice="single".')
    for name in ("perRegion", "perItem"):
        if attributes.get(name, "false").lower() == "true":
            raise UnsupportedConfig(f'<Choices {name}="true"> is not supported.', f"Remove {name}.")
    for name in ("value", "apiUrl"):
        if attributes.get(name):
            raise UnsupportedConfig(
                f"<Choices {name}=…> takes its labels from outside the config, which is not supported.",
                "Write them as <Choice> tags.",
            )


def _label(attributes: Mapping[str, str]) -> str:
    label = attributes.get("alias") or attributes.get("value") or ""
    if not label.strip():
        raise UnsupportedConfig("A <Choice> has no value.", "Give each <Choice> a value.")
    if label.startswith("$"):
        raise UnsupportedConfig(f'<Choice value="{label}"> differs from task to task.', "Write the label itself.")
    return label


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> str | None:
    """The label that one annotation gives the task; None where it gives none, several, or one not in the config."""
    found = {label for region in regions for label in _chosen(control, region)}
    return found.pop() if len(found) == 1 else None


def _chosen(control: Control, region: Mapping[str, Any]) -> list[str]:
    value = region.get("value")
    chosen = value.get("choices") if isinstance(value, Mapping) else None
    if isinstance(chosen, str):
        chosen = [chosen]
    return [label for label in chosen if label in control.labels] if isinstance(chosen, list) else []


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
    return [
        {
            "from_name": control.name,
            "to_name": control.to_name,
            "type": KIND,
            "value": {"choices": [control.labels[best]]},
            "score": min(1.0, max(0.0, float(output.probs[best]))),
        }
    ]
