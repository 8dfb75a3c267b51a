"""Versions as immutable directories: in a folder, or behind fsspec (``s3://``, ``gs://``) with a local copy.

A version is written once, whole, and never changed; a key that exists is not written again.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backend.errors import ModelError, UserError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # by scheme


class Storage:
    """Directories by key (``project/snapshot``). ``cache`` holds local copies of remote ones and may be deleted.

    Raises UserError for a URL that nothing installed can read: the end of the first training would be late to say so.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url.rstrip("/")
        self._remote = "://" in url and not url.startswith("file://")
        self._root = cache if self._remote else Path(url.removeprefix("file://"))
        if self._remote:
            _must_be_readable(url)

    def has(self, key: str) -> bool:
        """Whether a whole directory of this key is stored."""
        if (self._root / key / "version.json").is_file():
            return True
        return self._remote and bool(self._files().exists(f"{self._url}/{key}/version.json"))

    def must_have(self, key: str) -> None:
        """Raises ModelError where no whole directory of this key is stored."""
        if not self.has(key):
            raise ModelError(
                f"The files of a version are gone: {self._url}/{key}.",
                "Put them back, or activate another version: `ls-active versions`, `ls-active activate`.",
            )

    def put(self, directory: Path, key: str) -> None:
        """Store ``directory`` under ``key`` and take it away; nothing happens where the key exists already."""
        if self.has(key):
            shutil.rmtree(directory, ignore_errors=True)
            return
        if self._remote:
            # version.json last: its presence says that the rest is there
            files = [file for file in directory.rglob("*") if file.is_file()]
            for file in sorted(files, key=lambda f: f == directory / "version.json"):
                self._files().put(str(file), f"{self._url}/{key}/{file.relative_to(directory).as_posix()}")
        target = self._root / key
        with _beside(target) as scratch:  # a move from another disk is a copy, which may break off
            shutil.move(directory, scratch / "whole")
            shutil.rmtree(target, ignore_errors=True)
            os.rename(scratch / "whole", target)

    def get(self, key: str) -> Path:
        """A local folder with the stored directory. Raises ModelError where there is none."""
        target = self._root / key
        if (target / "version.json").is_file():
            return target
        self.must_have(key)
        with _beside(target) as scratch:
            self._files().get(f"{self._url}/{key}/", str(scratch / "whole"), recursive=True)
            with suppress(OSError):  # somebody else was faster
                os.rename(scratch / "whole", target)
        return target

    def _files(self) -> Any:
        import fsspec

        return fsspec.core.url_to_fs(self._url)[0]  # type: ignore[no-untyped-call]


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder on the same disk, which is gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        yield Path(scratch)


def _must_be_readable(url: str) -> None:
    """Import what reads this URL, connecting to nothing. Raises UserError."""
    import fsspec

    for scheme in url.split("://")[0].split("::"):  # `simplecache::s3://…` is read by two
        try:
            fsspec.get_filesystem_class(scheme)  # type: ignore[no-untyped-call]
        except ValueError:
            raise UserError(
                f"STORAGE_URL begins with {scheme!r}, which is no kind of storage that fsspec knows.",
                "Use a folder, s3://… or gs://….",
            ) from None
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            hint = f"pip install -c constraints.txt '.[{extra}]'" if extra else "Install it beside ls-active."
            raise UserError(f"STORAGE_URL begins with {scheme}://, but: {error}.", hint) from None
