"""How alike two short texts are: exact match and token F1 of question answering, for any script.

As the evaluation of SQuAD 2.0 (Rajpurkar, Jia and Liang, Know What You Don't Know, 2018) where words are separated by
spaces; where they are not, each character is a token, as CMRC 2018 and MLQA count Chinese. No answer is the empty text.
"""

import unicodedata
from collections import Counter
from functools import lru_cache
from string import punctuation

_ARTICLES = frozenset({"a", "an", "the"})
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")  # in their names


def tokens(text: str) -> list[str]:
    """The tokens that count: case, punctuation and English articles do not, unless there is nothing else."""
    characters: list[str] = []
    for character in text.casefold():
        if character in punctuation or unicodedata.category(character).startswith("P"):
            continue
        characters.append(f" {character} " if _alone(character) else character)
    words = [word for word in "".join(characters).split() if word not in _ARTICLES]
    return words or text.split()


@lru_cache(maxsize=4096)
def _alone(character: str) -> bool:
    """Whether a character belongs to a script without spaces between words."""
    return unicodedata.name(character, "").startswith(_UNSPACED)


def exact(said: str, wanted: str) -> bool:
    """Whether the tokens of two texts are the same."""
    return tokens(said) == tokens(wanted)


def f1(said: str, wanted: str) -> float:
    """Harmonic mean of precision and recall of tokens, in [0, 1]; of an empty text 1 with another one, else 0."""
    one, other = tokens(said), tokens(wanted)
    if not one or not other:
        return float(one == other)
    shared = (Counter(one) & Counter(other)).total()
    return 2 * shared / (len(one) + len(other))
