"""``<TextArea>``: texts that annotators write about a whole task, and the prompt that a label config gives the model.

``prompt="Translate to German: $text"`` names fields of the task's data as Label Studio does; it wins over
``TEXT_PROMPT``. Label Studio keeps and ignores attributes that it does not know. ``value``, ``placeholder`` and what
else is only shown does not matter here.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from backend.problems.schema import Control, Item, Output
from backend.problems.writing import Texts, named_fields
from backend.studio import refuse, results
from backend.studio.objects import HALF_A_PAIR

KIND = "textarea"
OBJECTS = frozenset({"text", "hypertext", "paragraphs", "list"})


def read_labels(node: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """No label. Raises UnsupportedConfig for texts about a part of the task."""
    refuse.set_to_true(node, "perRegion", "perItem")
    return (), ()


def options(node: Element) -> dict[str, Any]:
    """``prompt`` and the ``fields`` that it names, where the tag has one; ``most``, the most texts of one answer, where
    ``maxSubmissions`` says it."""
    prompt = node.get("prompt", "").strip()
    most = node.get("maxSubmissions", "").strip()
    return {
        **({"prompt": prompt, "fields": named_fields(prompt)} if prompt else {}),
        **({"most": int(most)} if most.isdecimal() and int(most) > 0 else {}),
    }


def decode(control: Control, regions: Sequence[Mapping[str, Any]], item: Item | None) -> Texts | None:
    """The texts of one annotation as they were written, each once; None where there is none but white space."""
    found = tuple(dict.fromkeys(text for region in regions for text in _texts(region) if text.strip()))
    return found or None


def _texts(region: Mapping[str, Any]) -> list[str]:
    given = results.value_of(region).get("text")
    if isinstance(given, str):
        given = [given]
    texts = [text for text in given if isinstance(text, str)] if isinstance(given, list) else []
    return [HALF_A_PAIR.sub("", text) for text in texts]


def combine(control: Control, votes: Sequence[Texts]) -> Texts:
    """All texts of all annotators, each once."""
    return tuple(dict.fromkeys(text for texts in votes for text in texts))


def encode(control: Control, output: Output, item: Item) -> list[dict[str, Any]]:
    """One region with the texts of the answer, best first; its ``score`` is the confidence in the first, in [0, 1].
    Empty without an answer."""
    texts = [text for text in output.answer or () if text.strip()][: control.options.get("most")]
    if not texts or not np.isfinite(output.confidence):
        return []
    return [results.suggestion(control, KIND, {"text": texts}, output.confidence)]
