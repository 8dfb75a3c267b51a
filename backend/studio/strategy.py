"""The strategy that a label config names: ``<View strategy="badge">``, for this project in place of ``STRATEGY``.

Label Studio keeps and ignores attributes that it does not know, so nothing else has to be told; and the attribute is no
part of the schema, so that versions stay valid when it changes. A name that cannot be used is a sentence, never an
error: annotators go on with the setting's strategy.
"""

from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree

from backend.active.selection import fails, parse
from backend.errors import UnsupportedConfig
from backend.studio import refuse

ATTRIBUTE = "strategy"
MAX_CHARS = 200
_HINT = f'Correct or remove the attribute {ATTRIBUTE} in the labeling interface, such as <View {ATTRIBUTE}="badge">.'


@dataclass(frozen=True)
class Chosen:
    """The strategy in use and where its name is from: ``label config`` or ``setting``.

    ``problem``: why the label config's is not used, with all known names; empty where it is, or where it names none.
    """

    name: str
    source: str
    problem: str = ""

    @property
    def hint(self) -> str:
        """What to do about the problem."""
        return f"{_HINT} Until then {self.name!r} (the setting) is used." if self.problem else ""


@lru_cache(maxsize=64)
def strategy_of(label_config: str, setting: str) -> Chosen:
    """What the config names on its first tag or on a control tag, where that can be used; else ``setting``."""
    named = _named(label_config)
    if not named:
        return Chosen(setting, "setting")
    if len(named) > 1:
        return Chosen(setting, "setting", f"The label config names several strategies: {', '.join(map(repr, named))}.")
    if len(named[0]) > MAX_CHARS:
        return Chosen(setting, "setting", f"The label config's strategy has more than {MAX_CHARS} characters.")
    try:
        plan = parse(named[0])
        reason = fails(plan)
    except ValueError as error:
        reason = str(error)
    if reason:
        return Chosen(setting, "setting", f"The label config's strategy cannot be used: {reason}.")
    return Chosen(plan.name, "label config")


def _named(label_config: str) -> list[str]:
    """The distinct names in the config; none where it cannot be read, of which others say why."""
    try:
        root = ElementTree.fromstring(refuse.declarations(label_config))
    except (UnsupportedConfig, ElementTree.ParseError):
        return []
    tags = [root, *(tag for tag in root.iter() if tag.get("toName"))]
    return sorted({tag.get(ATTRIBUTE, "").strip() for tag in tags} - {""})
