"""What tags of several kinds cannot be asked here."""

from xml.etree.ElementTree import Element

from backend.errors import UnsupportedConfig


def unless_about_the_task(element: Element) -> None:
    """Raises UnsupportedConfig for a tag that asks about regions, about items, or about several objects at once."""
    for name in ("perRegion", "perItem"):
        if element.get(name, "false").lower() == "true":
            raise UnsupportedConfig(f'<{element.tag} {name}="true"> is not supported.', f"Remove {name}.")
    if "," in element.get("toName", ""):
        raise UnsupportedConfig(
            f'<{element.tag} toName="{element.get("toName")}"> is not supported.', "Name one object tag."
        )
