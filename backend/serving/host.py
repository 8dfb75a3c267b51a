"""The models of this process: the base model once, versions as they are asked for, and who may use them now."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import Busy, NotFound
from backend.models.spec import TextSpec
from backend.problems.schema import Schema
from backend.registry import versions as records
from backend.registry.records import VersionRow
from backend.registry.storage import Storage
from backend.registry.store import Registry
from backend.settings import Settings
from backend.telemetry import logger

if TYPE_CHECKING:
    from backend.models.encoder import Encoder
    from backend.models.generator import Generator
    from backend.problems.version import Version

log = logger("serving")


class ModelHost:
    """Loads models on demand and keeps them. Versions are immutable, so nothing in here can become stale."""

    def __init__(self, settings: Settings, registry: Registry, storage: Storage) -> None:
        self._settings, self._registry, self._storage = settings, registry, storage
        self._lock = threading.RLock()
        self._base: Encoder | None = None
        self._generator: Generator | None = None
        self._versions: OrderedDict[tuple[str, str], Version] = OrderedDict()
        self._waiting = threading.BoundedSemaphore(settings.max_waiting)
        self._forward = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether the base model is in memory."""
        return self._base is not None

    def fits(self, row: VersionRow) -> bool:
        """Whether a version was made for the base models that are in memory now; those that are not count as such.

        Before the encoder is, or in a command: whether for the same ones as its project's active version.
        """
        made, wanted = _made_for(row), self._wanted(row.project)
        if wanted.get("base") and made["base"] is None and row.meta.get("kind") == "cold":
            return False  # former releases did not say
        return all(made[name] in (None, known) for name, known in wanted.items() if known is not None)

    def _wanted(self, project: str) -> dict[str, str | None]:
        """The ids of the base models that a version of this project is to be made for; None for one not known."""
        if self._base is not None:
            return {"base": self._base.base_id, "text_base": self._generator.base_id if self._generator else None}
        active = records.active(self._registry, project)
        row = records.version(self._registry, project, active.version) if active else None
        return _made_for(row) if row else {}

    def encoder(self) -> "Encoder":
        """The base model; loaded at the first call. Raises ModelError where it cannot be."""
        with self._lock:
            if self._base is None:
                from backend.models.encoder import Encoder
                from backend.models.spec import ModelSpec

                start = time.perf_counter()
                self._base = Encoder.load(ModelSpec.from_settings(self._settings))
                log.info("base model loaded", model=self._settings.base_model, seconds=time.perf_counter() - start)
            return self._base

    def generator(self, schema: Schema) -> "Generator | None":
        """What writes the texts that a schema wants; loaded at the first call that wants some. None without
        ``TEXT_MODEL``. Raises ModelError where it cannot be loaded."""
        from backend.problems.base import readers

        spec = TextSpec.from_settings(self._settings)
        if spec is None or "generator" not in readers(schema):
            return None
        with self._lock:
            if self._generator is None:
                from backend.models.generator import Generator

                start = time.perf_counter()
                self._generator = Generator.load(spec)
                log.info("text model loaded", model=spec.name, seconds=time.perf_counter() - start)
            return self._generator

    def version(self, key: str, name: str, schema: Schema) -> "Version":
        """A version of a project, with its adapter merged. Raises NotFound for a name that is not registered."""
        with self._lock:
            known = (key, f"{name} {schema.hash}")  # the untrained version has the labels of its config
            if known in self._versions:
                self._versions.move_to_end(known)
                return self._versions[known]
            loaded = self._load(key, name, schema)
            self._versions[known] = loaded
            while len(self._versions) > self._settings.versions_in_memory:
                self._versions.popitem(last=False)
            return loaded

    def cold(self, schema: Schema) -> "Version":
        """The base model with a head made of the label names, for a schema that no version was made for."""
        with self._lock:
            key = ("", schema.hash)
            if key not in self._versions:
                from backend.problems.version import cold_version

                self._versions[key] = cold_version(self.encoder(), schema, self.generator(schema))
                while len(self._versions) > self._settings.versions_in_memory:
                    self._versions.popitem(last=False)
            return self._versions[key]

    def _load(self, key: str, name: str, schema: Schema) -> "Version":
        from backend.problems.version import cold_version, load_version

        row = records.version(self._registry, key, name)
        if row is None:
            raise NotFound(f"Project {key} has no version {name!r}.", "`ls-active versions PROJECT` lists them.")
        if row.location is None:
            return cold_version(self.encoder(), schema, self.generator(schema))
        return load_version(self._storage.get(row.location), self.encoder(), self.generator(schema))

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """At most ``MAX_WAITING`` callers inside, who may wait for a model to be loaded or for their :meth:`turn`.

        Raises Busy for a caller too many, at once: Label Studio's users wait for nothing that will not come.
        """
        if not self._waiting.acquire(blocking=False):
            raise Busy(
                f"{self._settings.max_waiting} predictions are waiting for the model.", "Try again; or set MAX_WAITING."
            )
        try:
            yield
        finally:
            self._waiting.release()

    def turn(self) -> AbstractContextManager[Any]:
        """One forward pass at a time, so that it has all cores."""
        return self._forward


def _made_for(row: VersionRow) -> dict[str, str | None]:
    """The ids of the base models that a version was made for; None where it says none."""
    return {name: row.meta.get(name, {}).get("id") for name in ("base", "text_base")}


def data_folder(settings: Settings, *parts: str) -> Path:
    """A folder below the data folder, made if it is missing."""
    folder = settings.data_dir.resolve().joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
