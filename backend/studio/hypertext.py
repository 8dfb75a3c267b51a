"""HTML as a browser has it: its text, and where in the document each piece of it is.

Label Studio names places in HTML by the XPath of a text node below the tag that shows it and an offset in this node, in
UTF-16 code units as browsers count, and keeps ``globalOffsets`` beside them, by which it goes where there is no such
node: an offset in all text nodes one behind the other, in code points, a ``<br>`` counting one.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lxml.etree import ParserError, XMLSyntaxError
from lxml.html import defs, fragment_fromstring

# Elements that stand on lines of their own: text of two of them is not one word.
_BLOCKS = (defs.block_tags - {"del", "ins"}) | {
    "article",
    "aside",
    "details",
    "figcaption",
    "figure",
    "footer",
    "header",
}
_BLOCKS |= {"main", "nav", "section", "summary"}
_HIDDEN = {"script", "style", "iframe", "template", "noscript"}


@dataclass(frozen=True)
class Piece:
    """A text node: its ``path`` and ``text``, where it ``begins`` in the page's text, and its global ``offset``."""

    path: str
    text: str
    begins: int
    offset: int


@dataclass(frozen=True)
class Page:
    """The text of a page, with line breaks between blocks, and the text nodes that it is made of, in order."""

    text: str
    pieces: tuple[Piece, ...]

    def write(self, start: int, end: int) -> dict[str, Any]:
        """How Label Studio names the characters ``[start, end)``, at least one of which is in a text node."""
        inside = [p for p in self.pieces if p.text and p.begins < end and start < p.begins + len(p.text)]
        first, last = inside[0], inside[-1]
        left, right = max(0, start - first.begins), end - last.begins
        return {
            "start": first.path,
            "end": last.path,
            "startOffset": utf16(first.text[:left]),
            "endOffset": utf16(last.text[:right]),
            "globalOffsets": {"start": first.offset + left, "end": last.offset + right},
        }

    def at(self, path: str, offset: int) -> int | None:
        """The character at a place in the text node with this path; None where there is none."""
        piece = next((p for p in self.pieces if p.path == path), None)
        return None if piece is None else piece.begins + len(from_utf16(piece.text, offset))

    def at_global(self, offset: int) -> int | None:
        """The character at a global offset; None beyond the end."""
        for piece in self.pieces:
            if piece.offset <= offset <= piece.offset + len(piece.text):
                return piece.begins + offset - piece.offset
        return None


def utf16(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def from_utf16(text: str, units: int) -> str:
    """The beginning of a text that has so many UTF-16 code units."""
    return text.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "ignore")


@lru_cache(maxsize=256)
def read_page(source: str) -> Page:
    """The page of an HTML fragment; without any text where it cannot be parsed."""
    try:
        root = fragment_fromstring(source, create_parent="div")  # type: ignore[no-untyped-call]
    except (ParserError, XMLSyntaxError, ValueError, AssertionError):  # the last: a document without one <body>
        return Page("", ())
    text, pieces, offset, fresh = "", [], 0, False
    for path, part in _walk(root, ""):
        if path is None:  # a line break, or the border of a block
            fresh = True
            offset += part == "br"
            continue
        if fresh and text:
            text += "\n"
        fresh = False
        pieces.append(Piece(path, part, len(text), offset))
        text += part
        offset += len(part)
    return Page(text, tuple(pieces))


def _walk(element: Any, path: str) -> Iterator[tuple[str | None, str]]:
    """Text nodes with their paths, in order; None for what ends a line, with ``br`` where that is a character."""
    seen: Counter[str] = Counter()
    if element.text:
        seen["text()"] += 1
        yield f"{path}/text()[1]", element.text
    for child in element:
        if isinstance(child.tag, str) and child.tag not in _HIDDEN:
            seen[child.tag] += 1
            if child.tag in _BLOCKS or child.tag == "br":
                yield None, child.tag
            yield from _walk(child, f"{path}/{child.tag}[{seen[child.tag]}]")
            if child.tag in _BLOCKS:
                yield None, ""
        if child.tail:
            seen["text()"] += 1
            yield f"{path}/text()[{seen['text()']}]", child.tail
