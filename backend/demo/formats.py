"""The forms of a line in a labelled file, one for each kind of control: what it holds, and the label config for it.

A further form is one entry in :data:`FORMATS`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from backend.errors import UserError
from backend.studio.number import LARGEST
from backend.studio.objects import HALF_A_PAIR, read_list

NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
STARS, MOST_STARS = 5, 100

Result = list[dict[str, Any]]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Labelled:
    """A task's data and the result that a person gave it; ``name`` is what messages call it; ``annotations``: all that
    people gave it, in an export, of which ``result`` is the last."""

    data: Mapping[str, Any]
    result: Result
    name: str = field(default="", compare=False)
    annotations: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    @classmethod
    def choice(cls, text: str, label: str) -> "Labelled":
        """A text with one label of the config of :func:`choices_config`."""
        value = {"choices": [label]}
        return cls({"text": text}, [{"from_name": "label", "to_name": "text", "type": "choices", "value": value}])

    @classmethod
    def choices(cls, text: str, labels: Sequence[str]) -> "Labelled":
        """A text with any number of labels of the config of :func:`multiple_config`; without any it is left empty."""
        value = {"choices": list(dict.fromkeys(labels))}
        region = {"from_name": "label", "to_name": "text", "type": "choices", "value": value}
        return cls({"text": text}, [region] if labels else [])

    @classmethod
    def written(cls, source: str, texts: Sequence[str]) -> "Labelled":
        """A text with one or more texts that answer it, of the config :data:`TEXT_CONFIG`."""
        region = {"from_name": "target", "to_name": "source", "type": "textarea", "value": {"text": list(texts)}}
        return cls({"source": source}, [region])

    @classmethod
    def spans(cls, text: str, spans: Sequence[Mapping[str, Any]]) -> "Labelled":
        """A text with labelled spans of the config of :func:`spans_config`; without any it is left empty."""
        regions = []
        for span in spans:
            start, end = span["start"], span["end"]
            value = {"start": start, "end": end, "text": text[start:end], "labels": [span["label"]]}
            regions.append({"from_name": "label", "to_name": "text", "type": "labels", "value": value})
        return cls({"text": text}, regions)

    @classmethod
    def question(cls, question: str, context: str, spans: Sequence[tuple[int, int]]) -> "Labelled":
        """A question and a text with the places of its answers, of the config of :data:`QUESTION_CONFIG`; without any
        it is left empty."""
        values = [{"start": s, "end": e, "text": context[s:e], "labels": ["Answer"]} for s, e in dict.fromkeys(spans)]
        about = {"from_name": "answer", "to_name": "context", "type": "labels"}
        return cls({"question": question, "context": context}, [{**about, "value": value} for value in values])

    @classmethod
    def value(cls, text: str, name: str, value: Any) -> "Labelled":
        """A text and what the control of that name says of it, whose results have its name as type and key."""
        return cls({"text": text}, [{"from_name": name, "to_name": "text", "type": name, "value": {name: value}}])

    @classmethod
    def pair(cls, left: str, right: str, preferred: str) -> "Labelled":
        """Two texts and which of them is preferred in the config of :data:`PAIRWISE_CONFIG`; left empty for ``tie``."""
        value = {"selected": preferred}
        region = {"from_name": "preferred", "to_name": "left", "type": "pairwise", "value": value}
        return cls({"left": left, "right": right}, [region] if preferred != "tie" else [])

    @classmethod
    def ranked(cls, items: Sequence[Mapping[str, Any]], ranking: Sequence[str | int]) -> "Labelled":
        """Entries of a list and their ids in order, best first, in the config of :data:`RANKER_CONFIG`."""
        value = {"ranker": {"ranking": [str(name) for name in ranking]}}
        return cls({"items": items}, [{"from_name": "ranking", "to_name": "items", "type": "ranker", "value": value}])


@dataclass(frozen=True)
class Format:
    """One form of JSON lines. ``keys``: those by which it is known; ``check``: raises ValueError that says what is
    wrong with a line; ``labelled``: the task of a line; ``config``: the label config for all lines."""

    keys: frozenset[str]
    check: Callable[[Row], None]
    labelled: Callable[[Row], Labelled]
    config: Callable[[Sequence[Row]], str]


def labels_of(tasks: Iterable[Labelled]) -> set[str]:
    """The distinct labels of the tasks' results, whatever their control; texts that were written are none."""
    found: set[str] = set()
    for task in tasks:
        for region in (r for r in task.result if r.get("type") != "textarea"):
            for value in (region.get("value") or {}).values():
                found |= {v for v in value if isinstance(v, str)} if isinstance(value, list) else set()
    return found


def check_answered(path: Path, tasks: Iterable[Labelled]) -> None:
    """Raises UserError, which names the file, where all tasks are left empty: some label configs then have no label."""
    if not any(task.result for task in tasks):
        raise UserError(f"{path}: no line has a label, a span, an answer or a preference, so nothing can be learned.")


