"""How near each sentence of a text is to a question: where its answer is to be looked for, before any is known.

The base model knows this without a label; a handful of answers could not teach it. Retrieval before reading: Chen et
al., Reading Wikipedia to Answer Open-Domain Questions, 2017.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.active.calibration import fit_temperature

if TYPE_CHECKING:
    from backend.models.encoder import Encoder

SHORTEST = 20  # bytes of UTF-8, of which Chinese has fewer characters; what is shorter goes with the next ("U.S.")
SCALE = 10.0  # of cosines: what a temperature is fitted to has the size of logits
USUAL = 1.0  # the sharpness before there is an answer
PRIOR = 3.0  # nats that another one costs

_END = re.compile(r"[.!?…。！？؟।\n]+[\"'”’)\]»]*\s*")


@dataclass(frozen=True)
class Nearness:
    """Of one text: the ``borders`` (S + 1,) between its sentences, in characters, and the ``cosines`` (S,), of each
    sentence and the question, times ``SCALE``."""

    borders: NDArray[np.int64]
    cosines: NDArray[np.float64]

    def at(self, offsets: NDArray[np.int64], sharpness: float) -> NDArray[np.float64]:
        """What the tokens of a window with these ``offsets`` (T, 2) have ahead of others, as logits (T,) of at most 0:
        nothing in the nearest sentence."""
        sentence = np.clip(np.searchsorted(self.borders, offsets[:, 0], side="right") - 1, 0, len(self.cosines) - 1)
        behind = sharpness * (self.cosines - self.cosines.max())
        return np.where(offsets[:, 0] >= 0, behind[sentence], 0.0)


def sentences(text: str) -> NDArray[np.int64]:
    """The borders between the sentences of a text, its begin and end among them."""
    borders = [0]
    for end in (match.end() for match in _END.finditer(text)):
        if min(_bytes(text[borders[-1] : end]), _bytes(text[end:])) >= SHORTEST:
            borders.append(end)
    return np.array([*borders, len(text)], np.int64)


def _bytes(text: str) -> int:
    return len(text[:SHORTEST].encode(errors="surrogatepass"))  # a character has one at least


def nearness(encoder: "Encoder", pairs: Sequence[tuple[str, str]]) -> list[Nearness]:
    """Of pairs of a question and a text, by the frozen encoder."""
    borders = [sentences(text) for _, text in pairs]
    parts = [
        [question, *(text[a:b] for a, b in pairwise(cut.tolist()))]
        for (question, text), cut in zip(pairs, borders, strict=True)
    ]
    features = encoder.frozen.embed([part for some in parts for part in some])
    found, at = [], 0
    for some, cut in zip(parts, borders, strict=True):
        own = features[at : at + len(some)].astype(np.float64)
        directions = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
        found.append(Nearness(cut, SCALE * (directions[1:] @ directions[0])))
        at += len(some)
    return found


def fit_sharpness(near: Sequence[Nearness], places: Sequence[Sequence[int]]) -> float:
    """How much more an answer is in the nearest sentence: what the logits of sentences are multiplied by.

    ``places``: the characters at which acceptable answers begin, of each text; none where it has no answer.
    """
    known = [(one, starts) for one, starts in zip(near, places, strict=True) if len(starts)]
    most = max((len(one.cosines) for one, _ in known), default=0)
    logits, wanted = np.full((len(known), most), -1e9), np.zeros((len(known), most))
    for row, (one, starts) in enumerate(known):
        logits[row, : len(one.cosines)] = one.cosines
        right = np.unique(np.clip(np.searchsorted(one.borders, starts, side="right") - 1, 0, len(one.cosines) - 1))
        wanted[row, right] = 1 / len(right)
    return USUAL / fit_temperature(USUAL * logits, wanted, prior_weight=PRIOR)
