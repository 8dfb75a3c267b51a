"""Versions, activations, what is published, jobs and timings: functions over a :class:`Registry`.

Versions are immutable. The only mutable fact about a model is which version is active, and that is one row.
"""

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import sqlalchemy as sa

from backend.registry.database import now
from backend.registry.records import JOB_ACTIVE, Activation, Job, VersionRow
from backend.registry.store import Registry

T = TypeVar("T")
_NEWEST_ACTIVATION = "SELECT COALESCE(MAX(id), 0) FROM activations WHERE project = :project"


def add_version(
    registry: Registry,
    key: str,
    *,
    schema_hash: str,
    snapshot: str,
    seen: int,
    labels: int,
    location: str | None,
    audit: Mapping[str, Any] | None,
    meta: Mapping[str, Any],
    verdict: str,
    first_number: int = 1,
) -> VersionRow:
    """The version of this snapshot, added if it is new: the same snapshot always gives the same version."""
    with registry.engine.begin() as db:
        found = db.execute(
            sa.text("SELECT * FROM versions WHERE project = :p AND snapshot = :s"), {"p": key, "s": snapshot}
        ).mappings()
        row = found.first()
        if row is not None:
            return _version(row)
        newest = db.execute(sa.text("SELECT MAX(number) FROM versions WHERE project = :p"), {"p": key}).scalar()
        number = first_number if newest is None else max(int(newest) + 1, first_number)
        values = {
            "project": key,
            "name": f"v{number}",
            "number": number,
            "schema_hash": schema_hash,
            "snapshot": snapshot,
            "seen": seen,
            "labels": labels,
            "location": location,
            "audit": json.dumps(audit) if audit else None,
            "meta": json.dumps(meta),
            "verdict": verdict,
            "created_at": now(),
            "activation": db.execute(sa.text(_NEWEST_ACTIVATION), {"project": key}).scalar_one(),
        }
        names = ", ".join(values)
        db.execute(sa.text(f"INSERT INTO versions ({names}) VALUES (:{', :'.join(values)})"), values)
    return _must(version(registry, key, f"v{number}"))


def seen_again(registry: Registry, key: str, snapshot: str, seen: int) -> VersionRow | None:
    """The version of a snapshot, if there is one: it has ``seen`` the newer changes too, since they changed nothing of
    what it learned from."""
    values = {"key": key, "snapshot": snapshot, "seen": seen}
    registry.write(
        "UPDATE versions SET seen = :seen WHERE project = :key AND snapshot = :snapshot AND seen < :seen", values
    )
    row = registry.row(
        "SELECT * FROM versions WHERE project = :key AND snapshot = :snapshot", key=key, snapshot=snapshot
    )
    return _version(row) if row else None


def version(registry: Registry, key: str, name: str) -> VersionRow | None:
    """The version of this name."""
    row = registry.row("SELECT * FROM versions WHERE project = :key AND name = :name", key=key, name=name)
    return _version(row) if row else None


def versions(registry: Registry, key: str) -> list[VersionRow]:
    """All versions of a project, oldest first."""
    rows = registry.rows("SELECT * FROM versions WHERE project = :key ORDER BY number", key=key)
    return [_version(row) for row in rows]


# ------------------------------------------------------------------------------------------------------- activations
def active(registry: Registry, key: str) -> Activation | None:
    """What the project uses now."""
    row = registry.row("SELECT * FROM activations WHERE project = :key ORDER BY id DESC LIMIT 1", key=key)
    return _activation(row) if row else None


def activations(registry: Registry, key: str) -> list[Activation]:
    """The project's history, oldest first."""
    rows = registry.rows("SELECT * FROM activations WHERE project = :key ORDER BY id", key=key)
    return [_activation(row) for row in rows]


def publication_name(registry: Registry, key: str, version_name: str, there: Collection[str] = ()) -> str:
    """A name never used in this project: ``v3``, then ``v3-r2``, ``v3-r3``, …

    Label Studio takes predictions of one name for one model, so a name is not used again after a rollback; nor is one
    that is ``there``, in Label Studio, and not ours: somebody has imported predictions under it.
    """
    used = {row["name"] for row in registry.rows("SELECT name FROM activations WHERE project = :key", key=key)}
    ours = registry.rows("SELECT DISTINCT name FROM published WHERE project = :key", key=key)
    taken = used | (set(there) - {row["name"] for row in ours})
    names = itertools.chain([version_name], (f"{version_name}-r{n}" for n in itertools.count(2)))
    return next(name for name in names if name not in taken)