def most_stars(tasks: Iterable[Labelled]) -> int:
    """The highest rating of the tasks' results, at least the usual five."""
    ratings = (region["value"]["rating"] for task in tasks for region in task.result if region.get("type") == "rating")
    return int(max([STARS, *ratings]))


def choices_config(labels: Sequence[str]) -> str:
    """A label config that asks for one of ``labels`` on the field ``text``."""
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return (
        '<View>\n  <Text name="text" value="$text"/>\n'
        f'  <Choices name="label" toName="text" choice="single">\n{choices}\n  </Choices>\n</View>\n'
    )


ONE_AT_LEAST = 'required="true"'


def multiple_config(rows: Sequence[Row]) -> str:
    """A label config that asks for any number of the rows' labels; for one at least where each row has one."""
    labels = sorted({label for row in rows for label in row["labels"]})
    several = 'choice="multiple"' + (f" {ONE_AT_LEAST}" if all(row["labels"] for row in rows) else "")
    return choices_config(labels).replace('choice="single"', several, 1)


def spans_config(rows: Sequence[Row]) -> str:
    """A label config that asks for spans with the rows' labels in the field ``text``."""
    names = sorted({span["label"] for row in rows for span in row["spans"]})
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in names)
    return (
        f'<View>\n  <Labels name="label" toName="text">\n{labels}\n  </Labels>\n'
        '  <Text name="text" value="$text"/>\n</View>\n'
    )


def check_spans(row: Row) -> None:
    """Raises ValueError where ``spans`` is no list of places in ``text`` with a label."""
    check_texts("text")(row)
    spans = row["spans"]
    if not isinstance(spans, list) or not all(isinstance(span, Mapping) for span in spans):
        raise ValueError("`spans` must be a list of objects with `start`, `end` and `label`")
    for span in spans:
        start, end, label = (span.get(key) for key in ("start", "end", "label"))
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(row["text"]):
            raise ValueError(f"the span from {start} to {end} is no place in the text of {len(row['text'])} characters")
        if not isinstance(label, str) or not label.strip():
            raise ValueError("each span needs a `label`, a text that is not empty")
        check_storable("label", label)


TEXT_CONFIG = """<View>
  <Text name="source" value="$source"/>
  <TextArea name="target" toName="source" editable="true" rows="4"/>
</View>
"""


def check_written(row: Row) -> None:
    """Raises ValueError where ``source`` or ``target`` is no text, or ``references`` no list of texts."""
    check_texts("source", "target")(row)
    references = row.get("references", [])
    if not isinstance(references, list) or not all(isinstance(text, str) and text.strip() for text in references):
        raise ValueError("`references` must be a list of texts that are not empty")
    for text in references:
        check_whole("references", text)


