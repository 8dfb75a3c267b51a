"""`connect` and `doctor` with a Label Studio that is played, for states that a real one hardly gets into."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from backend.studio import transport
from backend.studio.client import Studio
from backend.studio.connect import connect, disconnect
from tests.studio.servers import CONFIG, Request, Server, serve

KEY = "0123456789abcdef0123456789abcdef01234567"
OURS = "http://10.0.0.6:9090"


class Played:
    """One project with its backends and webhooks, as Label Studio keeps them."""

    def __init__(self) -> None:
        self.project: dict[str, Any] = {
            "id": 1,
            "title": "t",
            "label_config": CONFIG,
            "sampling": "Sequential sampling",
            "show_collab_predictions": False,
            "evaluate_predictions_automatically": True,
            "model_version": "v1",
        }
        self.rows: dict[str, list[dict[str, Any]]] = {"ml": [], "webhooks": []}
        self.others: dict[str, Any] = {
            "current-user": {"email": "a@b.c"},
            "version": {"release": "1.23.2"},
            "predictions": [{"id": 1, "task": 1, "score": 0.1, "model_version": "v1"}],
            "tasks": {"tasks": [{"id": 1, "predictions_score": 0.1}], "total": 1},
        }

    def __call__(self, request: Request) -> tuple[int, Any]:
        kind, *rest = urlsplit(request.path).path.strip("/").split("/")[1:]
        if kind == "projects":
            self.project.update(request.body or {})
            return 200, self.project
        if kind not in self.rows:
            return 200, self.others[kind]
        rows = self.rows[kind]
        if request.method == "GET":
            return 200, rows
        if request.method == "POST":
            rows.append({"id": len(rows) + 1, "state": "CO", "readable_state": "Connected", **request.body})
            return 201, rows[-1]
        (row,) = [row for row in rows if row["id"] == int(rest[0])]
        if request.method == "DELETE":
            rows.remove(row)
        row.update(request.body or {})
        return 200, row


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
def fake(played: Played, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Where the played Label Studio answers; no waiting between tries."""
    monkeypatch.setattr(transport, "RETRY_AFTER_S", (0, 0, 0))
    with serve(played) as server:
        yield server


def test_disconnect_puts_the_settings_back_whoever_added_the_backend(fake: Server, played: Played) -> None:
    studio, before = Studio(fake.url, KEY), dict(played.project)
    studio.create_backend(url=OURS, project=1, title="added in the dialog", extra_params={"theirs": 1})
    connect(studio, 1, OURS, webhook_secret="right")
    connect(studio, 1, OURS, webhook_secret="right")
    assert played.rows["ml"][0]["extra_params"]["theirs"] == 1
    assert played.project != before
    disconnect(studio, 1, OURS)
    assert (played.project, played.rows) == (before, {"ml": [], "webhooks": []})
