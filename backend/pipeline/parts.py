"""What the verbs are made of, wired once by the entry point."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from backend.pipeline.pool import PoolCache
from backend.registry.storage import Storage
from backend.registry.store import Registry
from backend.serving.features import FeatureStores
from backend.serving.host import ModelHost, data_folder
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.studio.client import Studio


@dataclass
class Parts:
    """The parts of one process. ``studio`` is made at its first use, so that web processes never need a token."""

    settings: Settings
    registry: Registry
    storage: Storage
    host: ModelHost
    features: FeatureStores
    pools: PoolCache = field(default_factory=PoolCache)
    prediction_ids: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    thresholds: dict[str, tuple[float, dict[str, float]]] = field(default_factory=dict)
    shown: dict[str, tuple[str, dict[int, Any]]] = field(default_factory=dict)  # see pipeline/suggestions.py
    failed_strategies: set[tuple[str, str]] = field(default_factory=set)  # (project, name): see pipeline/ranking.py
    make_studio: Callable[[Settings], Any] | None = None

    @cached_property
    def studio(self) -> "Studio":
        """Label Studio's API with the token of the settings."""
        client: Studio = (self.make_studio or make_studio)(self.settings)
        return client


def make_studio(settings: Settings) -> "Studio":
    """A client with the address and token of the settings."""
    from backend.studio.client import Studio

    return Studio(
        settings.studio_url, settings.label_studio_api_key.get_secret_value(), timeout_s=settings.label_studio_timeout_s
    )


def build_parts(settings: Settings) -> Parts:
    """All parts for these settings; opens and migrates the database, loads no model."""
    _ = settings.made_data_dir
    registry = Registry(settings.database)
    storage = Storage(settings.storage, data_folder(settings, "cache", "versions"))
    return Parts(
        settings=settings,
        registry=registry,
        storage=storage,
        host=ModelHost(settings, registry, storage),
        features=FeatureStores(data_folder(settings, "cache", "features")),
    )
