"""What learns in a simulation: heads on frozen features, or an adapter trained anew at each round as in production."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.active import selection
from backend.errors import UserError
from backend.models.encoder import Encoder
from backend.pipeline.decide import Field, fresh_judge
from backend.problems.base import problem_for, readers
from backend.problems.examples import learnable
from backend.problems.guessing import LOOKED_AT, guesses, wants_guesses
from backend.problems.schema import Example, Floats, Item, Output
from backend.problems.training import train_version
from backend.problems.version import Version, cold_version, load_version, read_meta
from backend.serving.features import FeatureStore
from backend.simulate.plan import Data, Plan

if TYPE_CHECKING:
    from backend.models.generator import Generator


class Learner(Protocol):
    """A version and what it reads of the tasks."""

    @property
    def version(self) -> Version:
        """What has been learned so far."""

    @property
    def rows(self) -> Floats:
        """Rows of all tasks, (N, W)."""

    def outputs(self, items: Sequence[Item]) -> dict[str, list[Output]]:
        """What the version says of tasks or test items, by control."""

    def audited(self, held_out: Sequence[Example]) -> dict[str, list[Output]]:
        """What a project would measure the version by: see :meth:`Version.outputs_apart`."""

    def clusters(self, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
        """Cluster numbers (N,) of the tasks in ``choosable`` (N,), -1 elsewhere; made once for each version."""

    def learn(self, trained: Sequence[int], held_out: Sequence[int]) -> None:
        """Replace the version by one that knows these tasks' labels; those held out only calibrate it."""

    def restore(self, trained: int) -> bool:
        """Take up the version of the last round, after an interruption; whether there is one. ``trained``: the labels
        that it may have learned from: what knows more is of a round that was not finished."""


