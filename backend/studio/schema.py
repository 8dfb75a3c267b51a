"""Label config -> :class:`Schema`. Only here is the config's XML read; all else speaks of controls.

Label Studio's own SDK reads the tags; this module decides what a model here can learn, and says of everything else
which tag stands in the way. A further control is an entry in :mod:`backend.studio.kinds`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from backend.errors import TooLarge, UnsupportedConfig
from backend.problems.schema import Control, Schema
from backend.studio import choices, multiple, objects, refuse, region, textarea, tree
from backend.studio.kinds import KINDS, TAGS, kind_of

if TYPE_CHECKING:
    from label_studio_sdk.label_interface.object_tags import ObjectTag

MAX_CONFIG_CHARS = 1_000_000
MAX_LABELS = 1_000


_TOLD_APART = {choices.KIND, tree.SINGLE, multiple.KIND, region.KIND}  # kinds that say which label fits
_AIDS = {"filter", "shortcut"}  # tags with toName that ask nothing
# Attributes of several words that are read here: Label Studio takes them in upper and lower case alike.
_ATTRIBUTES = (
    "allowNested apiUrl leafsOnly maxRating maxSubmissions maxUsages perItem perRegion visibleWhen whenLabelValue"
)
_SUPPORTED = 'Supported are the tags that the README lists, on a <Text value="$field"> or another text object.'


@dataclass(frozen=True)
class Config:
    """What a label config asks that can be learned; ``left_out``: a sentence for each control that cannot; ``unread``:
    the fields of texts that annotators are shown and that no control is about or reads; ``names``: of all controls,
    learned or not."""

    schema: Schema
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What is to be said of the fields that are not read; empty without any. It may well be meant so."""
        if not self.unread:
            return ""
        fields = ", ".join(f"${name}" for name in self.unread)
        return (
            f"The labeling interface shows {fields}, which no control reads: the model does not see it. Where answers "
            "depend on it, some controls can read it too: Choices and Taxonomy that name two tags of one kind "
            '(toName="text,other"), Labels with its field as question="$other", TextArea with prompt="… $other".'
        )


def parse_schema(label_config: str) -> Schema:
    """What the config asks. Raises UnsupportedConfig, with a sentence that names the tag and what to do."""
    return read_config(label_config).schema


@lru_cache(maxsize=64)
def read_config(label_config: str) -> Config:
    """The config. A control that cannot be learned is left out as long as there is another one that can.

    Raises UnsupportedConfig, with a sentence that names the tag and what to do.
    """
    if len(label_config) > MAX_CONFIG_CHARS:
        raise TooLarge(f"The label config has {len(label_config)} characters; at most {MAX_CONFIG_CHARS} are read.")
    nodes, objects, headers = _read(label_config)
    if not nodes:
        raise UnsupportedConfig("The label config has no control tag with a name and a toName.", _SUPPORTED)
    found: list[Control] = []
    refused: list[UnsupportedConfig] = []
    shown_in: dict[str, tuple[str | None, ...]] = {}  # field -> object tag, and the keys of an utterance
    for node in nodes:
        try:
            control = _control(node, objects)
            _check_shown(control, shown_in)
            found.append(control)
        except UnsupportedConfig as error:
            refused.append(error)
    marked = {c.to_name for c in found if KINDS[c.kind].apart and KINDS[c.kind].attach is None}
    for lonely in [c for c in found if KINDS[c.kind].attach is not None and c.to_name not in marked]:
        found.remove(lonely)
        refused.append(UnsupportedConfig(f"{lonely.name!r} is perRegion and no <Labels> marks regions.", _SUPPORTED))
    if sum(map(_may_be_passed_over, nodes)) > 1:
        found = [_among_others(control) for control in found]
    for flag in [c for c in found if len(c.labels) == 1 and c.kind in _TOLD_APART and not c.options.get("empty")]:
        found.remove(flag)
        refused.append(_nothing_to_tell_apart(flag))
    if not found:
        raise refused[0]
    sentences = tuple(f"{error} What annotators answer there is left to them." for error in refused)
    schema = Schema(tuple(found))
    names = tuple(node.get("name", "") for node in nodes)
    return Config(schema, sentences, _unread(schema, nodes, objects, headers), names)


@lru_cache(maxsize=64)
def hidden_at_times(label_config: str) -> frozenset[str]:
    """Names of the tags that annotators see only where they chose something; none where the config cannot be read.

    Label Studio drops what is suggested there when an annotation is submitted with the tag hidden.
    """
    try:
        root = ElementTree.fromstring(refuse.declarations(label_config))
    except (UnsupportedConfig, ElementTree.ParseError):
        return frozenset()
    _spell(root)
    outer = [node for node in root.iter() if node.get("visibleWhen")]
    return frozenset(name for node in outer for tag in node.iter() if (name := tag.get("name")))


def _check_shown(control: Control, shown_in: dict[str, tuple[str | None, ...]]) -> None:
    how = (control.object, control.options.get("text_key"), control.options.get("name_key"))
    for field in control.shown:
        if shown_in.setdefault(field, how) != how:
            raise UnsupportedConfig(
                f"The field {field!r}, which {control.name!r} is about, is shown by object tags of different kinds, or "
                "with other keys (textKey, nameKey).",
                "Show it by one, or import it under a second name.",
            )


