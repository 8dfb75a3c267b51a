"""The database's shape as append-only numbered steps; a step that has landed is never edited."""

import time

import sqlalchemy as sa

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # tasks_stamp: grows whenever a task of the project is added, changed or deleted.
        # A project is known by Label Studio's own key "<id>.<unix time of creation>": ids are given out again.
        """CREATE TABLE projects (
            key TEXT PRIMARY KEY, id INTEGER NOT NULL, title TEXT NOT NULL, label_config TEXT NOT NULL,
            schema TEXT, problem TEXT NOT NULL, seen_at DOUBLE PRECISION NOT NULL,
            reconciled_at DOUBLE PRECISION NOT NULL, queue_check TEXT, tasks_stamp INTEGER NOT NULL)""",
        """CREATE TABLE tasks (
            project TEXT NOT NULL, task_id BIGINT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (project, task_id))""",
        # changed: id of the event or reconciliation that last changed the row; versions remember how far they saw.
        """CREATE TABLE annotations (
            project TEXT NOT NULL, annotation_id BIGINT NOT NULL, task_id BIGINT NOT NULL, annotator BIGINT,
            result TEXT NOT NULL, cancelled INTEGER NOT NULL, updated_at TEXT NOT NULL, shown TEXT,
            changed BIGINT NOT NULL, changed_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (project, annotation_id))""",
        "CREATE INDEX annotations_by_task ON annotations (project, task_id)",
        """CREATE TABLE events (
            id {serial}, project TEXT NOT NULL, action TEXT NOT NULL, payload TEXT NOT NULL,
            received_at DOUBLE PRECISION NOT NULL, applied INTEGER NOT NULL)""",
        "CREATE INDEX events_waiting ON events (applied, project, id)",
        """CREATE TABLE versions (
            project TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, schema_hash TEXT NOT NULL,
            snapshot TEXT NOT NULL, seen BIGINT NOT NULL, labels INTEGER NOT NULL, location TEXT,
            audit TEXT, meta TEXT NOT NULL, verdict TEXT NOT NULL, created_at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (project, name), UNIQUE (project, snapshot))""",
        # Append only. The last row of a project is the active version; `name` is what Label Studio sees.
        """CREATE TABLE activations (
            id {serial}, project TEXT NOT NULL, version TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL, UNIQUE (project, name))""",
        """CREATE TABLE published (
            project TEXT NOT NULL, name TEXT NOT NULL, task_id BIGINT NOT NULL, score DOUBLE PRECISION NOT NULL,
            reason TEXT NOT NULL, PRIMARY KEY (project, name, task_id))""",
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY, project TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
            progress DOUBLE PRECISION NOT NULL, message TEXT NOT NULL, seen BIGINT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL, updated_at DOUBLE PRECISION NOT NULL)""",
        "CREATE INDEX jobs_by_project ON jobs (project, created_at)",
        """CREATE TABLE timings (
            id {serial}, project TEXT NOT NULL, name TEXT NOT NULL, seconds DOUBLE PRECISION NOT NULL)""",
        "CREATE TABLE workers (id TEXT PRIMARY KEY, seen_at DOUBLE PRECISION NOT NULL)",
        "CREATE INDEX timings_by_name ON timings (project, name, id)",
    ),
    (
        # the state of the mirror (see Registry.state) that the queue was last sorted for
        "ALTER TABLE projects ADD COLUMN sorted_for TEXT NOT NULL DEFAULT ''",
    ),
    (
        "CREATE INDEX annotations_by_change ON annotations (project, changed)",
        # the version that somebody asked for, until it is the active one
        "CREATE TABLE wishes (project TEXT PRIMARY KEY, version TEXT NOT NULL)",
    ),
    (
        # the id of the project's newest activation when the row was made: what came first, whatever the clocks say
        "ALTER TABLE versions ADD COLUMN activation BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN activation BIGINT NOT NULL DEFAULT 0",
        *(
            f"""UPDATE {table} SET activation = COALESCE((SELECT MAX(id) FROM activations
                WHERE activations.project = {table}.project AND activations.created_at <= {table}.created_at), 0)"""
            for table in ("versions", "jobs")
        ),
    ),
    (
        # the project's tasks_stamp when the task came or its data changed
        "ALTER TABLE tasks ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0",
        # 1: what was published is about data that the task no longer has
        "ALTER TABLE published ADD COLUMN stale INTEGER NOT NULL DEFAULT 0",
    ),
)


def migrate(engine: sa.Engine) -> None:
    """Bring the database to the newest shape; safe to call from several processes at once."""
    serial = "INTEGER PRIMARY KEY AUTOINCREMENT" if engine.dialect.name == "sqlite" else "BIGSERIAL PRIMARY KEY"
    with engine.begin() as db:
        _lock(db)
        db.exec_driver_sql("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, at DOUBLE PRECISION)")
        done = db.execute(sa.text("SELECT COUNT(*) FROM migrations")).scalar_one()
        for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
            for statement in statements:
                db.exec_driver_sql(statement.format(serial=serial))
            db.execute(sa.text("INSERT INTO migrations VALUES (:n, :at)"), {"n": number, "at": time.time()})


def _lock(db: sa.Connection) -> None:
    # SQLite is locked by the write transaction that the engine begins (see store.py); PostgreSQL needs a word.
    if db.dialect.name == "postgresql":
        db.exec_driver_sql("SELECT pg_advisory_xact_lock(7411)")
