"""The feature store gives back what was stored, survives being cut off, and computes nothing twice."""

import errno
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.problems.schema import Item
from backend.serving import features
from backend.serving.features import FeatureStore, FeatureStores


def items(texts):
    return [Item.of(text) for text in texts]


class Counting:
    """An embedder that remembers what it was asked."""

    def __init__(self, base_id: str = "base", dim: int = 4) -> None:
        self.base_id, self.dim = base_id, dim
        self.asked: list[str] = []

    def embed(self, items):
        texts = [item.text for item in items]
        self.asked += texts
        return np.array([[len(t), hash(t) % 7, 1, 0] for t in texts], np.float32).reshape(-1, self.dim)


@given(st.lists(st.text(max_size=8), max_size=20))
def test_features_come_back_in_the_order_asked(tmp_path_factory, texts):
    store = FeatureStore(tmp_path_factory.mktemp("f"), 4)
    encoder = Counting()
    store.fill(encoder, items(texts))
    np.testing.assert_allclose(store.get(items(texts)), Counting().embed(items(texts)), rtol=1e-3)
    assert len(encoder.asked) == len(set(texts)) == len(store)


def test_a_text_is_encoded_once_even_over_restarts(tmp_path):
    encoder = Counting()
    FeatureStore(tmp_path, 4).fill(encoder, items(["a", "b"]))
    store = FeatureStore(tmp_path, 4)
    assert store.fill(encoder, items(["a", "b", "c"])) == 1
    assert encoder.asked == ["a", "b", "c"]


@pytest.mark.parametrize(("file", "cut"), [("rows.f16", 3), ("keys.bin", 5), ("keys.bin", 16), ("rows.f16", 8)])
def test_a_write_that_was_cut_off_costs_only_that_row(tmp_path, file, cut):
    FeatureStore(tmp_path, 4).fill(Counting(), items(["a", "bb", "ccc"]))
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[:-cut])
    store = FeatureStore(tmp_path, 4)
    assert store.missing(items(["a", "bb", "ccc"])) == items(["ccc"])
    store.fill(Counting(), items(["ccc"]))
    assert store.get(items(["ccc", "a"]))[:, 0].tolist() == [3, 1]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("full", ["rows.f16", "keys.bin"])
def test_a_full_disk_costs_only_what_was_not_written(tmp_path, monkeypatch, full, restart):
    store = FeatureStore(tmp_path, 4)
    store.fill(Counting(), items(["a", "bb"]))
    write_at = features._write_at

    def half(path, size, content):
        write_at(path, size, content[: len(content) // 2 + 3] if path.name == full else content)
        if path.name == full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(features, "_write_at", half)
    with pytest.raises(OSError, match="space"):
        store.fill(Counting(), items(["ccc", "dddd"]))
    monkeypatch.undo()
    store.fill(Counting(), items(["eeeee"]))
    store = FeatureStore(tmp_path, 4) if restart else store
    store.fill(Counting(), items(["ccc", "dddd"]))
    assert store.get(items(["a", "bb", "ccc", "dddd", "eeeee"]))[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_threads_that_add_the_same_texts_agree(tmp_path):
    store = FeatureStore(tmp_path, 4)
    texts = [f"text {n}" * (n % 3) for n in range(50)]
    threads = [threading.Thread(target=store.fill, args=(Counting(), items(texts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(store.get(items(texts)), Counting().embed(items(texts)), rtol=1e-3)
    assert len(FeatureStore(tmp_path, 4)) == len(set(texts))


def test_only_the_encoders_named_keep_their_features(tmp_path):
    stores = FeatureStores(tmp_path)
    for name in ("base", "v1", "v2"):
        stores.of(Counting(name)).fill(Counting(name), items(["a"]))
    stores.keep_only({"base", "v2"})
    assert sorted(f.name for f in tmp_path.iterdir()) == ["base", "v2"]
    assert stores.of(Counting("v1")).missing(items(["a"])) == items(["a"])


def test_an_unknown_text_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        FeatureStore(tmp_path, 4).get(items(["never seen"]))
