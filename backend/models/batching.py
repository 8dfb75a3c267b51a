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


def portions(lengths: Sequence[int], max_tokens: float) -> list[slice]:
    """Items in their order, cut into portions that have at most ``max_tokens`` tokens, padded to the longest of each;
    an item that is longer is alone."""
    made: list[slice] = []
    start = longest = 0
    for at, length in enumerate(lengths):
        if at > start and (at + 1 - start) * max(longest, length) > max_tokens:
            made.append(slice(start, at))
            start, longest = at, 0
        longest = max(longest, length)
    return [*made, slice(start, len(lengths))] if lengths else []
