"""Object tags: which field of a task's data they show, and what is read there."""

import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from backend.errors import UnsupportedConfig, UserError
from backend.problems.schema import Content

if TYPE_CHECKING:
    from label_studio_sdk.label_interface.object_tags import ObjectTag

_FIELD = re.compile(r"\$[\w-]+")


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
    if not _FIELD.fullmatch(str(found.value)):
        raise UnsupportedConfig(
            f'<{tag} value="{found.value}"> is not supported.', 'Name one field of the data, such as value="$text".'
        )
    return str(found.value)[1:]


def read_text(field: str, value: Any) -> Content:
    """The text, as it is. A text that looks like an address or a path is a text: nothing is ever fetched."""
    if not isinstance(value, str):
        raise UserError(f"The task's field {field!r} holds no text but {type(value).__name__}.")
    if not value.strip():
        raise UserError(f"The task's field {field!r} is empty.")
    return Content((value,))


def read_list(field: str, value: Any) -> Content:
    """The entries of a list by their ids: title and body, or the text of ``html``, of each."""
    if not isinstance(value, list) or not value:
        raise UserError(f"The task's field {field!r} holds no list with entries.")
    texts, names = zip(*(_entry(field, entry) for entry in value), strict=True)
    if len(set(names)) < len(names):
        raise UserError(f"The task's field {field!r} has two entries with the same id.")
    return Content(tuple(texts), tuple(names))


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
    """The text between tags, in one line."""
    if not isinstance(html, str):
        return ""
    parser = _Texts()
    parser.feed(html)
    parser.close()
    return " ".join(" ".join(parser.found).split())


class _Texts(HTMLParser):
    """Gathers the texts between tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


# by tag in lower case
READERS: Mapping[str, Callable[[str, Any], Content]] = MappingProxyType({"text": read_text, "list": read_list})