def check_labels(row: Row) -> None:
    """Raises ValueError where ``labels`` is no list of texts, or ``text`` is no text."""
    check_texts("text")(row)
    labels = row["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
        raise ValueError("`labels` must be a list of texts that are not empty")
    for label in labels:
        check_storable("labels", label)


def check_label(row: Row) -> None:
    """Raises ValueError where ``label`` is no label, or ``text`` is no text."""
    check_texts("text", "label")(row)
    check_storable("label", row["label"])


def check_storable(key: str, label: str) -> None:
    """Raises ValueError for a label that no label config can hold."""
    check_whole(key, label)
    if label.startswith("$"):
        raise ValueError(
            f"`{key}` has {label!r}: in a label config a label that begins with $ stands for a field of the task"
        )
    if found := NOT_IN_XML.search(label):
        raise ValueError(f"`{key}` holds {found[0]!r}, which no label config can store")


def check_whole(key: str, text: str) -> None:
    """Raises ValueError for half of a surrogate pair."""
    if HALF_A_PAIR.search(text):
        raise ValueError(f"`{key}` holds half of a surrogate pair, which no encoding can store")


def check_texts(*keys: str) -> Callable[[Row], None]:
    """What checks that the values of these keys are texts which are not empty."""

    def check(row: Row) -> None:
        for key in keys:
            if not isinstance(row[key], str) or not row[key].strip():
                raise ValueError(f"`{key}` must be a text that is not empty")
            check_whole(key, row[key])

    return check


QUESTION_CONFIG = """<View>
  <Header value="$question"/>
  <Text name="context" value="$context"/>
  <Labels name="answer" toName="context" question="$question">
    <Label value="Answer"/>
  </Labels>
</View>
"""


def check_rating(row: Row) -> None:
    """Raises ValueError where ``rating`` is no number of stars, or ``text`` is no text."""
    check_texts("text")(row)
    stars = row["rating"]
    if not isinstance(stars, int) or isinstance(stars, bool) or not 1 <= stars <= MOST_STARS:
        raise ValueError(f"`rating` must be a whole number from 1 to {MOST_STARS}")


def rating_config(rows: Sequence[Row]) -> str:
    """A label config that asks for stars on the field ``text``: five, or as many as the rows have at most."""
    most = max(STARS, *(row["rating"] for row in rows))
    return _asking(f'<Rating name="rating" toName="text" maxRating="{most}"/>')


def check_number(row: Row) -> None:
    """Raises ValueError where ``number`` is no number, or too large, or ``text`` is no text."""
    check_texts("text")(row)
    number = row["number"]
    if not isinstance(number, int | float) or isinstance(number, bool) or not abs(number) <= LARGEST:
        raise ValueError("`number` must be a number from -1e30 to 1e30")


def number_config(rows: Sequence[Row]) -> str:
    """A label config that asks for a number between the rows' least and largest on the field ``text``."""
    numbers = [row["number"] for row in rows]
    ends = f'min="{min(numbers)}" max="{max(numbers)}"' if min(numbers) < max(numbers) else ""
    return _asking(f'<Number name="number" toName="text" {ends}/>')


def check_pair(row: Row) -> None:
    """Raises ValueError where ``left`` or ``right`` is no text, or ``preferred`` neither of them nor ``tie``."""
    check_texts("left", "right")(row)
    if row["preferred"] not in ("left", "right", "tie"):
        raise ValueError("`preferred` must be left, right or tie")


PAIRWISE_CONFIG = """<View>
  <Pairwise name="preferred" toName="left,right"/>
  <Text name="left" value="$left"/>
  <Text name="right" value="$right"/>
</View>
"""


def question(row: Row) -> Labelled:
    """The task of a line with ``answer`` and perhaps ``answers``, all that are acceptable."""
    given = list(filter(None, row.get("answers") or [])) or list(filter(None, [row["answer"]]))
    return Labelled.question(row["question"], row["context"], [(a["start"], a["end"]) for a in given])


def check_question(row: Row) -> None:
    """Raises ValueError where a text is none, or an answer is no place in the context."""
    check_texts("question", "context")(row)
    answers = row.get("answers") or []
    for answer in [row["answer"], *(answers if isinstance(answers, list) else [answers])]:
        if answer is None:
            continue
        if not isinstance(answer, dict) or not {"text", "start", "end"} <= set(answer):
            raise ValueError("`answer` must be null or have `text`, `start` and `end`")
        start, end = answer["start"], answer["end"]
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(row["context"]):
            raise ValueError(f"`answer` is no place in `context`: {start} to {end}")
        if row["context"][start:end] != answer["text"] or not answer["text"].strip():
            raise ValueError(f"`context` has {row['context'][start:end]!r} at {start}, not {answer['text']!r}")


def check_ranking(row: Row) -> None:
    """Raises ValueError where ``items`` are no entries of a list, or ``ranking`` are not all of their ids."""
    try:
        names = read_list("items", row["items"], {}).names
    except UserError as error:
        raise ValueError(str(error).rstrip(".")) from None
    ranking = row["ranking"]
    if not isinstance(ranking, list) or sorted(map(str, ranking)) != sorted(names):
        raise ValueError("`ranking` must be a list of the ids of all items, best first")


RANKER_CONFIG = """<View>
  <List name="items" value="$items"/>
  <Ranker name="ranking" toName="items"/>
</View>
"""


def _asking(control: str) -> str:
    return f'<View>\n  <Text name="text" value="$text"/>\n  {control}\n</View>\n'


FORMATS: list[Format] = [
    Format(
        frozenset({"text", "label"}),
        check_label,
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
        frozenset({"text", "spans"}),
        check_spans,
        lambda row: Labelled.spans(row["text"], row["spans"]),
        spans_config,
    ),
    Format(frozenset({"question", "context", "answer"}), check_question, question, lambda _: QUESTION_CONFIG),
    Format(
        frozenset({"text", "rating"}),
        check_rating,
        lambda row: Labelled.value(row["text"], "rating", row["rating"]),
        rating_config,
    ),
    Format(
        frozenset({"text", "number"}),
        check_number,
        lambda row: Labelled.value(row["text"], "number", row["number"]),
        number_config,
    ),
    Format(
        frozenset({"left", "right", "preferred"}),
        check_pair,
        lambda row: Labelled.pair(row["left"], row["right"], row["preferred"]),
        lambda rows: PAIRWISE_CONFIG,
    ),
    Format(
        frozenset({"items", "ranking"}),
        check_ranking,
        lambda row: Labelled.ranked(row["items"], row["ranking"]),
        lambda rows: RANKER_CONFIG,
    ),
    Format(
        frozenset({"source", "target"}),
        check_written,
        lambda row: Labelled.written(row["source"], row.get("references") or [row["target"]]),
        lambda _: TEXT_CONFIG,
    ),
]
