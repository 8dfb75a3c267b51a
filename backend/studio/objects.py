"""Object tags: which field of a task's data they show, and what is read there."""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from backend.errors import UnsupportedConfig, UserError
from backend.problems.schema import Content
from backend.studio.hypertext import read_page

if TYPE_CHECKING:
    from label_studio_sdk.label_interface.object_tags import ObjectTag

FIELD = re.compile(r"\$[\w-]+")
HALF_A_PAIR = re.compile("[\ud800-\udfff]")  # of surrogates: an emoji cut by a limit, say; no encoding can store it


def field_of(control_tag: str, found: "ObjectTag") -> str:
    """The key of the task's data that an object tag shows. Raises UnsupportedConfig for what cannot be read."""
    tag, attributes = str(found.tag), found.attr or {}
    if tag.lower() not in READERS:
        raise UnsupportedConfig(f"<{control_tag}> on <{tag}> is not supported.", f"Known: {', '.join(READERS)}.")
    if (found.value_type or "text") == "url":
        raise UnsupportedConfig(
            f'<{tag} valueType="{found.value_type}"> is not supported: nothing is ever fetched.',
            "Import the texts themselves and remove valueType.",
        )
    if attributes.get("encoding", "none") != "none":
        raise UnsupportedConfig(
            f'<{tag} encoding="{attributes["encoding"]}"> is not supported.', "Import plain texts and remove encoding."
        )
    if not FIELD.fullmatch(str(found.value)):
        raise UnsupportedConfig(
            f'<{tag} value="{found.value}"> is not supported.', 'Name one field of the data, such as value="$text".'
        )
    return str(found.value)[1:]


def options_of(found: "ObjectTag") -> dict[str, str]:
    """What has to be known to read the data of an object tag: ``text_key`` and ``name_key`` of an utterance, where they
    are not the usual ones."""
    if str(found.tag).lower() != "paragraphs":
        return {}
    attributes = {name.lower(): value for name, value in (found.attr or {}).items()}
    named = {"text_key": attributes.get("textkey"), "name_key": attributes.get("namekey")}
    return {name: str(value) for name, value in named.items() if value and value != _UTTERANCE[name]}


def _whole(field: str, content: Content) -> Content:
    """The content. Raises UserError for half of a surrogate pair, which no tokenizer takes."""
    if any(map(HALF_A_PAIR.search, content.texts + content.names)):
        raise UserError(f"The task's field {field!r} holds half of a surrogate pair.", "Import whole text.")
    return content


def read_text(field: str, value: Any, options: Mapping[str, Any]) -> Content:
    """The text, as it is, or a number as text: an import of a table makes numbers of columns that hold nothing else. A
    text that looks like an address or a path is a text: nothing is ever fetched."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = str(int(value)) if value == int(value) else repr(value)  # as Label Studio shows it
    if not isinstance(value, str):
        raise UserError(f"The task's field {field!r} holds no text but {type(value).__name__}.")
    if not value.strip():
        raise UserError(f"The task's field {field!r} is empty.")
    return _whole(field, Content((value,)))


def read_paragraphs(field: str, value: Any, options: Mapping[str, Any]) -> Content:
    """The utterances of a dialogue and who said them; a plain text is one utterance for each of its lines, as Label
    Studio shows it."""
    text_key, name_key = (str(options.get(name, usual)) for name, usual in _UTTERANCE.items())
    if isinstance(value, str):
        value = [{text_key: line} for line in value.split("\n")]
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise UserError(
            f"The task's field {field!r} holds no dialogue.",
            f'Such as [{{"{name_key}": "Ann", "{text_key}": "Hello"}}].',
        )
    texts = tuple(str(one.get(text_key) or "") for one in value)
    if not any(text.strip() for text in texts):
        raise UserError(f"The task's field {field!r} has no utterance with a {text_key!r}.")
    return _whole(field, Content(texts, tuple(str(one.get(name_key) or "") for one in value)))


def read_hypertext(field: str, value: Any, options: Mapping[str, Any]) -> Content:
    """The text of an HTML page, without what a browser does not show; nothing that it names is ever fetched."""
    source = read_text(field, value, options).text
    page = read_page(source)
    if not page.text.strip():
        raise UserError(f"The task's field {field!r} holds HTML without text.")
    return Content((page.text,), source=source)


def read_list(field: str, value: Any, options: Mapping[str, Any]) -> Content:
    """The entries of a list by their ids: title and body, or the text of ``html``, of each."""
    if not isinstance(value, list) or not value:
        raise UserError(f"The task's field {field!r} holds no list with entries.")
    texts, names = zip(*(_entry(field, entry) for entry in value), strict=True)
    if len(set(names)) < len(names):
        raise UserError(f"The task's field {field!r} has two entries with the same id.")
    return _whole(field, Content(tuple(texts), tuple(names)))


def _entry(field: str, entry: Any) -> tuple[str, str]:
    """Text and id of an entry; ids are texts, as Label Studio has them in results."""
    name = entry.get("id") if isinstance(entry, Mapping) else None
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise UserError(f"The task's field {field!r} has an entry without an id.")
    shown = [entry.get("title"), entry.get("body"), _text_of(entry.get("html"))]
    text = "\n".join(part for part in shown if isinstance(part, str) and part.strip())
    if not text:
        raise UserError(f"The entry {name!r} of the task's field {field!r} has no text.")
    return text, str(name)


def _text_of(html: Any) -> str:
    """The text of HTML, in one line."""
    return " ".join(read_page(html).text.split()) if isinstance(html, str) and html.strip() else ""


_UTTERANCE = {"text_key": "text", "name_key": "author"}

# By tag in lower case: field, its value, and the options of the control that reads it.
Reader = Callable[[str, Any, Mapping[str, Any]], Content]
READERS: Mapping[str, Reader] = MappingProxyType(
    {"text": read_text, "hypertext": read_hypertext, "paragraphs": read_paragraphs, "list": read_list}
)
