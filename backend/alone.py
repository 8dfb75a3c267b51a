"""One writer for each folder: two would mix up what they write there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from backend.errors import UserError

LOCK = "in-use.lock"


@contextmanager
def alone(folder: Path, hint: str) -> Iterator[None]:
    """Hold the folder, which is made if it is missing; the system lets go of it when the process ends, however it does.

    Raises UserError with the ``hint`` where a process holds it already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"Another process is at work in {folder}.", hint) from None
    try:
        yield
    finally:
        lock.release()
