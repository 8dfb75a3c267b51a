"""Batches: every item once, bounded, of similar length."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backend.models.batching import batches, padded, portions


@given(st.lists(st.integers(1, 300), max_size=120), st.integers(1, 500))
def test_every_item_is_in_one_bounded_batch_of_similar_lengths(lengths: list[int], max_tokens: int) -> None:
    made = batches(lengths, max_tokens)
    assert sorted(at for batch in made for at in batch) == list(range(len(lengths)))
    for batch in made:
        assert batch
        assert len(batch) == 1 or max(lengths[at] for at in batch) * len(batch) <= max_tokens
    flat = [lengths[at] for batch in made for at in batch]
    assert flat == sorted(flat, reverse=True)


def test_padding_is_small_where_lengths_differ() -> None:
    lengths = [(7 * i) % 60 + 4 for i in range(400)]
    padded = sum(max(lengths[at] for at in batch) * len(batch) for batch in batches(lengths, 512))
    assert padded < 1.1 * sum(lengths)


@given(st.lists(st.lists(st.integers(1, 300), max_size=4), max_size=40), st.integers(1, 2000))
def test_portions_are_the_items_in_order_each_as_large_as_fits(tokens: list[list[int]], max_tokens: int) -> None:
    made = [tokens[part] for part in portions(tokens, max_tokens)]
    assert [one for part in made for one in part] == tokens
    assert all(len(part) == 1 or padded(part) <= max_tokens for part in made)
    for part, following in pairwise(made):
        assert padded([*part, following[0]]) > max_tokens


def test_lists_of_texts_count_as_many_texts_each_as_long_as_the_longest() -> None:
    assert padded([[250, 10, 10], [10]]) == 4 * 250
    assert padded([[], []]) == 0
