"""What all tests share: the loop without weights. A project of short texts, a Label Studio in memory, an encoder that
knows words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings as hypothesis_settings

from backend.pipeline.parts import Parts
from backend.problems.version import cold_version
from backend.registry import versions as records
from backend.registry.storage import Storage
from backend.registry.store import Registry
from backend.serving.features import FeatureStores
from backend.serving.host import ModelHost
from backend.settings import Settings
from backend.telemetry import configure_logging
from tests.fakes import KEY, FakeStudio, WordEncoder
from tests.postgresql import PostgreSQL, running

configure_logging("error")
# two cores may be shared: how long an example takes says nothing
hypothesis_settings.register_profile("shared", deadline=None, max_examples=50)
hypothesis_settings.load_profile("shared")


class WordHost(ModelHost):
    """A model host whose every version is the word encoder with a head of label names."""

    def encoder(self):
        self._base = self._base or WordEncoder()
        return self._base

    def _load(self, key, name, schema):
        row = records.version(self._registry, key, name)
        assert row is not None, name
        encoder = self.encoder() if row.location is None else WordEncoder(row.location)
        return cold_version(encoder, schema, self.generator(schema))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny models are faster on one thread, by far where other programs use the cores; what loaded a model before may
    have set more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with running() as server:
        yield server


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """What DATABASE_URL is: empty for the SQLite of the data folder. See :data:`tests.fakes.DATABASES`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return ""
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def settings(tmp_path: Path, database: str) -> Settings:
    how = {"window": 20, "fast_top": 5, "audit_share": 0.2, "suggest_above": 0}
    return Settings(data_dir=tmp_path, database_url=database, **how, _env_file=None)


@pytest.fixture
def studio() -> FakeStudio:
    return FakeStudio()


@pytest.fixture
def parts(settings, studio, tmp_path):
    registry = Registry(settings.database)
    storage = Storage(settings.storage, tmp_path / "cache")
    parts = Parts(
        settings=settings,
        registry=registry,
        storage=storage,
        host=WordHost(settings, registry, storage),
        features=FeatureStores(tmp_path / "features"),
        make_studio=lambda _: studio,
    )
    yield parts
    registry.close()


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where a model runs: the same is asserted on each device that there is."""
    return str(request.param)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no Label Studio first: most mistakes show within a minute. Of processes side by side, one takes a
    whole file, and one all that needs Label Studio, or PostgreSQL."""
    items.sort(key=_needs_studio)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    if _needs_studio(item):
        return "studio"
    params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
    return "postgresql" if params and params.get("database") == "postgresql" else item.path.stem


def _needs_studio(item: pytest.Item) -> bool:
    return item.get_closest_marker("studio") is not None
