"""What label configs cannot ask here, whatever the kind of control."""

import re
from xml.etree.ElementTree import Element

from backend.errors import UnsupportedConfig

# comments and what stands between <? and ?>; a CDATA section, in which neither is one, first and as a group
_ASIDE = re.compile(r"(<!\[CDATA\[.*?(?:\]\]>|\Z))|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)", re.DOTALL)


def declarations(label_config: str) -> str:
    """The config without comments and XML declaration. Raises UnsupportedConfig where it declares anything else: it
    could grow or name files."""
    text = _ASIDE.sub(lambda found: found[1] or "", label_config)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UnsupportedConfig("The label config declares a document type or entities.", "Remove the declaration.")
    return text


def is_true(element: Element, name: str) -> bool:
    """Whether an attribute is set."""
    return element.get(name, "false").lower() == "true"


def set_to_true(element: Element, *names: str) -> None:
    """Raises UnsupportedConfig for a tag that has one of these attributes set."""
    for name in names:
        if is_true(element, name):
            raise UnsupportedConfig(f'<{element.tag} {name}="true"> is not supported.', f"Remove {name}.")


def unless_about_the_task(element: Element) -> None:
    """Raises UnsupportedConfig for a tag that asks about regions, about items, or about several objects at once."""
    set_to_true(element, "perRegion", "perItem")
    if "," in element.get("toName", ""):
        raise UnsupportedConfig(
            f'<{element.tag} toName="{element.get("toName")}"> is not supported.', "Name one object tag."
        )


def labels_from_outside(element: Element) -> None:
    """Raises UnsupportedConfig for a tag whose labels come from the task or from an address."""
    for name in ("value", "apiUrl"):
        if element.get(name):
            raise UnsupportedConfig(
                f"<{element.tag} {name}=…> takes its labels from outside the config, which is not supported.",
                "Write them as tags inside it.",
            )
