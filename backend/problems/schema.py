"""The values that cross borders: what a project asks (:class:`Schema`), what was answered, what the model says.

Everything here is immutable and checked once, at construction. Nothing here knows Label Studio's JSON, torch or HTTP.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Control:
    """One question to the annotator: a control tag and the object it is about.

    ``labels`` are in config order; their order is part of every version that is trained on it. ``descriptions`` are
    readable texts for the labels (``hint`` or ``alias`` where the config has them, else the label), same length.
    ``text_field`` is the key of the task's data that holds what the control is about, ``more_fields`` are others that
    have to be read with it. ``object``: the object tag in lower case. ``options``: what else the problem of this kind
    must know, as JSON values; without anything to say it is empty.
    """

    name: str
    kind: str
    to_name: str
    text_field: str
    labels: tuple[str, ...]
    descriptions: tuple[str, ...]
    object: str = "text"
    more_fields: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels of control {self.name!r} are not distinct: {self.labels}")
        if len(self.descriptions) != len(self.labels):
            raise ValueError(f"{len(self.descriptions)} descriptions for {len(self.labels)} labels")

    @property
    def about(self) -> str:
        """The object tag that results name: the first of those that the control is about."""
        return self.to_name.split(",")[0]

    @property
    def shown(self) -> tuple[str, ...]:
        """Keys of the task's data that its object tags show; the other fields are plain texts."""
        return self.fields[: self.to_name.count(",") + 1]

    @property
    def fields(self) -> tuple[str, ...]:
        """All keys of the task's data that the control reads."""
        return (self.text_field, *self.more_fields)

    def to_json(self) -> dict[str, Any]:
        """JSON values; what a control does not have is left out, so that a new option changes no hash of others."""
        optional = ("object", "more_fields", "options")
        plain = Control(self.name, self.kind, self.to_name, self.text_field, self.labels, self.descriptions)
        return {k: v for k, v in asdict(self).items() if k not in optional or getattr(self, k) != getattr(plain, k)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Control":
        """The control of :meth:`to_json`."""
        lists = {k: tuple(value[k]) for k in ("labels", "descriptions", "more_fields") if k in value}
        return cls(**{**value, **lists})


@dataclass(frozen=True)
class Schema:
    """All that a project asks about one task."""

    controls: tuple[Control, ...]

    def __post_init__(self) -> None:
        if not self.controls:
            raise ValueError("a schema needs at least one control")

    @property
    def hash(self) -> str:
        """16 hex digits; two configs that ask the same in the same label order have the same hash."""
        content = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """All keys of the task's data that any control reads, each once, in config order: the document."""
        return tuple(dict.fromkeys(name for control in self.controls for name in control.fields))

    def to_json(self) -> dict[str, Any]:
        return {"controls": [control.to_json() for control in self.controls]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Schema":
        return cls(tuple(Control.from_json(c) for c in value["controls"]))


@dataclass(frozen=True)
class Content:
    """What one field of a task's data holds: one text, or the utterances of a dialogue, or the entries of a list.

    ``names`` are the utterances' authors or the entries' ids, as many as ``texts``, or none. ``source`` is what the
    text was made of (HTML), where offsets have to be told in it.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        if self.names and len(self.names) != len(self.texts):
            raise ValueError(f"{len(self.names)} names for {len(self.texts)} texts")

    @property
    def text(self) -> str:
        """All texts, a line for each: what offsets of spans count in."""
        return "\n".join(self.texts)


@dataclass(frozen=True)
class Item:
    """What a task holds, as the models read it: the content of each field that some control reads and that is there."""

    fields: Mapping[str, Content]

    @classmethod
    def of(cls, text: str, name: str = "text") -> "Item":
        """An item of one field with one text."""
        return cls({name: Content((text,))})

    @cached_property
    def text(self) -> str:
        """The document: the text of all fields, a line break between them."""
        return "\n".join(content.text for content in self.fields.values())

    @cached_property
    def key(self) -> str:
        """What tells the item from others: the text where it is nothing else, JSON otherwise."""
        contents = list(self.fields.values())
        plain = len(contents) == 1 and contents[0] == Content((contents[0].text,))
        return self.text if plain else json.dumps(self.to_json(), ensure_ascii=True)

    def has(self, control: Control) -> bool:
        """Whether everything that the control reads is there."""
        return all(name in self.fields for name in control.fields)

    def __hash__(self) -> int:
        return hash(self.key)

    def to_json(self) -> dict[str, Any]:
        return {name: asdict(content) for name, content in self.fields.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Item":
        return cls({n: Content(tuple(c["texts"]), tuple(c["names"]), c["source"]) for n, c in value.items()})


@dataclass(frozen=True)
class Example:
    """A labelled item. ``targets`` maps a control's name to its target; what that is, the control's problem knows.

    For ``Choices`` with ``choice="single"`` a target is a distribution over the labels, shape ``(K,)``, sum 1: one-hot
    for a majority, shared where annotators tie. ``weight`` in (0, 1]: how much it counts; below 1 where a model, not an
    annotator, gave the target.
    """

    task_id: int
    item: Item
    targets: Mapping[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class Output:
    """What a model says about one task and one control.

    ``probs`` are calibrated probabilities over the control's labels, shape ``(K,)``, for problems that have them;
    ``answer`` is what others say, in the form of a target. Both ``None`` where the task could not be predicted;
    ``reason`` then says why. ``confidence`` in [0, 1]: the probability that the answer is right; ``worth`` in [0, 1]:
    what a label is worth, high = label sooner; both only where ``probs`` do not tell.
    """

    probs: Floats | None = None
    reason: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    answer: Any = None
    confidence: float = 0.0
    worth: float = 1.0
