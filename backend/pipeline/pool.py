"""The tasks of a project as arrays, and what is known of each: label, audit, features.

Positions (rows of the arrays) stay inside this module and :mod:`backend.pipeline.ranking`; everything else speaks of
task ids.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active import selection
from backend.active.audit import audit_rank, is_audit
from backend.errors import UserError
from backend.problems.base import contexts
from backend.problems.schema import Floats, Item, Schema
from backend.registry.records import Annotation, Project
from backend.registry.store import Registry
from backend.studio.codec import decode, read_item
from backend.telemetry import logger

log = logger("pool")


@dataclass(frozen=True)
class TaskTable:
    """Every task that can be read, in order of the ids. All arrays have shape (N,).

    ``audit``: held out for measuring; ``audit_rank`` in [0, 1): the random order in which audit tasks are labelled;
    ``contexts``: equal numbers for tasks that share a context, None where none do.
    """

    ids: NDArray[np.int64]
    items: list[Item]
    audit: NDArray[np.bool_]
    audit_rank: NDArray[np.float64]
    position: Mapping[int, int]
    contexts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Labels:
    """What annotators said. ``targets``: task id -> control name -> target; ``touched``: tasks with any annotation,
    skips included: they are not offered again by us."""

    targets: Mapping[int, Mapping[str, Any]]
    touched: frozenset[int]


class PoolCache:
    """Task tables by project, rebuilt when a task was added, changed or deleted. A cache: it may be dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, tuple[tuple[int, str, float], TaskTable]] = {}
        self._clusters: dict[str, tuple[tuple[str, int, int], NDArray[np.int64]]] = {}

    def table(self, registry: Registry, project: Project, share: float) -> TaskTable:
        """The project's tasks. ``share`` of them are audit tasks, by a hash of the id."""
        stamp = (project.tasks_stamp, project.asks().hash, share)
        with self._lock:
            if project.key not in self._tables or self._tables[project.key][0] != stamp:
                self._tables[project.key] = (stamp, build_table(registry, project.key, project.asks(), share))
            return self._tables[project.key][1]

    def forget(self, key: str) -> None:
        """Drop what is known of a project: should it be back within the second, it would have the same stamp."""
        with self._lock:
            self._tables.pop(key, None)
            self._clusters.pop(key, None)

    def clusters(
        self, project: Project, store_id: str, positions: NDArray[np.int64], features: Floats
    ) -> NDArray[np.int64]:
        """A cluster number for each of ``positions`` (N,) with ``features`` (N, D).

        Computed once for a version and a set of tasks: a refresh must not wait for k-means. Tasks that came since are
        each a cluster of their own until then.
        """
        size = int(positions.max(initial=-1)) + 1
        stamp = (store_id, project.tasks_stamp)
        with self._lock:
            known = self._clusters.get(project.key)
            if (
                known is None
                or known[0][:2] != stamp
                or (known[1][positions[positions < known[0][2]]] < 0).mean() > 0.1
            ):
                numbers = np.full(size, -1, np.int64)
                k = selection.cluster_count(len(positions))
                numbers[positions] = selection.cluster(features, k, seed=0)
                self._clusters[project.key] = known = ((*stamp, size), numbers)
        numbers = np.full(max(size, len(known[1])), -1, np.int64)
        numbers[: len(known[1])] = known[1]
        found = numbers[positions]
        fresh = found < 0
        found[fresh] = numbers.max(initial=-1) + 1 + np.arange(int(fresh.sum()))
        return found


def build_table(registry: Registry, key: str, schema: Schema, share: float) -> TaskTable:
    """The task table, read from the mirror; tasks that cannot be read are left out, with a line in the log."""
    ids: list[int] = []
    items: list[Item] = []
    unreadable = 0
    for task_id, data in registry.tasks(key).items():
        try:
            items.append(read_item(schema, data))
            ids.append(task_id)
        except UserError as error:
            unreadable += 1
            if unreadable == 1:
                log.warning("task left out of the queue", project=key, task=task_id, reason=str(error))
    if unreadable > 1:
        log.warning("tasks left out of the queue", project=key, tasks=unreadable)
    return TaskTable(
        ids=np.array(ids, np.int64),
        items=items,
        audit=np.array([is_audit(key, i, share) for i in ids], bool),
        audit_rank=np.array([audit_rank(key, i) for i in ids], np.float64),
        position={task_id: at for at, task_id in enumerate(ids)},
        contexts=contexts(schema, items),
    )


def read_labels(registry: Registry, project: Project, table: TaskTable) -> Labels:
    """All usable labels of a project, annotators already combined."""
    by_task: defaultdict[int, list[Annotation]] = defaultdict(list)
    for annotation in registry.annotations(project.key):
        by_task[annotation.task_id].append(annotation)
    targets: dict[int, Mapping[str, Any]] = {}
    for task_id, annotations in by_task.items():
        at = table.position.get(task_id)
        item = None if at is None else table.items[at]
        target = decode(project.asks(), [a.to_studio() for a in annotations], item)
        if target:
            targets[task_id] = target
    return Labels(targets, frozenset(by_task))