class FrozenLearner:
    """Heads on the features of the base model, which stay as they are."""

    def __init__(self, data: Data, base: Encoder, store: FeatureStore, seed: int) -> None:
        slow = [c.name for c in data.schema.controls if not problem_for(c).fast]
        if slow:
            raise UserError(f"{', '.join(slow)} cannot be learned on frozen features.", "Use --adapter lora.")
        self._data, self._store, self._seed = data, store, seed
        self.version = cold_version(base, data.schema)
        self.rows = store.get(data.items)
        self._clusters: NDArray[np.int64] | None = None

    def outputs(self, items: Sequence[Item]) -> dict[str, list[Output]]:
        return self.version.outputs(items, self._store.get(items))

    def audited(self, held_out: Sequence[Example]) -> dict[str, list[Output]]:
        """As of all items. No project serves such a version; where a task has several labels it looks 2 to 5 points of
        F1 better than it is, since these tasks set its thresholds."""
        return self.outputs([e.item for e in held_out])

    def clusters(self, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
        if self._clusters is None:
            self._clusters = clusters_of(self.version.judge.features(self.rows), choosable, seed)
        return self._clusters

    def learn(self, trained: Sequence[int], held_out: Sequence[int]) -> None:
        at = [*trained, *held_out]
        field = Field(
            rows=self.rows[at],
            open=np.zeros(len(at), bool),
            audit=np.arange(len(at)) >= len(trained),
            audit_rank=np.zeros(len(at)),
            targets={row: self._data.pool[p].targets for row, p in enumerate(at)},
        )
        self.version = self.version.with_heads(fresh_judge(self.version.judge, field, self._seed).heads)

    def restore(self, trained: int) -> bool:
        """No version is kept: to learn again from the labels takes a fraction of a second."""
        return False


class AdapterLearner:
    """A LoRA adapter trained from the base model at each round; rows are computed when somebody asks for them."""

    def __init__(
        self,
        data: Data,
        base: Encoder,
        store: FeatureStore,
        plan: Plan,
        seed: int,
        folder: Path,
        generator: "Generator | None" = None,
    ) -> None:
        self._data, self._base, self._store, self._folder, self._generator = data, base, store, folder, generator
        self._before = folder.with_name(f"{folder.name}.before")  # the version that the newest one came after
        self._recipe = replace(plan.recipe, seed=seed)
        self._audit, self._audit_rank = data.audit(seed, plan.audit_share)
        self.version = cold_version(base, data.schema, generator)
        self._frozen = self.version.base_id
        self._rows: Floats | None = None
        self._clusters: NDArray[np.int64] | None = None

    @property
    def rows(self) -> Floats:
        if self._rows is None:
            frozen = self.version.base_id == self._frozen
            self._rows = self._store.get(self._data.items) if frozen else self.version.embed(self._data.items)
        return self._rows

    def outputs(self, items: Sequence[Item]) -> dict[str, list[Output]]:
        return self.version.predict(items)

    def audited(self, held_out: Sequence[Example]) -> dict[str, list[Output]]:
        return self.version.outputs_apart(held_out)

    def clusters(self, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
        if self._clusters is None:
            self._clusters = clusters_of(self.version.judge.features(self.rows), choosable, seed)
        return self._clusters

    def learn(self, trained: Sequence[int], held_out: Sequence[int]) -> None:
        train = examples(self._data, trained)
        if not learnable(self._data.schema, train, texts=self._generator is not None):
            return
        train += self._guessed([*trained, *held_out], len(train))
        held, before = examples(self._data, held_out), self._set_aside()
        schema, recipe, writer = self._data.schema, self._recipe, self._generator
        train_version(self._base, schema, train, held, recipe, self._folder, lambda *_: None, before, writer)
        self._take_up()

    def _set_aside(self) -> Path | None:
        """The folder of the version before, if there is one, out of the way."""
        if self._folder.exists():
            shutil.rmtree(self._before, ignore_errors=True)
            self._folder.rename(self._before)
        return self._before if self._before.exists() else None

    def _guessed(self, labelled: Sequence[int], most: int) -> list[Example]:
        """What a training would take from the version before, as in production."""
        if not wants_guesses(self._recipe, most) or self.version.meta["kind"] == "cold":
            return []
        order = np.argsort(-self._audit_rank, kind="stable")
        chosen = order[~self._audit[order] & ~np.isin(order, labelled)][:LOOKED_AT].tolist()
        items = [self._data.pool[p].item for p in chosen]
        return guesses(self.version, chosen, items, self.version.embed(items), self._recipe, most)

    def restore(self, trained: int) -> bool:
        for folder in (self._folder, self._before):  # where a training or its round was broken off, the one before
            if folder.exists() and read_meta(folder)["examples"] > trained:
                shutil.rmtree(folder)
        if self._before.exists() and not self._folder.exists():
            self._before.rename(self._folder)
        if not self._folder.exists():
            return False
        self._take_up()
        return True

    def _take_up(self) -> None:
        self.version = load_version(self._folder, self._base, self._generator)
        self._rows = self._clusters = None


def learner_of(plan: Plan, data: Data, base: Encoder, store: FeatureStore, seed: int, folder: Path) -> Learner:
    """The learner that a plan asks for; an adapter keeps the version of its last round in ``folder``."""
    if plan.adapter == "none":
        return FrozenLearner(data, base, store, seed)
    return AdapterLearner(data, base, store, plan, seed, folder, _generator(plan, data))


def _generator(plan: Plan, data: Data) -> "Generator | None":
    if "generator" not in readers(data.schema):
        return None
    if plan.text is None:
        raise UserError("TEXT_MODEL is not set, so nobody writes the texts.", "Set it to a model that writes.")
    from backend.models.generator import Generator

    return Generator.load(plan.text)


def examples(data: Data, positions: Sequence[int]) -> list[Example]:
    """Labelled tasks; a task's id is its position."""
    return [data.pool[p] for p in positions]


def clusters_of(features: Floats, choosable: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Cluster numbers (N,) of features (N, D) in ``choosable`` (N,), -1 elsewhere."""
    numbers = np.full(len(features), -1, np.int64)
    count = selection.cluster_count(int(choosable.sum()))
    numbers[choosable] = selection.cluster(features[choosable], count, seed)
    return numbers
