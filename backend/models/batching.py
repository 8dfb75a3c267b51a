"""Batches of similar length, bounded in tokens: padding is work for nothing."""

from collections.abc import Sequence


def batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Positions of all items in batches, longest first, so that memory runs out at once or never.

    Items of a batch, padded to its longest, have at most ``max_tokens`` tokens; an item that is longer is alone.
    """
    made: list[list[int]] = []
    room = 0
    for position in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        if room <= 0:
            made.append([])
            room = max(1, max_tokens // max(1, lengths[position]))
        made[-1].append(position)
        room -= 1
    return made


def padded(tokens: Sequence[Sequence[int]]) -> int:
    """How many tokens the sequences of some items have, ``tokens`` each, padded to the longest of all."""
    return sum(map(len, tokens)) * max((length for one in tokens for length in one), default=0)


def portions(tokens: Sequence[Sequence[int]], max_tokens: float) -> list[slice]:
    """Items in their order, ``tokens`` in each of their sequences, cut into portions that have at most ``max_tokens``
    (:func:`padded`); an item that has more is alone."""
    made: list[slice] = []
    start = 0
    for at in range(1, len(tokens)):
        if padded(tokens[start : at + 1]) > max_tokens:
            made.append(slice(start, at))
            start = at
    return [*made, slice(start, len(tokens))] if tokens else []