def activate(registry: Registry, key: str, version_name: str, name: str, reason: str) -> None:
    """Make a version the active one: one row. Doing it again changes nothing."""
    registry.write(
        "INSERT INTO activations (project, version, name, reason, created_at) "
        "VALUES (:project, :version, :name, :reason, :at) ON CONFLICT (project, name) DO NOTHING",
        {"project": key, "version": version_name, "name": name, "reason": reason, "at": now()},
    )


def wish(registry: Registry, key: str, version_name: str) -> None:
    """Somebody asks for a version; the newest wish counts."""
    registry.write(
        "INSERT INTO wishes (project, version) VALUES (:key, :version) "
        "ON CONFLICT (project) DO UPDATE SET version = excluded.version",
        {"key": key, "version": version_name},
    )


def wished(registry: Registry, key: str) -> str | None:
    """The version that somebody asked for and that is not active yet."""
    row = registry.row("SELECT version FROM wishes WHERE project = :key", key=key)
    return str(row["version"]) if row else None


def drop_wish(registry: Registry, key: str, version_name: str) -> None:
    """The version is active, or cannot be."""
    registry.write(
        "DELETE FROM wishes WHERE project = :key AND version = :version", {"key": key, "version": version_name}
    )


# --------------------------------------------------------------------------------------------------------- published
def save_published(
    registry: Registry, key: str, name: str, rows: Sequence[tuple[int, float, Mapping[str, Any]]]
) -> None:
    """Remember what Label Studio holds: (task id, score, reason) of one publication."""
    registry.write(
        """INSERT INTO published (project, name, task_id, score, reason) VALUES (:p, :n, :t, :s, :r)
           ON CONFLICT (project, name, task_id)
           DO UPDATE SET score = excluded.score, reason = excluded.reason, stale = 0""",
        [{"p": key, "n": name, "t": task, "s": score, "r": json.dumps(reason)} for task, score, reason in rows],
    )


def published(registry: Registry, key: str, name: str) -> dict[int, tuple[float, dict[str, Any]]]:
    """Task id -> (score, reason) of one publication, lowest score first; labelled tasks included."""
    rows = registry.rows(
        "SELECT * FROM published WHERE project = :key AND name = :name ORDER BY score, task_id", key=key, name=name
    )
    return {row["task_id"]: (row["score"], json.loads(row["reason"])) for row in rows}


def published_scores(registry: Registry, key: str, name: str, task_ids: Sequence[int]) -> dict[int, float]:
    """Task id -> score, for those of the given tasks that are published."""
    if len(task_ids) > 1:
        return {task: score for task, (score, _) in published(registry, key, name).items()}
    rows = registry.rows(
        "SELECT task_id, score FROM published WHERE project = :key AND name = :name AND task_id = :task",
        key=key,
        name=name,
        task=task_ids[0] if task_ids else -1,
    )
    return {row["task_id"]: row["score"] for row in rows}


def stale(registry: Registry, key: str, name: str) -> list[int]:
    """Tasks whose data changed since they were published."""
    query = "SELECT task_id FROM published WHERE project = :key AND name = :name AND stale = 1 ORDER BY task_id"
    return [int(row["task_id"]) for row in registry.rows(query, key=key, name=name)]


def withdraw(registry: Registry, key: str, name: str, task: int) -> None:
    """Drop the row of a task that Label Studio no longer holds a prediction of."""
    registry.write(
        "DELETE FROM published WHERE project = :key AND name = :name AND task_id = :task",
        {"key": key, "name": name, "task": task},
    )


def forget_published(registry: Registry, key: str, name: str) -> None:
    """Drop the rows of a publication that Label Studio no longer holds."""
    registry.write("DELETE FROM published WHERE project = :key AND name = :name", {"key": key, "name": name})


def unfinished(registry: Registry, key: str) -> list[str]:
    """Names of publications that were planned and have never become the active one."""
    rows = registry.rows(
        "SELECT DISTINCT name FROM published WHERE project = :key "
        "AND name NOT IN (SELECT name FROM activations WHERE project = :key)",
        key=key,
    )
    return sorted(row["name"] for row in rows)


