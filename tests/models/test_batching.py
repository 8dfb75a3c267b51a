"""Batches: every item once, bounded, of similar length."""

from hypothesis import given
from hypothesis import strategies as st

from backend.models.batching import batches


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
