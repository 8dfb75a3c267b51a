"""A version's view of a project, and the order of its tasks: where ids become positions and come back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.pipeline.decide import Choice, Field, Policy, decide_by_first, fresh_judge
from backend.pipeline.parts import Parts
from backend.pipeline.pool import Labels, TaskTable, read_labels
from backend.problems.judge import Judge
from backend.problems.schema import Floats, Output
from backend.problems.version import Version
from backend.registry.records import Project
from backend.serving.features import FeatureStore
from backend.settings import Settings
from backend.studio.strategy import strategy_of
from backend.telemetry import logger

log = logger("ranking")

# New tasks that a refresh may encode itself; more wait for a workflow of their own, so that the annotator does not.
FRESH_ITEMS = 128
DEFAULT = str(Settings.model_fields["strategy"].default)


@dataclass(frozen=True)
class Pick:
    """A task in the order in which it should be labelled, with a machine-readable reason."""

    task_id: int
    reason: Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """One version's view of a project: everything a ranking is made from."""

    project: Project
    version: Version
    table: TaskTable
    labels: Labels
    store: FeatureStore


@dataclass(frozen=True)
class Ranking:
    """The next tasks, best first, and the version that judged them: its heads may be newer than the view's."""

    picks: Sequence[Pick]
    view: View
    version: Version

    def outputs(self, task_ids: Sequence[int]) -> dict[int, dict[str, Output]]:
        """Task id -> control -> what the model says. Of a held-out task the version itself speaks: a head that was
        fitted after it was made must not change what it is measured by."""
        table = self.view.table
        audit = {i for i in task_ids if table.audit[table.position[i]]}
        fresh = [i for i in task_ids if i not in audit]
        return {**_outputs(self.view, self.version, fresh), **_outputs(self.view, self.view.version, sorted(audit))}


def _outputs(view: View, version: Version, task_ids: Sequence[int]) -> dict[int, dict[str, Output]]:
    if not task_ids:
        return {}
    items = [view.table.items[view.table.position[i]] for i in task_ids]
    by_control = version.within(0).outputs(items, view.store.get(items))  # texts are written ahead: pipeline/encode.py
    return {i: {name: outputs[at] for name, outputs in by_control.items()} for at, i in enumerate(task_ids)}


def view(parts: Parts, project: Project, version: Version) -> View:
    """The current view; the tasks of new labels are encoded on the way, so that no label waits for a training."""
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    labels = read_labels(parts.registry, project, table)
    store = parts.features.of(version)
    answered = [table.items[table.position[i]] for i in labels.targets if i in table.position]
    fresh = [table.items[at] for at in new(parts, project, version)[:FRESH_ITEMS]]
    store.fill(version, store.missing(answered) + fresh)
    return View(project, version, table, labels, store)


def new(parts: Parts, project: Project, version: Version) -> NDArray[np.int64]:
    """Positions in the table of the tasks that came, or changed, since the pool was encoded, ascending: of one with
    more than ``POOL_CANDIDATES`` many were left out on purpose."""
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    store = parts.features.of(version)
    missing = np.flatnonzero(~store.present(table.items))
    if len(table) > parts.settings.pool_candidates:
        since = parts.registry.tasks_since(project.key, store.stamp(project.key))
        missing = missing[np.isin(table.ids[missing], since)]
    return missing


def rank(parts: Parts, view: View, n: int, *, refit: bool) -> Ranking:
    """The ``n`` tasks to label next.

    ``refit``: fit fresh heads to all labels on the version's features, which costs a fraction of a second and knows
    the newest labels; otherwise the version's own heads judge.
    """
    settings = parts.settings
    at = np.flatnonzero(view.store.present(view.table.items))  # positions in the table
    own = Judge(view.version.schema, view.version.heads, view.version.encoder.dim, settings.weights)
    field = _field(parts, view, at, own)
    judge = fresh_judge(own, field, settings.seed) if refit else own
    picks = [Pick(int(view.table.ids[at[c.position]]), c.reason) for c in _decided(parts, view, judge, field, n)]
    return Ranking(picks, view, view.version.with_heads(judge.heads))


def _decided(parts: Parts, view: View, judge: Judge, field: Field, n: int) -> list[Choice]:
    """What the label config's strategy chooses, else the setting's, else the default. Which one cannot is said once for
    each project."""
    settings, key = parts.settings, view.project.key
    named = strategy_of(view.project.label_config, settings.strategy).name

    def unable(strategy: str, error: ValueError) -> None:
        if (key, strategy) not in parts.failed_strategies:
            parts.failed_strategies.add((key, strategy))
            log.warning("a strategy cannot choose", project=key, strategy=strategy, reason=str(error))

    wanted = dict.fromkeys([named, settings.strategy, DEFAULT])
    policies = [Policy(strategy, settings.audit_share, settings.seed) for strategy in wanted]
    return decide_by_first(judge, field, n, policies, unable)


def _field(parts: Parts, view: View, at: NDArray[np.int64], judge: Judge) -> Field:
    """The tasks at these positions of the table as arrays."""
    ids = view.table.ids[at]
    items = [view.table.items[p] for p in at]
    rows = view.store.get(items)
    touched = np.isin(ids, np.fromiter(view.labels.touched, np.int64, len(view.labels.touched)))
    audit = view.table.audit[at]
    targets = view.labels.targets
    return Field(
        rows=rows,
        open=~touched,
        audit=audit,
        audit_rank=view.table.audit_rank[at],
        targets={p: targets[i] for p, i in enumerate(ids.tolist()) if i in targets},
        clusters=_clusters(parts, view, at, judge.features(rows), ~touched & ~audit),
        texts=[item.text for item in items],
        contexts=None if view.table.contexts is None else view.table.contexts[at],
    )


def _clusters(
    parts: Parts, view: View, at: NDArray[np.int64], features: Floats, choosable: NDArray[np.bool_]
) -> NDArray[np.int64] | None:
    """Cluster numbers, shape of ``at``; -1 where nothing is to be chosen, None where nothing is anywhere."""
    if not choosable.any():
        return None
    numbers = np.full(len(at), -1, np.int64)
    numbers[choosable] = parts.pools.clusters(view.project, view.version.base_id, at[choosable], features[choosable])
    return numbers