# -------------------------------------------------------------------------------------------------------------- jobs
def add_job(registry: Registry, job_id: str, key: str, kind: str, seen: int) -> None:
    """Remember a job as queued; doing it again changes nothing."""
    registry.write(
        f"""INSERT INTO jobs (id, project, kind, state, progress, message, seen, created_at, updated_at, activation)
           VALUES (:id, :project, :kind, 'queued', 0, 'waiting for its turn', :seen, :at, :at, ({_NEWEST_ACTIVATION}))
           ON CONFLICT (id) DO NOTHING""",
        {"id": job_id, "project": key, "kind": kind, "seen": seen, "at": now()},
    )


def update_job(registry: Registry, job_id: str, *, state: str, progress: float, message: str) -> None:
    """Note a job's state (``queued``, ``running``, ``done``, ``failed``), progress in [0, 1] and a sentence."""
    registry.write(
        "UPDATE jobs SET state = :s, progress = :p, message = :m, updated_at = :at WHERE id = :id",
        {"id": job_id, "s": state, "p": progress, "m": message, "at": now()},
    )


def job(registry: Registry, job_id: str) -> Job | None:
    """The job of this id."""
    row = registry.row("SELECT * FROM jobs WHERE id = :id", id=job_id)
    return _record(Job, row) if row else None


def newest_job(registry: Registry, key: str) -> Job | None:
    """The project's newest job."""
    row = registry.row("SELECT * FROM jobs WHERE project = :key ORDER BY created_at DESC, id DESC LIMIT 1", key=key)
    return _record(Job, row) if row else None


def job_count(registry: Registry, key: str) -> int:
    """How many jobs a project has had."""
    row = registry.row("SELECT COUNT(*) AS n FROM jobs WHERE project = :key", key=key)
    return int(row["n"]) if row else 0


def active_jobs(registry: Registry, key: str | None = None) -> list[Job]:
    """Jobs that are queued or running, of one project or of all."""
    rows = registry.rows(f"SELECT * FROM jobs WHERE state IN {JOB_ACTIVE} ORDER BY created_at")
    return [_record(Job, row) for row in rows if key is None or row["project"] == key]


def failed_jobs(registry: Registry, key: str) -> int:
    """How many jobs of a project have failed."""
    row = registry.row("SELECT COUNT(*) AS n FROM jobs WHERE project = :key AND state = 'failed'", key=key)
    return int(row["n"]) if row else 0


def was_tried(registry: Registry, key: str, seen: int, since: int) -> bool:
    """Whether a job that learned, or was to learn, from the change ``seen`` has been made since that activation."""
    query = "SELECT id FROM jobs WHERE project = :key AND seen >= :seen AND activation >= :since LIMIT 1"
    return registry.row(query, key=key, seen=seen, since=since) is not None


# ----------------------------------------------------------------------------------------------------------- timings
def add_timing(registry: Registry, key: str, name: str, seconds: float, keep: int = 500) -> None:
    """Note how long something took; the newest ``keep`` are kept."""
    with registry.engine.begin() as db:
        db.execute(
            sa.text("INSERT INTO timings (project, name, seconds) VALUES (:p, :n, :s)"),
            {"p": key, "n": name, "s": seconds},
        )
        db.execute(
            sa.text(
                "DELETE FROM timings WHERE project = :p AND name = :n AND id <= (SELECT id FROM timings "
                "WHERE project = :p AND name = :n ORDER BY id DESC LIMIT 1 OFFSET :keep)"
            ),
            {"p": key, "n": name, "keep": keep},
        )


def timings(registry: Registry, key: str) -> dict[str, list[float]]:
    """Name -> seconds, oldest first."""
    found: dict[str, list[float]] = {}
    for row in registry.rows("SELECT name, seconds FROM timings WHERE project = :key ORDER BY id", key=key):
        found.setdefault(row["name"], []).append(row["seconds"])
    return found


def _record(kind: type[T], row: Mapping[str, Any] | sa.RowMapping) -> T:
    """A row as a value; columns that a later release has added are left out."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def _version(row: sa.RowMapping) -> VersionRow:
    values = dict(row)
    values["audit"] = json.loads(row["audit"]) if row["audit"] else None
    values["meta"] = json.loads(row["meta"])
    return _record(VersionRow, values)


def _activation(row: sa.RowMapping) -> Activation:
    return _record(Activation, row)


def _must(row: VersionRow | None) -> VersionRow:
    if row is None:
        raise RuntimeError("a version that was just added is not there")
    return row
