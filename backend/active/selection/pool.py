"""The pool that is chosen from, and the shape of everything that chooses."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
Positions = NDArray[np.int64]

ROWS = 16_384  # rows of a large array that are converted at a time


@dataclass(frozen=True)
class Pool:
    """What may be chosen, and what is labelled already.

    ``features`` (N, D), ``probs`` (N, K) of the items to choose from, float32 or float16; ``labelled_features`` (L, D)
    and ``labelled_classes`` (L,) of the labelled ones; ``clusters`` (N,) numbers of :func:`cluster` where the caller
    has them, else they are computed when a strategy needs them. ``head`` is what MC-dropout strategies sample from,
    ``texts`` (N,) what ``diverse-jaccard`` compares. ``classes``: how many different things there
    are to be seen, K where it is None. ``contexts`` (N,) and ``labelled_contexts`` (L,), both or neither: numbers of at
    least 0, equal for items that share a context.
    """

    features: Floats
    probs: Floats
    labelled_features: Floats
    labelled_classes: NDArray[np.int64]
    clusters: NDArray[np.int64] | None = None
    head: LinearHead | None = None
    texts: Sequence[str] | None = None
    classes: int | None = None
    contexts: NDArray[np.int64] | None = None
    labelled_contexts: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.features)
        if self.features.ndim != 2 or self.probs.ndim != 2 or len(self.probs) != n:
            raise ValueError(f"features {self.features.shape} and probs {self.probs.shape} must be (N, D) and (N, K)")
        if self.clusters is not None and self.clusters.shape != (n,):
            raise ValueError(f"clusters {self.clusters.shape} must be ({n},)")
        if len(self.labelled_features) != len(self.labelled_classes):
            raise ValueError(f"{len(self.labelled_features)} features of {len(self.labelled_classes)} labelled items")
        if self.texts is not None and len(self.texts) != n:
            raise ValueError(f"{len(self.texts)} texts must be {n}, one for each of features")
        if self.contexts is not None and self.contexts.shape != (n,):
            raise ValueError(f"contexts {self.contexts.shape} must be ({n},)")
        told = None if self.labelled_contexts is None else len(self.labelled_contexts)
        if told != (None if self.contexts is None else len(self.labelled_features)):
            raise ValueError(f"{told} contexts of {len(self.labelled_features)} labelled items")

    def __len__(self) -> int:
        return len(self.features)

    def take(self, at: Positions) -> "Pool":
        """The pool of the items at these positions, as float32; what is labelled stays."""
        return replace(
            self,
            features=np.asarray(self.features[at], np.float32),
            probs=np.asarray(self.probs[at], np.float32),
            clusters=None if self.clusters is None else self.clusters[at],
            texts=None if self.texts is None else [self.texts[i] for i in at],
            contexts=None if self.contexts is None else self.contexts[at],
        )

    def labelled_too(self, at: Positions) -> "Pool":
        """The same pool where the items at these positions count as labelled with their predicted class."""
        contexts = None
        if self.contexts is not None and self.labelled_contexts is not None:
            contexts = np.concatenate([self.labelled_contexts, self.contexts[at]])
        return replace(
            self,
            labelled_contexts=contexts,
            labelled_features=np.concatenate([self.labelled_features, np.asarray(self.features[at], np.float32)]),
            labelled_classes=np.concatenate([self.labelled_classes, self.probs[at].argmax(axis=1)]),
        )

    def labels_per_class(self) -> NDArray[np.int64]:
        """How many labelled items each class has, shape (K,); 0 for a class without any."""
        k = self.probs.shape[1]
        known = self.labelled_classes[(self.labelled_classes >= 0) & (self.labelled_classes < k)]
        return np.bincount(known, minlength=k)


Score = Callable[[Pool, np.random.Generator], Numbers]
Strategy = Callable[[Pool, int, np.random.Generator], Positions]


def descending(scores: Numbers, rng: np.random.Generator) -> Positions:
    """Positions by falling score, ties in random order."""
    shuffled = rng.permutation(len(scores))
    return shuffled[np.argsort(-scores[shuffled], kind="stable")]


def slices(n: int) -> Iterator[slice]:
    """Slices that cover ``n`` rows, so that a large array is never converted as a whole."""
    return (slice(start, min(start + ROWS, n)) for start in range(0, n, ROWS))


def in_blocks(n: int, part: Callable[[slice], Numbers]) -> Numbers:
    """The values (N,) that ``part`` gives for each slice of rows, in one array."""
    return np.concatenate([np.zeros(0), *(part(rows) for rows in slices(n))])
