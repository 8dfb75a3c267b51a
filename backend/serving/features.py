"""Features of tasks, computed once for each encoder and kept on disk: a cache that may be deleted at any time.

One folder for each encoder (its ``base_id`` names it): ``rows.f16`` holds float16 vectors, ``keys.bin`` a 16-byte hash
of each item. Rows are written before keys, so that after a crash a row without a key is simply written again.
One process writes (the worker); others do not open it.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.problems.schema import Floats, Item

KEY_BYTES = 16


class Embedder(Protocol):
    """What turns items into features: a version, which names what it computes with ``base_id``."""

    @property
    def base_id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, items: Sequence[Item]) -> Floats: ...


def item_key(item: Item) -> bytes:
    """16 bytes that stand for an item."""
    return hashlib.blake2b(item.key.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


class FeatureStore:
    """Features of one encoder. Safe to use from several threads of one process."""

    def __init__(self, folder: Path, dim: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows, self._keys, self._dim = folder / "rows.f16", folder / "keys.bin", dim
        self._whole = folder / "whole"
        self._lock = threading.Lock()
        self._index: dict[bytes, int] = {}
        self._matrix: np.ndarray[tuple[int, int], np.dtype[np.float16]] = np.zeros((0, dim), np.float16)
        self._open()

    def __len__(self) -> int:
        return len(self._index)

    def whole(self, pool: str) -> bool:
        """Whether :meth:`note_whole` was called for this pool."""
        return (self._whole / pool).exists()

    def note_whole(self, pool: str, stamp: int) -> None:
        """All of a pool that is wanted is here, as its tasks were at this ``stamp``."""
        self._whole.mkdir(exist_ok=True)
        (self._whole / pool).write_text(str(stamp))

    def stamp(self, pool: str) -> int:
        """That of the last :meth:`note_whole`; 0 where there was none."""
        try:
            return int((self._whole / pool).read_text())
        except (FileNotFoundError, ValueError):  # never, or by a former release
            return 0

    @property
    def there(self) -> bool:
        """Whether the files are still there: they may be deleted at any time."""
        return self._keys.exists() and self._rows.exists()

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """The distinct items that have no features yet, in order."""
        return [i for i in {i.key: i for i in items}.values() if item_key(i) not in self._index]

    def present(self, items: Sequence[Item]) -> NDArray[np.bool_]:
        """Which items have features, shape (N,)."""
        return np.fromiter((item_key(i) in self._index for i in items), bool, len(items))

    def get(self, items: Sequence[Item]) -> Floats:
        """Features of items that are all stored, shape (N, D). Raises KeyError for one that is not."""
        with self._lock:
            at = [self._index[item_key(i)] for i in items]
            return self._matrix[at].astype(np.float32)

    def add(self, items: Sequence[Item], features: Floats) -> None:
        """Store features (N, D) of items that are missing."""
        with self._lock:
            fresh = [(item_key(i), row) for i, row in zip(items, features, strict=True)]
            fresh = [(key, row) for key, row in fresh if key not in self._index]
            if not fresh:
                return
            rows = np.stack([row for _, row in fresh]).astype(np.float16)
            start = len(self._index)
            _write_at(self._rows, start * 2 * self._dim, rows.tobytes())
            _write_at(self._keys, start * KEY_BYTES, b"".join(key for key, _ in fresh))
            self._index.update((key, start + i) for i, (key, _) in enumerate(fresh))
            self._map()

    def fill(
        self, encoder: Embedder, items: Sequence[Item], on_progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Compute and store what is missing, a portion at a time so that a crash loses little; how many there were."""
        wanted = sorted(self.missing(items), key=lambda item: len(item.text))
        portion = 512
        for start in range(0, len(wanted), portion):
            part = wanted[start : start + portion]
            self.add(part, encoder.embed(part))
            if on_progress:
                on_progress(start + len(part), len(wanted))
        return len(wanted)

    def _open(self) -> None:
        """Read the keys; cut both files back to the last whole pair."""
        keys = self._keys.read_bytes() if self._keys.exists() else b""
        size = self._rows.stat().st_size if self._rows.exists() else 0
        n = min(len(keys) // KEY_BYTES, size // (2 * self._dim))
        if len(keys) != n * KEY_BYTES or size != n * 2 * self._dim:
            shutil.rmtree(self._whole, ignore_errors=True)
        for path, length in ((self._keys, n * KEY_BYTES), (self._rows, n * 2 * self._dim)):
            with open(path, "ab") as file:
                file.truncate(length)
        self._index = {keys[i * KEY_BYTES : (i + 1) * KEY_BYTES]: i for i in range(n)}
        self._map()

    def _map(self) -> None:
        n = len(self._index)
        self._matrix = (
            np.memmap(self._rows, np.float16, "r", shape=(n, self._dim)) if n else np.zeros((0, self._dim), np.float16)
        )


def _write_at(path: Path, size: int, content: bytes) -> None:
    """Append to a file of so many bytes. What is behind them is of a write that failed, on a full disk say: left there,
    all later rows would be other texts' rows."""
    with open(path, "ab") as file:
        file.truncate(size)
        file.write(content)


class FeatureStores:
    """The stores of all encoders below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, FeatureStore] = {}

    def of(self, encoder: Embedder) -> FeatureStore:
        """The store of this encoder."""
        with self._lock:
            known = self._open.get(encoder.base_id)
            if known is None or not known.there:
                self._open[encoder.base_id] = FeatureStore(self._folder / encoder.base_id, encoder.dim)
            return self._open[encoder.base_id]

    def keep_only(self, base_ids: set[str]) -> None:
        """Delete the stores of all other encoders."""
        with self._lock:
            for folder in self._folder.iterdir() if self._folder.is_dir() else ():
                if folder.name not in base_ids:
                    self._open.pop(folder.name, None)
                    shutil.rmtree(folder, ignore_errors=True)
