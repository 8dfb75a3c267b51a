"""One engine for SQLite and PostgreSQL."""

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock

from backend.errors import UserError
from backend.registry.migrations import migrate

_DATABASE_HINT = "It is such as postgresql+psycopg://user:password@host/name (pip install 'ls-active[postgres]')."


def open_database(url: str) -> sa.Engine:
    """A migrated engine. Raises UserError where the database cannot be reached.

    SQLite runs in WAL mode, so that readers never wait for the worker's writes, and takes its write lock when a
    transaction begins: two processes that read and then write cannot dead-lock.
    """
    try:
        return _open(sa.make_url(url))
    except (sa.exc.ArgumentError, sa.exc.DatabaseError, ModuleNotFoundError, OSError, ValueError) as error:
        raise not_opened(url, error, "tasks and annotations are read from Label Studio, trainings begin anew") from None


def not_opened(url: str, error: Exception, without: str) -> UserError:
    """What is said of a database that cannot be opened; ``without`` a file that is damaged something becomes of it."""
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if type(error) is sa.exc.DatabaseError and url.startswith("sqlite"):
        file = sa.make_url(url).database
        return UserError(f"{file} cannot be opened: {reason}.", f"Put a copy of it back, or move it away: {without}.")
    return UserError(f"The database of DATABASE_URL cannot be opened: {reason}.", _DATABASE_HINT)


def _open(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)  # errors name no annotator's words
        migrate(engine)
        return engine
    engine = sa.create_engine(url, connect_args={"timeout": 30}, hide_parameters=True)
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    with _first(url.database):
        migrate(engine)
    return engine


def _first(file: str | None) -> AbstractContextManager[Any]:
    """Inside, no one else turns a new database to WAL mode: SQLite waits for locks, but not always for that one."""
    if not file or file == ":memory:":
        return nullcontext()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{file}.lock")


def _on_connect(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _on_begin(db: sa.Connection) -> None:
    read_only = db.get_execution_options().get("read_only", False)
    db.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def now() -> float:
    """Unix time in seconds."""
    return time.time()
