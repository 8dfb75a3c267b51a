"""Features of a project's pool in the space of one version: the long part of making a version ready to publish."""

from collections.abc import Callable

import numpy as np

from backend.errors import UserError
from backend.pipeline import due
from backend.pipeline.decide import Field, fresh_judge
from backend.pipeline.parts import Parts
from backend.pipeline.pool import TaskTable, read_labels
from backend.pipeline.publish import load
from backend.pipeline.ranking import rank, view
from backend.problems.version import Version
from backend.registry import versions as records
from backend.registry.records import Project, VersionRow
from backend.telemetry import logger

log = logger("encode")


def encode_pool(parts: Parts, key: str, version_name: str, on_progress: Callable[[float, str], None]) -> int:
    """Compute what is missing of the features that ranking with this version needs; how many tasks there were.

    All labelled tasks and up to ``POOL_CANDIDATES`` others: of larger pools the audit tasks that come next, as many as
    are their share, and of the others those that the frozen base model with a fresh head finds most uncertain, and a
    fifth at random.
    """
    project = parts.registry.must_project(key)
    version = load(parts, project, version_name)
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    items = [table.items[at] for at in candidates(parts, project, version, table)]

    def report(done: int, total: int) -> None:
        on_progress(done / max(total, 1), f"encoding: {done} of {total} tasks")

    store = parts.features.of(version)
    found = store.fill(version, items, report)
    store.note_whole(key, project.tasks_stamp)
    write_ahead(parts, project, version, on_progress)
    return found


def write_ahead(
    parts: Parts, project: Project, version: Version, on_progress: Callable[[float, str], None] = lambda *_: None
) -> None:
    """Have the texts written that a publication suggests for the first ``TEXT_SUGGESTIONS`` tasks.

    Here and not there, since that takes seconds for each, in which an annotator's queue must not wait. They stay in the
    version's memory. Where there is no queue yet, it is not kept waiting for them: they are added to it.
    """
    first = records.active(parts.registry, project.key) is None
    if first or version.generator is None or parts.settings.text_suggestions == 0:
        return
    ranking = rank(parts, view(parts, project, version), parts.settings.text_suggestions, refit=False)
    table = ranking.view.table
    items = [table.items[table.position[pick.task_id]] for pick in ranking.picks]
    for done, item in enumerate(items, start=1):
        version.outputs([item], np.zeros((1, version.dim), np.float32))
        on_progress(done / len(items), f"writing: {done} of {len(items)} tasks")


def candidates(parts: Parts, project: Project, version: Version, table: TaskTable) -> list[int]:
    """Positions of the tasks that this version should score."""
    limit = parts.settings.pool_candidates
    frozen = parts.host.cold(project.asks())
    if len(table) <= limit or version.base_id == frozen.base_id:
        return list(range(len(table)))
    labels = read_labels(parts.registry, project, table)
    store = parts.features.of(frozen)
    store.fill(frozen, table.items)
    known = [table.position[i] for i in labels.targets if i in table.position]
    rest = np.setdiff1d(np.arange(len(table)), known)
    audits = rest[table.audit[rest]]
    audits = audits[np.argsort(table.audit_rank[audits], kind="stable")][: round(limit * parts.settings.audit_share)]
    rest, limit = rest[~table.audit[rest]], limit - len(audits)
    field = Field(
        rows=store.get([table.items[at] for at in known]),
        open=np.zeros(len(known), bool),
        audit=table.audit[known],
        audit_rank=table.audit_rank[known],
        targets={at: labels.targets[int(table.ids[p])] for at, p in enumerate(known)},
    )
    judge = fresh_judge(frozen.judge, field, parts.settings.seed)
    worth = judge.worth(store.get([table.items[at] for at in rest]))
    generator = np.random.default_rng(parts.settings.seed)
    random = generator.choice(rest, min(limit // 5, len(rest)), replace=False)
    best = rest[np.argsort(-worth, kind="stable")]
    best = best[~np.isin(best, random)][: limit - len(random)]
    return sorted(map(int, [*known, *audits, *random, *best]))


def forget_features(parts: Parts) -> None:
    """Delete the features of versions that nobody needs any more.

    Needed are the base model's, and of each project those of the active version, of one that was asked for and of the
    newest; where none is active, of all that could be.
    """
    keep = {parts.host.encoder().base_id}
    for project in parts.registry.projects():
        if project.schema is None:
            continue
        keep.add(parts.host.cold(project.schema).base_id)
        active, rows = due.active_version(parts, project), due.usable_versions(parts, project)
        needed = [active, due.newest_ready(parts, project), *rows[-1:]]
        names = {row.name for row in needed if row} | {due.wished(parts, project)}
        keep |= {_features_of(parts, project, row) for row in rows if active is None or row.name in names}
    parts.features.keep_only(keep)


def _features_of(parts: Parts, project: Project, row: VersionRow) -> str:
    """The ``base_id`` of a version, empty for one of a former release that cannot be loaded."""
    if "features" not in row.meta:
        try:
            return parts.host.version(project.key, row.name, project.asks()).base_id
        except (UserError, OSError) as error:
            log.warning("a version cannot be loaded", project=project.key, version=row.name, reason=str(error))
    return str(row.meta.get("features", ""))
