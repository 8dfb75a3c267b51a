"""Object tags: which field of a task's data they show, and what is read there."""

import re
from collections.abc import Callable, Mapping
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


READERS: Mapping[str, Callable[[str, Any], Content]] = MappingProxyType({"text": read_text})  # by tag in lower case
