"""Dropout on the head: distributions, the head's on average, repeatable, independent of blocks and of order."""

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.active import dropout
from backend.active.dropout import sample_blocks, sample_probs
from backend.active.head import LinearHead


def make(k: int = 3, n: int = 30, d: int = 12) -> tuple[LinearHead, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(k, d)).astype(np.float32), rng.normal(size=k).astype(np.float32)
    return LinearHead(weight, bias, 2.0), rng.normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_samples_are_distributions_and_repeatable(k: int) -> None:
    head, features = make(k)
    samples = sample_probs(head, features, seed=3, samples=7)
    assert samples.shape == (7, 30, k)
    assert samples.sum(axis=2) == pytest.approx(np.ones((7, 30)), abs=1e-5)
    assert np.array_equal(samples, sample_probs(head, features, seed=3, samples=7))
    assert k == 1 or not np.array_equal(samples, sample_probs(head, features, seed=4, samples=7))


def test_without_dropout_every_sample_is_the_calibrated_head() -> None:
    head, features = make()
    for sample in sample_probs(head, features, seed=0, samples=3, rate=0):
        assert sample == pytest.approx(head.probs(features), abs=1e-5)


def test_blocks_and_the_order_of_items_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    head, features = make()
    whole = sample_probs(head, features, seed=0)
    order = np.random.default_rng(1).permutation(len(features))
    assert sample_probs(head, features[order], seed=0) == pytest.approx(whole[:, order], abs=1e-5)
    monkeypatch.setattr(dropout, "BLOCK_VALUES", 4 * dropout.SAMPLES * 3)
    blocks = list(sample_blocks(head, features, seed=0))
    assert [b.shape[1] for b in blocks] == [4] * 7 + [2]
    assert np.concatenate(blocks, axis=1) == pytest.approx(whole, abs=1e-5)
    assert sample_probs(head, features[:0], seed=0).shape == (20, 0, 3)


@pytest.mark.parametrize(("samples", "rate"), [(0, 0.1), (3, 1.0), (3, -0.1)])
def test_impossible_dropout_is_refused(samples: int, rate: float) -> None:
    head, features = make()
    with pytest.raises(ValueError, match="rate"):
        sample_probs(head, features, seed=0, samples=samples, rate=rate)
