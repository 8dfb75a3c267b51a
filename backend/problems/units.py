"""The units of a text that get a tag each: words, or tokens where words are not set apart by spaces.

Offsets are characters (Unicode code points) of the text.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.problems.schema import Floats

if TYPE_CHECKING:
    from backend.models.encoder import Encoder
    from backend.models.tokens import Tokens

Ints = NDArray[np.int64]

# First and last code points of scripts that are written without spaces between words.
_DENSE = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # Chinese radicals
    (0x3005, 0x30FF),  # Hiragana, Katakana
    (0x3130, 0x9FFF),  # Bopomofo, Chinese
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True)
class Units:
    """A text as the model reads it. ``sequences``: the token ids of each window; ``places`` (T, 2): window and place in
    it of each token that counts; ``unit`` (T,): the unit that each of these is of; ``offsets`` (U, 2): where the units
    begin and end."""

    sequences: list[list[int]]
    places: Ints
    unit: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets)

    def between(self, start: int, end: int) -> tuple[int, int]:
        """First unit, and unit after the last, that share characters with ``[start, end)``."""
        first = int(np.searchsorted(self.offsets[:, 1], start, side="right"))
        last = int(np.searchsorted(self.offsets[:, 0], end, side="left"))
        return first, max(first, last)

    def exact(self, start: int, end: int) -> bool:
        """Whether units begin at ``start`` and end at ``end``."""
        return start in self.offsets[:, 0] and end in self.offsets[:, 1]


def units_of(tokens: "Tokens", text: str, *, words: bool) -> Units:
    """The units of a text; where windows overlap, a token counts in the one that has more of its surroundings."""
    windows = tokens.windows(text)
    places, offsets = [], []
    begins = [int(w.offsets[w.inside, 0].min(initial=len(text))) for w in windows]
    ends = [int(w.offsets[w.inside, 1].max(initial=0)) for w in windows]
    cuts = [0, *((b + e) // 2 for b, e in zip(begins[1:], ends[:-1], strict=True)), len(text)]
    for number, window in enumerate(windows):
        for place in np.flatnonzero(window.inside).tolist():
            start, end = _trimmed(text, *window.offsets[place].tolist())
            if start < end and cuts[number] <= window.offsets[place, 0] < cuts[number + 1]:
                places.append((number, place))
                offsets.append((start, end))
    unit, spans = _grouped(text, offsets, words=words)
    return Units(
        [w.ids for w in windows],
        np.array(places, np.int64).reshape(-1, 2),
        np.array(unit, np.int64),
        np.array(spans, np.int64).reshape(-1, 2),
    )


def unit_logits(encoder: "Encoder", head: LinearHead, units: Sequence[Units]) -> list[Floats]:
    """The logits (U, K) that a head has for the units of each text, before its temperature: the mean of their tokens',
    as in training. They are those of the mean hidden states, which would be as many times larger as D is than K."""
    sequences: list[list[int]] = []
    at, borders = [np.zeros((0, 3), np.int64)], [0]
    for one in units:
        at.append(np.column_stack([one.places, one.unit]) + np.array([len(sequences), 0, borders[-1]]))
        sequences += one.sequences
        borders.append(borders[-1] + len(one))
    return np.split(row_means(encoder, sequences, np.concatenate(at), borders[-1], head), borders)[1:-1]


def row_means(
    encoder: "Encoder", sequences: Sequence[list[int]], at: Ints, rows: int, head: LinearHead | None = None
) -> Floats:
    """The mean hidden states (R, D) of the tokens of so many ``rows``, or the mean logits (R, K) that a head has for
    them. ``at`` (T, 3): sequence, place in it and row of each token; each row has one."""
    at = at[np.argsort(at[:, 0], kind="stable")]
    read, begins = np.unique(at[:, 0], return_index=True)
    tokens = np.split(at[:, 1:], begins)[1:]
    sums = np.zeros((rows, encoder.dim if head is None else len(head.bias)), np.float32)
    for number, states in encoder.hidden([sequences[sequence] for sequence in read]):
        place, row = tokens[number].T
        np.add.at(sums, row, states[place] if head is None else head.logits(states[place]))
    sums /= np.bincount(at[:, 2], minlength=rows)[:, None]
    return sums


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the spaces that some tokenizers count in, with the combining marks that some leave out."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while start < end < len(text) and unicodedata.category(text[end])[0] == "M":
        end += 1
    return start, end


def _grouped(text: str, offsets: Sequence[tuple[int, int]], *, words: bool) -> tuple[list[int], list[tuple[int, int]]]:
    """The unit of each token, and where the units begin and end."""
    unit: list[int] = []
    spans: list[tuple[int, int]] = []
    for start, end in offsets:
        if spans and (start < spans[-1][1] or (start == spans[-1][1] and _joined(text, start, words=words))):
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
        unit.append(len(spans) - 1)
    return unit, spans


def _joined(text: str, at: int, *, words: bool) -> bool:
    """Whether the characters before and at a place belong to one character or, where these are units, to one word."""
    if unicodedata.category(text[at])[0] == "M" or "\u200d" in text[at - 1 : at + 1]:
        return True
    return words and all(_in_word(character) for character in text[at - 1 : at + 1])


def _in_word(character: str) -> bool:
    code = ord(character)
    return unicodedata.category(character)[0] in "LNM" and not any(low <= code <= high for low, high in _DENSE)
