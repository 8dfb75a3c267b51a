"""Places in a text as Label Studio writes them in a region's ``value`` <-> characters of the text, in code points.

In a ``<Text>`` they are offsets. In ``<Paragraphs>`` they are an utterance's number, as a text, and an offset in it; in
``<HyperText>`` a text node and an offset in it, both of these in UTF-16 code units, as browsers count.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from backend.problems.schema import Content, Control
from backend.studio.hypertext import from_utf16, read_page, utf16

Value = Mapping[str, Any]


@dataclass(frozen=True)
class Places:
    """How places in one kind of object are written. ``read``: the characters ``[start, end)`` of a region, None where
    these are none of the text; ``write``: the part of a region's value that says them; ``near``: a character near to
    which a region begins that could not be read."""

    read: Callable[[Content, Value], tuple[int, int] | None]
    write: Callable[[Content, int, int], dict[str, Any]]
    near: Callable[[Content, Value], int] = lambda content, value: _number(value.get("start")) or 0


def place_in(kind: str, content: Content, value: Value) -> tuple[int, int] | None:
    """The characters that a region of an object of this ``kind`` covers, without spaces around them; None where there
    are none.

    Where the region's own ``text`` is not at its offsets (these count otherwise in some browsers and tools, or the task
    was changed since), the nearest place with this text is meant; where there is none, still the offsets if they are in
    several utterances, as far as the text can tell (:func:`_around`).
    """
    places = PLACES[kind]
    found = places.read(content, value)
    text, said = content.text, value.get("text")
    if isinstance(said, str) and said.strip() and (found is None or _bare(text[slice(*found)]) != _bare(said)):
        nearest = _nearest(text, said.strip(), found[0] if found else places.near(content, value))
        found = nearest or (found if found and _around(content, *found, said) else None)
    if found is None:
        return None
    start, end = found
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None


def region_id(control: Control, place: Sequence[int]) -> str:
    """Ten characters that name a region of one prediction."""
    return hashlib.sha256(f"{control.name}{list(place)}".encode()).hexdigest()[:10]


def _bare(text: str) -> str:
    """The text without white space: line breaks come back in several forms, one of them a backslash and an n."""
    return "".join(text.replace("\\n", "").split())


def _around(content: Content, start: int, end: int, said: str) -> bool:
    """Whether a text begins and ends as a place in several utterances does: what a browser selects has between them
    what the page shows there, such as times."""
    begins = [_begins(content, number) for number in range(len(content.texts))]
    first, last = (bisect_right(begins, at) - 1 for at in (start, end))
    head = _bare(content.text[start : begins[first] + len(content.texts[first])])
    tail, bare = _bare(content.text[begins[last] : end]), _bare(said)
    return first < last and head + tail != "" and bare.startswith(head) and bare[len(head) :].endswith(tail)


def _nearest(text: str, wanted: str, start: int) -> tuple[int, int] | None:
    """The occurrence of a text that begins nearest to ``start``."""
    after, before = text.find(wanted, start), text.rfind(wanted, 0, start + len(wanted))
    found = [at for at in (before, after) if at >= 0]
    at = min(found, key=lambda place: abs(place - start), default=None)
    return None if at is None else (at, at + len(wanted))


def _number(value: Any) -> int | None:
    """A whole number that is not negative, which may come as a text or a float."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 and not isinstance(value, bool) else None


def _read_text(content: Content, value: Value) -> tuple[int, int] | None:
    start, end = _number(value.get("start")), _number(value.get("end"))
    if start is None or end is None or not start < end <= len(content.text):
        return None
    return start, end


def _write_text(content: Content, start: int, end: int) -> dict[str, Any]:
    return {"start": start, "end": end, "text": content.text[start:end]}


def _read_paragraphs(content: Content, value: Value) -> tuple[int, int] | None:
    ends = []
    for side in ("start", "end"):
        number, offset = _number(value.get(side)), _number(value.get(f"{side}Offset"))
        if number is None or offset is None or number >= len(content.texts):
            return None
        text = content.texts[number]
        if offset > utf16(text):
            return None
        ends.append(_begins(content, number) + len(from_utf16(text, offset)))
    return (ends[0], ends[1]) if ends[0] < ends[1] else None


def _near_paragraph(content: Content, value: Value) -> int:
    return _begins(content, _number(value.get("start")) or 0)


def _begins(content: Content, number: int) -> int:
    """Where an utterance begins in the text of all."""
    return sum(len(text) + 1 for text in content.texts[:number])


def _write_paragraphs(content: Content, start: int, end: int) -> dict[str, Any]:
    begins = [_begins(content, number) for number in range(len(content.texts))]
    first = max(number for number, begin in enumerate(begins) if begin <= start)
    last = max(number for number, begin in enumerate(begins) if begin < end)
    return {
        "start": str(first),
        "end": str(last),
        "startOffset": utf16(content.text[begins[first] : start]),
        "endOffset": utf16(content.text[begins[last] : end]),
        "text": content.text[start:end],
    }


def _read_hypertext(content: Content, value: Value) -> tuple[int, int] | None:
    """By the text nodes, else by the global offsets."""
    page, overall = read_page(content.source), value.get("globalOffsets")
    ends: list[int | None] = []
    for side in ("start", "end"):
        offset = _number(value.get(f"{side}Offset"))
        found = page.at(str(value.get(side)), offset) if offset is not None else None
        everywhere = _number(overall.get(side)) if isinstance(overall, Mapping) else None
        ends.append(page.at_global(everywhere) if found is None and everywhere is not None else found)
    start, end = ends
    return None if start is None or end is None or start >= end else (start, end)


def _write_hypertext(content: Content, start: int, end: int) -> dict[str, Any]:
    return {**read_page(content.source).write(start, end), "text": content.text[start:end]}


PLACES: Mapping[str, Places] = MappingProxyType(
    {
        "text": Places(_read_text, _write_text),
        "paragraphs": Places(_read_paragraphs, _write_paragraphs, _near_paragraph),
        "hypertext": Places(_read_hypertext, _write_hypertext),
    }
)
