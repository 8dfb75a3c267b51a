"""Label config -> :class:`Schema`. Only here is the config's XML read; all else speaks of controls.

Label Studio's own SDK reads the tags; this module decides what a model here can learn, and says of everything else
which tag stands in the way. A further control is one more module like :mod:`backend.studio.choices` and one entry in
``KINDS``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from backend.errors import TooLarge, UnsupportedConfig
from backend.problems.schema import Control, Item, Output, Schema
from backend.studio import choices, multiple, objects, textarea, tree

if TYPE_CHECKING:
    from label_studio_sdk.label_interface.object_tags import ObjectTag

MAX_CONFIG_CHARS = 1_000_000
MAX_LABELS = 1_000


@dataclass(frozen=True)
class Kind:
    """How Label Studio writes one kind of control.

    ``labels``: the tag -> labels and descriptions. ``decode``: one annotation's regions of this control, none where it
    was left empty, and the item where it is known -> a vote, or None where that says nothing. ``combine``: the
    annotators' votes -> a target. ``encode``: what the model says of an item -> regions. ``objects``: the object tags
    it may be about. ``options``: the tag -> :attr:`Control.options`; ``empty`` among them, that an annotation which
    leaves the control empty answers so, is taken away where several controls ask. ``kind``: the tag -> the kind of
    problem, where that depends on its attributes.
    """

    labels: Callable[[Element], tuple[tuple[str, ...], tuple[str, ...]]]
    decode: Callable[[Control, Sequence[Mapping[str, Any]], Item | None], Any | None]
    combine: Callable[[Control, Sequence[Any]], Any]
    encode: Callable[[Control, Output, Item], list[dict[str, Any]]]
    objects: frozenset[str] = frozenset({"text", "hypertext", "paragraphs"})
    options: Callable[[Element], Mapping[str, Any]] = lambda _: {}
    kind: Callable[[Element], str] = lambda node: node.tag.lower()


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
TEXTAREA = Kind(
    textarea.read_labels,
    textarea.decode,
    textarea.combine,
    textarea.encode,
    objects=textarea.OBJECTS,
    options=textarea.options,
)
TAGS: Mapping[str, Kind] = MappingProxyType(  # by tag in lower case
    {"choices": CHOICES, "taxonomy": MULTIPLE, "textarea": TEXTAREA}
)
KINDS: Mapping[str, Kind] = MappingProxyType(  # by kind of problem
    {choices.KIND: CHOICES, tree.SINGLE: TREE, multiple.KIND: MULTIPLE, textarea.KIND: TEXTAREA}
)

_AIDS = {"filter", "shortcut"}  # tags with toName that ask nothing
_SUPPORTED = 'Supported are the tags that the README lists, on a <Text value="$field"> or another text object.'


@lru_cache(maxsize=64)
def parse_schema(label_config: str) -> Schema:
    """What the config asks. Raises UnsupportedConfig, with a sentence that names the tag and what to do."""
    if len(label_config) > MAX_CONFIG_CHARS:
        raise TooLarge(f"The label config has {len(label_config)} characters; at most {MAX_CONFIG_CHARS} are read.")
    controls, objects = _read(label_config)
    if not controls:
        raise UnsupportedConfig("The label config has no control tag with a name and a toName.", _SUPPORTED)
    found = tuple(_control(node, objects) for node in controls)
    return Schema(found if len(found) == 1 else tuple(map(_among_others, found)))


def _among_others(control: Control) -> Control:
    """The control without the option ``empty``: where several are asked, one that was left empty may have been passed
    over, which answers nothing."""
    return replace(control, options={k: v for k, v in control.options.items() if k != "empty"})


def _read(label_config: str) -> "tuple[list[Element], dict[str, ObjectTag]]":
    """The tags that ask something, and the SDK's object tags by name."""
    if not label_config.strip():
        raise UnsupportedConfig("The project has no label config.", "Set up its labeling interface.")
    if "<!DOCTYPE" in label_config or "<!ENTITY" in label_config:
        raise UnsupportedConfig("The label config declares a document type or entities.", "Remove the declaration.")
    from label_studio_sdk.label_interface.interface import LabelInterface

    try:
        interface = LabelInterface(label_config)
        root = ElementTree.fromstring(label_config)
    except Exception as error:  # the SDK raises whatever its parsers raise; they have no base class in common
        raise UnsupportedConfig(f"The label config cannot be read: {error!s:.300}.", "Correct its XML.") from error
    by_name = {str(tag.name): tag for tag in interface.controls or ()}
    asking = {name for name, tag in by_name.items() if (tag.tag or "").lower() not in _AIDS}
    nodes = [node for node in root.iter() if node.get("name") in asking]
    if len(nodes) > len(asking):
        raise UnsupportedConfig("Two tags of the label config have the same name.", "Give each a name of its own.")
    return nodes, {str(tag.name): tag for tag in interface.objects or ()}


def _control(node: Element, found: "Mapping[str, ObjectTag]") -> Control:
    kind = TAGS.get(node.tag.lower())
    if kind is None:
        raise UnsupportedConfig(f"<{node.tag}> is not supported.", _SUPPORTED)
    to_name = node.get("toName", "")
    names = to_name.split(",")
    if not set(names) <= set(found):
        raise UnsupportedConfig(f'<{node.tag} toName="{to_name}"> does not name one object tag.', _SUPPORTED)
    tags = {(found[name].tag or "").lower() for name in names}
    if not tags <= kind.objects:
        raise UnsupportedConfig(f"<{node.tag}> on <{found[names[0]].tag}> is not supported.", _SUPPORTED)
    labels, descriptions = kind.labels(node)
    if len(labels) > MAX_LABELS:
        raise UnsupportedConfig(f"<{node.tag}> has {len(labels)} labels; at most {MAX_LABELS} are supported.")
    options = dict(kind.options(node))
    fields = [objects.field_of(node.tag, found[name]) for name in names] + list(options.pop("fields", ()))
    return Control(
        name=node.get("name", ""),
        kind=kind.kind(node),
        to_name=to_name,
        text_field=fields[0],
        labels=labels,
        descriptions=descriptions,
        object=(found[names[0]].tag or "").lower(),
        more_fields=tuple(dict.fromkeys(fields))[1:],
        options=options,
    )
