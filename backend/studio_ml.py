"""The same model under label-studio-ml's server: ``init_app(model_class=ActiveLearning, model_dir="…")``.

Works with release 1.0.9 of the package index and with the 2.x source. It shares database, versions and worker with
``ls-active``: run ``ls-active worker`` beside it, which trains and keeps the queue.
"""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend.pipeline.parts import Parts, build_parts
from backend.pipeline.predict import predict
from backend.settings import load_settings
from backend.web.messages import Webhook, regions_of
from backend.web.protocol import accept_event, find_project, schema_of


@lru_cache(maxsize=1)
def _parts_of(_: int) -> Parts:
    return build_parts(load_settings())


def parts() -> Parts:
    """The parts of this process; label-studio-ml forks for ``fit``, and a fork must not share connections."""
    return _parts_of(os.getpid())


class ActiveLearning(LabelStudioMLBase):  # type: ignore[misc]  # the package has no types
    """Predictions from the active version; annotations go to the worker as events."""

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **_: Any
    ) -> list[dict[str, Any]]:
        """One prediction for each task, in order."""
        number = tasks[0].get("project") if tasks else None
        project = find_project(parts(), number)
        config = self.label_config or (project.label_config if project else "")
        asked = [(t.get("id"), t.get("data") or {}) for t in tasks]
        return predict(parts(), project, schema_of(config), asked, context=regions_of(context))

    def fit(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Store an event; training happens in the worker. 1.0.9 names ``event`` and ``data``, 2.x passes them."""
        event, data = (options.get("event"), options.get("data")) if "event" in options else args[:2]
        if not isinstance(event, str) or not isinstance(data, Mapping):
            return {"status": "ignored", "reason": "only events of Label Studio's webhook are stored"}
        return accept_event(parts(), Webhook.model_validate({**data, "action": event}))
