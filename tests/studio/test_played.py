"""`connect` and `doctor` with a Label Studio that is played, for states that a real one hardly gets into."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from backend.settings import Settings
from backend.studio import transport
from backend.studio.client import Studio
from backend.studio.connect import SECRET_HEADER, connect, disconnect
from backend.studio.doctor import Finding, examine
from tests.studio.servers import CONFIG, Request, Server, serve

KEY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQ4MDAwMDAwMDAsInRva2VuX3R5cGUiOiJyZWZyZXNoIn0.c2ln"
OURS, THEIRS = "http://10.0.0.6:9090", "http://10.0.0.5:9999"


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
            "token": {"access": PERSONAL},
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


@pytest.fixture
def ours() -> Iterator[Server]:
    """Our server, which knows the webhook's secret."""

    def answer(request: Request) -> tuple[int, Any]:
        return (401 if request.method == "POST" and request.headers.get(SECRET_HEADER) != "right" else 200), {}

    with serve(answer) as server:
        yield server


@pytest.fixture
def settings(fake: Server, ours: Server, tmp_path: Path) -> Settings:
    return Settings(
        label_studio_url=fake.url,  # type: ignore[arg-type]
        label_studio_api_key=SecretStr(PERSONAL),
        port=int(ours.url.rsplit(":", 1)[1]),
        data_dir=tmp_path / "never-made",
    )


def troubles(settings: Settings, studio: Studio | None = None) -> list[Finding]:
    found = [f for f in examine(settings, 1, studio) if f.level != "ok"]
    assert all(f.advice for f in found)
    return found


def test_disconnect_puts_the_settings_back_whoever_added_the_backend(fake: Server, played: Played) -> None:
    studio, before = Studio(fake.url, KEY), dict(played.project)
    studio.create_backend(url=OURS, project=1, title="added in the dialog", extra_params={"theirs": 1})
    connect(studio, 1, OURS, webhook_secret="right")
    connect(studio, 1, OURS, webhook_secret="right")
    assert played.rows["ml"][0]["extra_params"]["theirs"] == 1
    assert played.project != before
    disconnect(studio, 1, OURS)
    assert (played.project, played.rows) == (before, {"ml": [], "webhooks": []})


def only_title(settings: Settings, studio: Studio | None = None) -> str:
    (found,) = troubles(settings, studio)
    return found.title


def test_a_webhook_whose_secret_the_server_refuses_is_found(fake: Server, settings: Settings) -> None:
    """Whatever the settings know that the doctor has: it may be asked in another folder."""
    connect(Studio(fake.url, KEY), 1, OURS, webhook_secret="wrong")
    assert "not this server's" in only_title(settings)
    assert "not this server's" in only_title(settings.model_copy(update={"webhook_secret": SecretStr("wrong")}))
    connect(Studio(fake.url, KEY), 1, OURS, webhook_secret="right")
    assert troubles(settings) == []
    assert troubles(settings.model_copy(update={"webhook_secret": SecretStr("wrong")})) == []
    assert not settings.data_dir.exists()


def test_the_settings_tell_the_secret_where_the_server_is_not(fake: Server, settings: Settings) -> None:
    connect(Studio(fake.url, KEY), 1, OURS, webhook_secret="right")
    away = settings.model_copy(update={"port": 9})
    assert "does not answer" in only_title(away)
    (_, found) = troubles(away.model_copy(update={"webhook_secret": SecretStr("other")}))
    assert "not this server's" in found.title


@pytest.mark.parametrize("sign", ["settings kept", "secret"])
def test_the_webhook_of_another_backend_is_not_taken_for_ours(
    fake: Server, played: Played, settings: Settings, sign: str
) -> None:
    studio = Studio(fake.url, KEY)
    studio.create_backend(url=THEIRS, project=1, title="theirs", extra_params=None)
    studio.create_webhook(url=f"{THEIRS}/webhook", project=1, headers={})
    connect(studio, 1, OURS, webhook_secret="right")
    if sign == "secret":
        played.rows["ml"][1]["extra_params"] = None
    assert "2 backends" in only_title(settings)
    played.rows["webhooks"][1]["is_active"] = False
    assert "switched off" in troubles(settings)[1].title


def test_a_backend_of_this_machine_that_is_connected_is_no_error(
    fake: Server, played: Played, settings: Settings
) -> None:
    """Both run here, and Label Studio is asked by the machine's name."""
    studio = Studio(fake.url, PERSONAL)
    connect(studio, 1, "http://localhost:9090", webhook_secret="right")
    studio._transport.url = "http://annotation.example:8080"
    assert troubles(settings, studio) == []
    played.rows["ml"][0].update(state="DI", readable_state="Disconnected")
    assert any("local to Label Studio" in f.title for f in troubles(settings, studio))


@pytest.mark.parametrize("key", [KEY, PERSONAL])
@pytest.mark.parametrize("answer", [(200, {"status": "UP"}), (200, ["x"]), (404, {"error": "not found"})])
def test_another_server_at_the_address_is_said_to_be_one(
    fake: Server, settings: Settings, answer: Any, key: str
) -> None:
    fake.answer = lambda r: (200, {"access": PERSONAL}) if "token" in r.path and answer[0] == 200 else answer
    (found,) = troubles(settings.model_copy(update={"label_studio_api_key": SecretStr(key)}))
    assert (found.level, "is not Label Studio" in found.title) == ("error", True)
    assert "LABEL_STUDIO_URL" in found.advice


def test_a_label_studio_that_hides_its_release_is_one_all_the_same(
    fake: Server, played: Played, settings: Settings
) -> None:
    played.others["version"] = {}
    assert [f.level for f in examine(settings, None)] == ["ok", "ok"]
