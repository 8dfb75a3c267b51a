"""A version's view of a project, and the order of its tasks: where ids become positions and come back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.pipeline.decide import Choice, Field, Policy, decide, fresh_head
from backend.pipeline.parts import Parts, main_control
from backend.pipeline.pool import Labels, TaskTable, read_labels
from backend.problems.schema import Output
from backend.problems.version import Version
from backend.registry.records import Project
from backend.serving.features import FeatureStore
from backend.studio.strategy import strategy_of
from backend.telemetry import logger

log = logger("ranking")

# New texts that a refresh may encode itself; more wait for the encoding job, so that the annotator does not.
FRESH_TEXTS = 128


@dataclass(frozen=True)
class Pick:
    """A task in the order in which it should be labelled, with a machine-readable reason."""

    task_id: int
    reason: Mapping[str, Any]


@dataclass(frozen=True)
class Ranking:
    """The next tasks, best first, and what the model says of each (by task id)."""

    picks: Sequence[Pick]
    outputs: Mapping[int, Mapping[str, Output]]


@dataclass(frozen=True)
class View:
    """One version's view of a project: everything a ranking is made from."""

    project: Project
    version: Version
    table: TaskTable
    labels: Labels
    store: FeatureStore


def view(parts: Parts, project: Project, version: Version) -> View:
    """The current view; texts of new labels are encoded on the way, so that no label waits for a training."""
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    labels = read_labels(parts.registry, project)
    store = parts.features.of(version.encoder)
    answered = [table.texts[table.position[i]] for i in labels.targets if i in table.position]
    fresh = store.missing(answered) + store.missing(table.texts)[:FRESH_TEXTS]
    store.fill(version.encoder, fresh)
    return View(project, version, table, labels, store)


def rank(parts: Parts, view: View, n: int, *, refit: bool) -> Ranking:
    """The ``n`` tasks to label next.

    ``refit``: fit a fresh head to all labels on the version's features, which costs a fraction of a second and knows
    the newest labels; otherwise the version's own head judges.
    """
    control, _ = main_control(view.version.schema)
    settings = parts.settings
    at = np.flatnonzero(view.store.present(view.table.texts))  # positions in the table
    field = _field(parts, view, at, control.name)
    own = view.version.heads[control.name]
    head = fresh_head(control, field, own, settings.seed) if refit else own
    chosen = strategy_of(view.project.label_config, settings.strategy)

    def decided(strategy: str) -> list[Choice]:
        policy = Policy(strategy, settings.audit_share, settings.seed)
        return decide(control, field, head, n, policy, judge=own)

    try:
        found = decided(chosen.name)
    except ValueError as error:  # another library's strategy that cannot choose from what there is now
        if chosen.source == "setting":
            raise
        log.warning("strategy of the label config failed", project=view.project.key, reason=str(error))
        found = decided(settings.strategy)
    choices = [(int(view.table.ids[at[c.position]]), c) for c in found]
    return Ranking(
        [Pick(task_id, choice.reason) for task_id, choice in choices],
        {task_id: {control.name: choice.output} for task_id, choice in choices},
    )


def _field(parts: Parts, view: View, at: NDArray[np.int64], control: str) -> Field:
    """The tasks at these positions of the table as arrays."""
    ids = view.table.ids[at]
    texts = [view.table.texts[p] for p in at]
    features = view.store.get(texts)
    touched = np.isin(ids, np.fromiter(view.labels.touched, np.int64, len(view.labels.touched)))
    audit = view.table.audit[at]
    targets = view.labels.targets
    return Field(
        features=features,
        open=~touched,
        audit=audit,
        audit_rank=view.table.audit_rank[at],
        targets={p: targets[i][control] for p, i in enumerate(ids.tolist()) if control in targets.get(i, ())},
        clusters=_clusters(parts, view, at, features, ~touched & ~audit),
        texts=texts,
    )


def _clusters(
    parts: Parts, view: View, at: NDArray[np.int64], features: NDArray[np.float32], choosable: NDArray[np.bool_]
) -> NDArray[np.int64] | None:
    """Cluster numbers, shape of ``at``; -1 where nothing is to be chosen, None where nothing is anywhere."""
    if not choosable.any():
        return None
    numbers = np.full(len(at), -1, np.int64)
    numbers[choosable] = parts.pools.clusters(
        view.project, view.version.encoder.base_id, at[choosable], features[choosable]
    )
    return numbers