def _nothing_to_tell_apart(control: Control) -> UnsupportedConfig:
    return UnsupportedConfig(
        f"{control.name!r} has one label, {control.labels[0]!r}, and an annotation without it may have passed it over: "
        "there is nothing to tell apart.",
        "Add a second label for the other tasks.",
    )


def _may_be_passed_over(node: Element) -> bool:
    """Whether a tag asks something that an annotator who leaves all empty may not have looked at: not so what is asked
    of marked regions, and texts that need not be written."""
    remark = kind_of(node) is KINDS[textarea.KIND] and not refuse.is_true(node, "required")
    return not remark and not refuse.is_true(node, "perRegion")


def _unread(
    schema: Schema, nodes: "list[Element]", found: "Mapping[str, ObjectTag]", headers: list[str]
) -> tuple[str, ...]:
    """The fields that are shown by tags of texts that no control is about, or by headers, and that are not read."""
    about = {name for node in nodes for name in node.get("toName", "").split(",")}
    texts = [tag for name, tag in found.items() if name not in about and str(tag.tag).lower() in objects.READERS]
    shown = [str(tag.value) for tag in texts] + headers
    fields = dict.fromkeys(value[1:] for value in shown if objects.FIELD.fullmatch(value))
    return tuple(name for name in fields if name not in schema.fields)


def _among_others(control: Control) -> Control:
    """The control without the option ``empty``: where several are asked, one that was left empty may have been passed
    over, which answers nothing."""
    return replace(control, options={k: v for k, v in control.options.items() if k != "empty"})


def _read(label_config: str) -> "tuple[list[Element], dict[str, ObjectTag], list[str]]":
    """The tags that ask something, the SDK's object tags by name, and what headers show."""
    if not label_config.strip():
        raise UnsupportedConfig("The project has no label config.", "Set up its labeling interface.")
    text = refuse.declarations(label_config)
    from label_studio_sdk.label_interface.interface import LabelInterface

    try:
        interface = LabelInterface(text)
        root = ElementTree.fromstring(text)
    except Exception as error:  # the SDK raises whatever its parsers raise; they have no base class in common
        raise UnsupportedConfig(f"The label config cannot be read: {error!s:.300}.", "Correct its XML.") from error
    _spell(root)
    by_name = {str(tag.name): tag for tag in interface.controls or ()}
    asking = {name for name, tag in by_name.items() if (tag.tag or "").lower() not in _AIDS}
    nodes = [node for node in root.iter() if node.get("name") in asking or _without_object(node)]
    if len({node.get("name") for node in nodes}) < len(nodes):
        raise UnsupportedConfig("Two tags of the label config have the same name.", "Give each a name of its own.")
    headers = [node.get("value", "") for node in root.iter() if node.tag.lower() == "header"]
    return nodes, {str(tag.name): tag for tag in interface.objects or ()}, headers


def _without_object(node: Element) -> bool:
    """Whether it is a control tag that the SDK does not take for one, since it is about nothing."""
    return bool(node.get("name")) and node.tag.lower() in TAGS and not node.get("toName")


def _spell(root: Element) -> None:
    """Give the attributes of all tags their usual spelling."""
    usual = {name.lower(): name for name in _ATTRIBUTES.split()}
    for node in root.iter():
        node.attrib = {usual.get(name.lower(), name): value for name, value in node.attrib.items()}


def _control(node: Element, found: "Mapping[str, ObjectTag]") -> Control:
    kind = kind_of(node)
    if kind is None:
        raise UnsupportedConfig(f"<{node.tag}> is not supported.", _SUPPORTED)
    to_name = node.get("toName", "")
    names = to_name.split(",")
    if not set(names) <= set(found):
        raise UnsupportedConfig(f'<{node.tag} toName="{to_name}"> does not name one object tag.', _SUPPORTED)
    tags = {(found[name].tag or "").lower() for name in names}
    if not tags <= kind.objects:
        raise UnsupportedConfig(f"<{node.tag}> on <{found[names[0]].tag}> is not supported.", _SUPPORTED)
    if len(tags) > 1:
        raise UnsupportedConfig(
            f'<{node.tag} toName="{to_name}"> is about object tags of different kinds, which is not supported.',
            "Show both in tags of one kind.",
        )
    labels, descriptions = kind.labels(node)
    if len(labels) > MAX_LABELS:
        raise UnsupportedConfig(f"<{node.tag}> has {len(labels)} labels; at most {MAX_LABELS} are supported.")
    options = {**kind.options(node), **objects.options_of(found[names[0]])}
    fields = [objects.field_of(node.tag, found[name]) for name in names] + list(options.pop("fields", ()))
    if len(set(fields)) < kind.reads:
        raise UnsupportedConfig(
            f"<{node.tag}> asks about the field {fields[0]!r} with that field itself.",
            "Name the field of the question.",
        )
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
