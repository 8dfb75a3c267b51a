"""Which tasks come next: features -> head -> uncertainty -> selection, with the audit share dealt in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active import selection
from backend.pipeline.parts import Parts, main_control
from backend.pipeline.pool import Labels, TaskTable, read_labels
from backend.problems.schema import Floats, Output
from backend.problems.version import Version
from backend.registry.records import Project
from backend.serving.features import FeatureStore

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

    def trained(self) -> list[int]:
        """Positions of labelled tasks that may be trained on and have features."""
        known = [self.table.position[i] for i in self.labels.targets if i in self.table.position]
        return [at for at in known if not self.table.audit[at] and not self.store.missing([self.table.texts[at]])]

    def open(self) -> NDArray[np.int64]:
        """Positions of tasks without any annotation that have features."""
        touched = np.isin(self.table.ids, np.fromiter(self.labels.touched, np.int64, len(self.labels.touched)))
        present = self.store.present(self.table.texts)
        return np.flatnonzero(~touched & present)


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
    control, problem = main_control(view.version.schema)
    at = view.open()
    trained = view.trained()
    audit = at[view.table.audit[at]]
    at = at[~view.table.audit[at]]
    head = view.version.heads[control.name]
    targets = [view.labels.targets[int(view.table.ids[p])][control.name] for p in trained]
    labelled = view.store.get([view.table.texts[p] for p in trained])
    if refit and problem.can_fit(control, targets):
        head = problem.fit_head(control, labelled, targets, seed=parts.settings.seed)
    features = view.store.get([view.table.texts[p] for p in at])
    outputs = problem.outputs(head, features)
    pool = selection.Pool(
        features=features,
        probs=_probs(outputs, len(control.labels)),
        labelled_features=labelled,
        labelled_classes=np.array([problem.hard_class(t) for t in targets], np.int64),
        clusters=parts.pools.clusters(view.project, view.version.encoder.base_id, at, features) if len(at) else None,
    )
    order = selection.choose(parts.settings.strategy, pool, n, seed=parts.settings.seed + len(trained))
    audit = audit[np.argsort(view.table.audit_rank[audit], kind="stable")]
    worth = problem.uncertainty(outputs)
    around = selection.surroundings(parts.settings.strategy, pool, order)
    picks = [
        Pick(
            int(view.table.ids[at[o]]),
            {**problem.reason(control, outputs[o], float(worth[o]), pool_size=len(at), labelled=targets), **near},
        )
        for o, near in zip(order, around, strict=True)
    ]
    audits = [Pick(int(view.table.ids[p]), {"measure": "audit"}) for p in audit[:n]]
    labelled_audit = sum(
        bool(view.table.audit[view.table.position[i]]) for i in view.labels.targets if i in view.table.position
    )
    mixed = deal_audit(picks, audits, parts.settings.audit_share, len(view.labels.targets), labelled_audit)[:n]
    known = {int(view.table.ids[at[o]]): {control.name: outputs[o]} for o in order}
    known |= _audit_outputs(view, audit[:n], control.name)
    return Ranking(mixed, {p.task_id: known[p.task_id] for p in mixed})


def deal_audit(
    picks: Sequence[Pick], audits: Sequence[Pick], share: float, labelled: int, labelled_audit: int
) -> list[Pick]:
    """Picks with audit tasks dealt in, so that ``share`` of all labels, the given ones counted, are audit labels."""
    mixed: list[Pick] = []
    chosen, random = iter(picks), iter(audits)
    while len(mixed) < len(picks) + len(audits):
        due = labelled_audit < share * (labelled + 1)
        first, second = (random, chosen) if due else (chosen, random)
        pick = next(first, None) or next(second, None)
        if pick is None:
            break
        labelled += 1
        labelled_audit += pick.reason.get("measure") == "audit"
        mixed.append(pick)
    return mixed


def _probs(outputs: Sequence[Output], k: int) -> Floats:
    """Probabilities as an array (N, K)."""
    return np.stack([o.probs for o in outputs if o.probs is not None]) if outputs else np.zeros((0, k), np.float32)


def _audit_outputs(view: View, at: NDArray[np.int64], control: str) -> dict[int, dict[str, Output]]:
    """What the version itself says of audit tasks: a fresh head must not judge what it is measured by."""
    features: Floats = view.store.get([view.table.texts[p] for p in at])
    outputs = view.version.outputs(features)[control]
    return {int(view.table.ids[p]): {control: o} for p, o in zip(at, outputs, strict=True)}
