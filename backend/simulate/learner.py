"""What learns in a simulation: a head on frozen features, or an adapter trained anew at each round as in production."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.active import selection
from backend.active.head import LinearHead
from backend.models.encoder import Encoder
from backend.problems.base import problem_for
from backend.problems.guessing import LOOKED_AT, guesses, wants_guesses
from backend.problems.schema import Example, Floats
from backend.problems.training import train_version
from backend.problems.version import Version, cold_version, load_version
from backend.serving.features import FeatureStore
from backend.simulate.plan import Data, Plan


class Learner(Protocol):
    """A version and the features of its encoder."""

    @property
    def head(self) -> LinearHead:
        """The version's head, calibrated."""

    @property
    def features(self) -> Floats:
        """Features of all tasks, (N, D)."""

    @property
    def test_features(self) -> Floats:
        """Features of the test items, (M, D)."""

    def features_of(self, positions: Sequence[int]) -> Floats:
        """Features of some tasks, (n, D)."""

    def clusters(self, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
        """Cluster numbers (N,) of the tasks in ``choosable`` (N,), -1 elsewhere; made once for each version."""

    def learn(self, trained: Sequence[int], held_out: Sequence[int]) -> None:
        """Replace the version by one that knows these tasks' labels; those held out only calibrate it."""

    def restore(self) -> None:
        """Take up the version of the last round, after an interruption."""


def examples(data: Data, positions: Sequence[int]) -> list[Example]:
    """Labelled texts; a task's id is its position."""
    eye = np.eye(len(data.labels), dtype=np.float32)
    return [Example(int(p), data.texts[p], {"label": eye[data.classes[p]]}) for p in positions]


class FrozenLearner:
    """A linear head on the features of the base model, which stay as they are."""

    def __init__(self, data: Data, base: Encoder, store: FeatureStore, seed: int) -> None:
        self._data, self._seed = data, seed
        self._features, self._test_features = store.get(data.texts), store.get(data.test_texts)
        self._head = cold_version(base, data.schema).heads["label"]
        self._clusters: NDArray[np.int64] | None = None

    @property
    def head(self) -> LinearHead:
        return self._head

    @property
    def features(self) -> Floats:
        return self._features

    @property
    def test_features(self) -> Floats:
        return self._test_features

    def features_of(self, positions: Sequence[int]) -> Floats:
        return self._features[list(positions)]

    def clusters(self, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
        if self._clusters is None:
            self._clusters = clusters_of(self._features, choosable, seed)
        return self._clusters

    def learn(self, trained: Sequence[int], held_out: Sequence[int]) -> None:
        (control,) = self._data.schema.controls
        problem = problem_for(control)
        train, held = (
            (self._features[list(at)], [e.targets["label"] for e in examples(self._data, at)])
            for at in (trained, held_out)
        )
        if problem.can_fit(control, train[1]):
            self._head = problem.fit_calibrated(control, train, held, seed=self._seed)

    def restore(self) -> None:
        """Nothing to do: the loop learns again from the labels, in a fraction of a second."""


class AdapterLearner:
    """A LoRA adapter trained from the base model at each round; features are computed when somebody asks for them."""

    def __init__(self, data: Data, base: Encoder, store: FeatureStore, plan: Plan, seed: int, folder: Path) -> None:
        self._data, self._base, self._store, self._folder = data, base, store, folder
        self._before = folder.with_name(f"{folder.name}.before")  # the version that the newest one came after
        self._recipe = replace(plan.recipe, seed=seed)
        self._audit, self._audit_rank = data.audit(seed, plan.audit_share)
        self._version: Version = cold_version(base, data.schema)
        self._pool: Floats | None = None
        self._clusters: NDArray[np.int64] | None = None

    @property
    def head(self) -> LinearHead:
        return self._version.heads["label"]

    @property
    def features(self) -> Floats:
        if self._pool is None:
            self._pool = self._embed(self._data.texts)
        return self._pool

    @property
    def test_features(self) -> Floats:
        return self._embed(self._data.test_texts)

    def features_of(self, positions: Sequence[int]) -> Floats:
        return self._embed([self._data.texts[p] for p in positions])

    def clusters(self, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
        if self._clusters is None:
            self._clusters = clusters_of(self.features, choosable, seed)
        return self._clusters

    def _embed(self, texts: Sequence[str]) -> Floats:
        cold = self._version.encoder is self._base
        return self._store.get(texts) if cold else self._version.embed(texts)

    def learn(self, trained: Sequence[int], held_out: Sequence[int]) -> None:
        (control,) = self._data.schema.controls
        train = examples(self._data, trained)
        if not problem_for(control).can_fit(control, [e.targets["label"] for e in train]):
            return
        train += self._guessed([*trained, *held_out], len(train))
        held, start = examples(self._data, held_out), self._set_aside()
        train_version(self._base, self._data.schema, train, held, self._recipe, self._folder, lambda *_: None, start)
        self.restore()

    def _set_aside(self) -> Path | None:
        """The folder of the version before, out of the way, for a training that starts near it."""
        if self._folder.exists():
            shutil.rmtree(self._before, ignore_errors=True)
            self._folder.rename(self._before)
        return self._before if self._recipe.warm_start and self._before.exists() else None

    def _guessed(self, labelled: Sequence[int], most: int) -> list[Example]:
        """What a training would take from the version before, as in production."""
        if not wants_guesses(self._recipe, most) or self._version.encoder is self._base:
            return []
        order = np.argsort(-self._audit_rank, kind="stable")
        chosen = order[~self._audit[order] & ~np.isin(order, labelled)][:LOOKED_AT].tolist()
        texts = [self._data.texts[p] for p in chosen]
        return guesses(self._version, chosen, texts, self.features_of(chosen), self._recipe, most)

    def restore(self) -> None:
        if self._before.exists() and not self._folder.exists():
            self._before.rename(self._folder)  # a training was broken off
        if self._folder.exists():
            self._version = load_version(self._folder, self._base)
            self._pool = self._clusters = None


def learner_of(plan: Plan, data: Data, base: Encoder, store: FeatureStore, seed: int, folder: Path) -> Learner:
    """The learner that a plan asks for; an adapter keeps the version of its last round in ``folder``."""
    if plan.adapter == "none":
        return FrozenLearner(data, base, store, seed)
    return AdapterLearner(data, base, store, plan, seed, folder)


def targets_of(data: Data, positions: Sequence[int]) -> Mapping[int, Floats]:
    """Position -> target of labelled tasks."""
    return {e.task_id: e.targets["label"] for e in examples(data, positions)}


def clusters_of(features: Floats, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Cluster numbers (N,) of features (N, D) in ``choosable`` (N,), -1 elsewhere."""
    numbers = np.full(len(features), -1, np.int64)
    count = selection.cluster_count(int(choosable.sum()))
    numbers[choosable] = selection.cluster(features[choosable], count, seed)
    return numbers
