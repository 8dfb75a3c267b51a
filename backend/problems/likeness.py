"""How like a text is to what people wrote: chrF and BLEU as sacrebleu defines them, for any language."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scripts written without spaces between words; sacrebleu has a tokenizer for Chinese, of the others it takes characters
HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F))
OTHERS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF))  # Thai, Lao, Burmese, Khmer, kana
SHARE = 0.1  # of the letters, from which a script counts: Chinese texts hold English names, English ones few characters


@lru_cache(maxsize=65536)
def chrf(text: str, references: tuple[str, ...]) -> float:
    """chrF2 of a text against the reference that it is most like, in [0, 1], high = like.

    Popović, chrF: character n-gram F-score, 2015. Without tokens, so that no language is assumed.
    """
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(text, list(references)).score / 100)


def corpus_chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """chrF2 of N texts with one or more references each, in [0, 1]: n-grams are counted over all texts."""
    from sacrebleu.metrics.chrf import CHRF

    most = max(map(len, references))
    streams = [[given[at] if at < len(given) else None for given in references] for at in range(most)]
    return float(CHRF().corpus_score(list(texts), streams).score / 100)  # type: ignore[arg-type]


class BleuCounts:
    """What BLEU counts of N texts, so that it is told of any of them at once (Papineni et al. 2002).

    Words are told apart by the references' script.
    """

    def __init__(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        from sacrebleu.metrics.bleu import BLEU

        tokenize = tokenizer_for([text for given in references for text in given])
        bleu = BLEU(tokenize=tokenize, effective_order=True, force=True)
        found = [bleu.sentence_score(text, list(given)) for text, given in zip(texts, references, strict=True)]
        self._counts = np.array([[*f.counts, *f.totals, f.sys_len, f.ref_len] for f in found], np.int64)

    def score(self, at: NDArray[np.int64]) -> float:
        """BLEU of the texts at these positions, in [0, 1], smoothed as sacrebleu does by default."""
        from sacrebleu.metrics.bleu import BLEU

        *ngrams, said, wanted = map(int, self._counts[at].sum(axis=0))
        order = len(ngrams) // 2
        found: Any = BLEU.compute_bleu(ngrams[:order], ngrams[order:], said, wanted, smooth_method="exp")
        return float(found.score / 100)


def tokenizer_for(texts: Sequence[str]) -> str:
    """The name of sacrebleu's tokenizer for the script of these texts."""
    codes = [ord(letter) for text in texts for letter in text if letter.isalpha()]
    other, han = (sum(any(a <= c <= b for a, b in ranges) for c in codes) for ranges in (OTHERS, HAN))
    if other > SHARE * len(codes):
        return "char"
    return "zh" if han > SHARE * len(codes) else "13a"
