"""Reads and writes of the registry, split by noun: this module holds projects, the mirror and events."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import sqlalchemy as sa

from backend.errors import NotFound
from backend.problems.schema import Schema
from backend.registry.database import now, open_database
from backend.registry.records import Annotation, Event, Project

_UPSERT_ANNOTATION = sa.text(
    """INSERT INTO annotations
       (project, annotation_id, task_id, annotator, result, cancelled, updated_at, shown, changed, changed_at)
       VALUES (:project, :annotation_id, :task_id, :annotator, :result, :cancelled, :updated_at, :shown, :changed, :at)
       ON CONFLICT (project, annotation_id) DO UPDATE SET
         task_id = excluded.task_id, annotator = excluded.annotator, result = excluded.result,
         cancelled = excluded.cancelled, updated_at = excluded.updated_at,
         shown = COALESCE(excluded.shown, annotations.shown),
         changed = CASE WHEN excluded.result <> annotations.result OR excluded.cancelled <> annotations.cancelled
                   THEN excluded.changed ELSE annotations.changed END,
         changed_at = CASE WHEN excluded.result <> annotations.result OR excluded.cancelled <> annotations.cancelled
                      THEN excluded.changed_at ELSE annotations.changed_at END
       WHERE excluded.updated_at >= annotations.updated_at"""
)

_CLOCK = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


class Registry:
    """The database behind one engine; safe to share between threads, and between processes by URL."""

    def __init__(self, url: str) -> None:
        self.engine = open_database(url)
        self._reading = self.engine.execution_options(read_only=True)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def rows(self, sql: str, **values: Any) -> list[sa.RowMapping]:
        """All rows of a SELECT."""
        with self._reading.begin() as db:
            return list(db.execute(sa.text(sql), values).mappings())

    def row(self, sql: str, **values: Any) -> sa.RowMapping | None:
        """The first row of a SELECT, or None."""
        with self._reading.begin() as db:
            return db.execute(sa.text(sql), values).mappings().first()

    def write(self, sql: str, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> int:
        """Execute one statement, for each of ``values`` where a list is given; the number of rows changed."""
        if not values:
            return 0
        with self.engine.begin() as db:
            return int(db.execute(sa.text(sql), values).rowcount)

    @property
    def clock(self) -> str:
        """The database's time in its SQL: seconds since 1970. The workers may be on machines whose clocks are apart."""
        return _CLOCK[self.engine.dialect.name]

    def time(self) -> float:
        """The database's time, seconds since 1970."""
        row = self.row(f"SELECT {self.clock} AS at")
        return float(row["at"]) if row else 0.0

    # ------------------------------------------------------------------------------------------------- projects
    def project(self, key: str) -> Project | None:
        """The project with this key."""
        row = self.row("SELECT * FROM projects WHERE key = :key", key=key)
        return _project(row) if row else None

    def must_project(self, key: str) -> Project:
        """The project with this key. Raises NotFound where there is none."""
        project = self.project(key)
        if project is None:
            raise NotFound(f"Project {key} is not known here.", "Connect it first: `ls-active connect PROJECT`.")
        return project

    def projects(self) -> list[Project]:
        """All projects, oldest first."""
        return [_project(row) for row in self.rows("SELECT * FROM projects ORDER BY seen_at")]

    def newest_project(self, project_id: int) -> Project | None:
        """The project that Label Studio means by this number now: numbers are given out again."""
        row = self.row("SELECT * FROM projects WHERE id = :id ORDER BY seen_at DESC, key DESC", id=project_id)
        return _project(row) if row else None

    def save_project(
        self, key: str, project_id: int, title: str, label_config: str, schema: Schema | None, problem: str
    ) -> None:
        """Insert or update what Label Studio says of a project."""
        self.write(
            """INSERT INTO projects (key, id, title, label_config, schema, problem, seen_at, reconciled_at,
                 tasks_stamp)
               VALUES (:key, :id, :title, :config, :schema, :problem, :at, 0, :stamp)
               ON CONFLICT (key) DO UPDATE SET title = excluded.title, label_config = excluded.label_config,
                 schema = excluded.schema, problem = excluded.problem""",
            {
                "key": key,
                "id": project_id,
                "title": title,
                "config": label_config,
                "schema": _dump(schema.to_json()) if schema else None,
                "problem": problem,
                "at": now(),
                "stamp": int(now()),  # a project that was forgotten and is back has stamps that it never had
            },
        )

    def forget_project(self, key: str) -> None:
        """Delete all that is known of a project, its versions and their publications excepted: it may be back, where it
        was only hidden from the API key's owner."""
        with self.engine.begin() as db:
            for table in ("tasks", "annotations", "events", "jobs", "timings", "wishes"):
                db.execute(sa.text(f"DELETE FROM {table} WHERE project = :key"), {"key": key})
            db.execute(sa.text("DELETE FROM projects WHERE key = :key"), {"key": key})

    def mark_reconciled(self, key: str, at: float) -> None:
        """Remember that the mirror equalled Label Studio at ``at``, by :meth:`time`."""
        self.write("UPDATE projects SET reconciled_at = :at WHERE key = :key", {"key": key, "at": at})

    def save_queue_check(self, key: str, check: Mapping[str, Any]) -> None:
        """Remember whether Label Studio serves in our order."""
        self.write("UPDATE projects SET queue_check = :c WHERE key = :key", {"key": key, "c": _dump(check)})

    def state(self, key: str) -> str:
        """What of the mirror the queue depends on, in one word that changes with tasks, answers and config."""
        row = self.row(
            """SELECT tasks_stamp, label_config, COUNT(annotation_id) AS n, COALESCE(MAX(changed), 0) AS newest
               FROM projects LEFT JOIN annotations ON project = key WHERE key = :key
               GROUP BY key, tasks_stamp, label_config""",
            key=key,
        )
        if row is None:
            return ""
        return f"{row['tasks_stamp']}.{row['n']}.{row['newest']}.{crc32(row['label_config'].encode()):x}"

    def mark_sorted(self, key: str, state: str) -> None:
        """Remember the state that the queue has been sorted for."""
        self.write("UPDATE projects SET sorted_for = :state WHERE key = :key", {"key": key, "state": state})

    # --------------------------------------------------------------------------------------------------- mirror
    def save_tasks(self, key: str, tasks: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Insert or update tasks, given as (task id, data)."""
        values = [{"project": key, "task_id": task_id, "data": _dump(data)} for task_id, data in tasks]
        published = {row["task_id"] for row in self.rows("SELECT task_id FROM published WHERE project = :key", key=key)}
        self.write(
            """UPDATE published SET stale = 1 WHERE project = :project AND task_id = :task_id AND task_id IN (
               SELECT task_id FROM tasks WHERE project = :project AND task_id = :task_id AND data <> :data)""",
            [task for task in values if task["task_id"] in published],
        )
        changed = self.write(
            """INSERT INTO tasks (project, task_id, data, stamp) VALUES (:project, :task_id, :data,
                 COALESCE((SELECT tasks_stamp + 1 FROM projects WHERE key = :project), 0))
               ON CONFLICT (project, task_id) DO UPDATE SET data = excluded.data, stamp = excluded.stamp
               WHERE excluded.data <> tasks.data""",
            values,
        )
        if changed:
            self._stamp(key)

    def tasks_since(self, key: str, stamp: int) -> list[int]:
        """Ids of tasks that came, or whose data changed, since the project's ``tasks_stamp`` was this."""
        rows = self.rows("SELECT task_id FROM tasks WHERE project = :key AND stamp > :stamp", key=key, stamp=stamp)
        return [int(row["task_id"]) for row in rows]

    def delete_tasks(self, key: str, task_ids: Iterable[int]) -> None:
        """Delete tasks, their annotations and their places in the queue."""
        values = [{"project": key, "task_id": task_id} for task_id in task_ids]
        deleted = 0
        for table in ("tasks", "annotations", "published"):
            deleted += self.write(f"DELETE FROM {table} WHERE project = :project AND task_id = :task_id", values)
        if deleted:
            self._stamp(key)

    def _stamp(self, key: str) -> None:
        self.write("UPDATE projects SET tasks_stamp = tasks_stamp + 1 WHERE key = :key", {"key": key})

    def tasks(self, key: str, only: Sequence[int] | None = None) -> dict[int, dict[str, Any]]:
        """Data of every task by its id, in order of the ids; or of those with the ids in ``only``."""
        query = "SELECT task_id, data FROM tasks WHERE project = :key ORDER BY task_id"
        if only is not None:
            wanted = ", ".join(str(int(i)) for i in sorted(set(only))) or "NULL"
            query = query.replace(" ORDER", f" AND task_id IN ({wanted}) ORDER")
        rows = self.rows(query, key=key)
        return {row["task_id"]: json.loads(row["data"]) for row in rows}

    def has_tasks(self, key: str) -> bool:
        """Whether the project has any task."""
        return self.row("SELECT 1 FROM tasks WHERE project = :key LIMIT 1", key=key) is not None

    def task_count(self, key: str) -> int:
        """How many tasks the mirror holds."""
        row = self.row("SELECT COUNT(*) AS n FROM tasks WHERE project = :key", key=key)
        return int(row["n"]) if row else 0

    def labelled(self, key: str) -> list[int]:
        """Ids of tasks with at least one answer that is no skip."""
        rows = self.rows("SELECT DISTINCT task_id FROM annotations WHERE project = :key AND cancelled = 0", key=key)
        return [int(row["task_id"]) for row in rows]

    def touched(self, key: str) -> frozenset[int]:
        """Ids of tasks with any annotation, skips included."""
        rows = self.rows("SELECT DISTINCT task_id FROM annotations WHERE project = :key", key=key)
        return frozenset(int(row["task_id"]) for row in rows)

    def labelled_count(self, key: str) -> int:
        """Tasks with at least one answer that is no skip."""
        row = self.row(
            "SELECT COUNT(DISTINCT task_id) AS n FROM annotations WHERE project = :key AND cancelled = 0", key=key
        )
        return int(row["n"]) if row else 0

    def save_annotations(self, key: str, annotations: Iterable[Annotation], changed: int) -> None:
        """Insert or update annotations; an older state never overwrites a newer one, an equal one changes nothing."""
        values = [
            {
                "project": key,
                "annotation_id": a.annotation_id,
                "task_id": a.task_id,
                "annotator": a.annotator,
                "result": _dump(a.result),
                "cancelled": int(a.cancelled),
                "updated_at": a.updated_at,
                "shown": _dump(a.shown) if a.shown else None,
                "changed": changed,
                "at": now(),
            }
            for a in annotations
        ]
        if values:
            with self.engine.begin() as db:
                db.execute(_UPSERT_ANNOTATION, values)

    def delete_annotations(self, key: str, annotation_ids: Iterable[int]) -> None:
        """Delete annotations by id."""
        values = [{"project": key, "id": annotation_id} for annotation_id in annotation_ids]
        self.write("DELETE FROM annotations WHERE project = :project AND annotation_id = :id", values)

    def annotations(self, key: str) -> list[Annotation]:
        """All annotations, oldest id first."""
        rows = self.rows("SELECT * FROM annotations WHERE project = :key ORDER BY annotation_id", key=key)
        return [_annotation(row) for row in rows]

    def annotations_of_several(self, key: str, newest: int) -> list[Annotation]:
        """All answers (no skips) to the ``newest`` tasks that more than one annotator answered, oldest id first."""
        rows = self.rows(
            "SELECT * FROM annotations WHERE project = :key AND cancelled = 0 AND task_id IN ("
            "SELECT task_id FROM annotations WHERE project = :key AND cancelled = 0 "
            "GROUP BY task_id "
            # somebody whose account was deleted is a person too
            "HAVING COUNT(DISTINCT annotator) + SUM(CASE WHEN annotator IS NULL THEN 1 ELSE 0 END) > 1 "
            "ORDER BY task_id DESC LIMIT :newest"
            ") ORDER BY annotation_id",
            key=key,
            newest=newest,
        )
        return [_annotation(row) for row in rows]

    def annotations_with_suggestion(self, key: str, newest: int) -> list[Annotation]:
        """Annotations (no skips) of which Label Studio told what was shown, newest first; at most ``newest``."""
        rows = self.rows(
            "SELECT * FROM annotations WHERE project = :key AND cancelled = 0 AND shown IS NOT NULL "
            "ORDER BY annotation_id DESC LIMIT :newest",
            key=key,
            newest=newest,
        )
        return [_annotation(row) for row in rows]

    def suggestion_stamps(self, key: str) -> dict[int, tuple[int, str]]:
        """Id -> what differs after each change, of all of :meth:`annotations_with_suggestion`, newest first: cheap."""
        rows = self.rows(
            "SELECT annotation_id, changed, updated_at FROM annotations "
            "WHERE project = :key AND cancelled = 0 AND shown IS NOT NULL ORDER BY annotation_id DESC",
            key=key,
        )
        return {int(row["annotation_id"]): (int(row["changed"]), str(row["updated_at"])) for row in rows}

    def annotation_count(self, key: str) -> int:
        """How many annotations the mirror holds, skips included."""
        row = self.row("SELECT COUNT(*) AS n FROM annotations WHERE project = :key", key=key)
        return int(row["n"]) if row else 0

    def newest_change(self, key: str) -> tuple[int, float]:
        """The newest change of an annotation and its Unix time; (0, 0.0) where there is none."""
        row = self.row(
            "SELECT COALESCE(MAX(changed), 0) AS c, COALESCE(MAX(changed_at), 0) AS t FROM annotations "
            "WHERE project = :key",
            key=key,
        )
        return (int(row["c"]), float(row["t"])) if row else (0, 0.0)

    def changed_since(self, key: str, seen: int) -> int:
        """Tasks with an answer (no skip) that changed after ``seen``."""
        row = self.row(
            "SELECT COUNT(DISTINCT task_id) AS n FROM annotations "
            "WHERE project = :key AND changed > :seen AND cancelled = 0",
            key=key,
            seen=seen,
        )
        return int(row["n"]) if row else 0

    # --------------------------------------------------------------------------------------------------- events
    def add_event(self, key: str, action: str, payload: Mapping[str, Any], *, applied: bool = False) -> int:
        """Store an event and return its number; it is safe on disk when this returns."""
        sql = sa.text(
            "INSERT INTO events (project, action, payload, received_at, applied) "
            "VALUES (:project, :action, :payload, :at, :applied) RETURNING id"
        )
        values = {"project": key, "action": action, "payload": _dump(payload), "at": now(), "applied": int(applied)}
        with self.engine.begin() as db:
            return int(db.execute(sql, values).scalar_one())

    def next_change(self, key: str) -> int:
        """A number for changes that no event told of, in one order with the events."""
        return self.add_event(key, "RECONCILED", {}, applied=True)

    def waiting_events(self, key: str, after: int = 0, limit: int = 500) -> list[Event]:
        """Events that the mirror does not hold yet, in order of arrival, those numbered up to ``after`` left out."""
        rows = self.rows(
            "SELECT * FROM events WHERE applied = 0 AND project = :key AND id > :after ORDER BY id LIMIT :limit",
            key=key,
            after=after,
            limit=limit,
        )
        return [
            Event(row["id"], row["project"], row["action"], json.loads(row["payload"]), row["received_at"])
            for row in rows
        ]

    def projects_with_events(self) -> dict[str, int]:
        """Project key -> newest waiting event."""
        rows = self.rows("SELECT project, MAX(id) AS newest FROM events WHERE applied = 0 GROUP BY project")
        return {row["project"]: row["newest"] for row in rows}

    def mark_applied(self, key: str, events: Iterable[int]) -> None:
        """The mirror holds these events of a project. Their payload is dropped: annotations have their home in Label
        Studio. One with a smaller number may still come: PostgreSQL numbers them before they are there."""
        self.write(
            "UPDATE events SET applied = 1, payload = '{}' WHERE applied = 0 AND project = :key AND id = :event",
            [{"key": key, "event": event} for event in events],
        )


def _project(row: sa.RowMapping) -> Project:
    return Project(
        key=row["key"],
        id=row["id"],
        title=row["title"],
        label_config=row["label_config"],
        schema=Schema.from_json(json.loads(row["schema"])) if row["schema"] else None,
        problem=row["problem"],
        reconciled_at=row["reconciled_at"],
        queue_check=json.loads(row["queue_check"]) if row["queue_check"] else None,
        tasks_stamp=row["tasks_stamp"],
        sorted_for=row["sorted_for"],
    )


def _annotation(row: sa.RowMapping) -> Annotation:
    return Annotation(
        annotation_id=row["annotation_id"],
        task_id=row["task_id"],
        annotator=row["annotator"],
        result=json.loads(row["result"]),
        cancelled=bool(row["cancelled"]),
        updated_at=row["updated_at"],
        shown=json.loads(row["shown"]) if row["shown"] else None,
    )
