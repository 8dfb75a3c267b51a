"""What ``demo`` and ``simulate`` share as commands that take long: how they are ended, and where they write."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from backend.errors import UserError


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, with a KeyboardInterrupt, so that no process is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def make_folder(folder: Path, option: str) -> None:
    """Makes a folder that is missing. Raises UserError, which names the option, where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"Nothing can be written to {folder}: {error.strerror}.", f"Give another {option}.") from None


def check_file(file: Path, option: str) -> None:
    """Raises UserError, which names the option, where a file cannot be written. None is made or changed by that."""
    try:
        existed = file.exists()
        if not file.is_fifo():  # its reader would see the end of what comes
            file.open("a").close()
        if not existed:
            file.resolve().unlink()  # what a link leads to
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}.", f"Give another {option}.") from None
