"""Each usual cause of trouble is found, and nothing else is said to be wrong."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.demo.studio_server import StudioServer
from backend.settings import Settings
from backend.studio.client import Studio
from backend.studio.connect import connect
from backend.studio.doctor import Finding, examine
from tests.studio.servers import CONFIG, Server, answer, ml_backend, serve

pytestmark = pytest.mark.studio


@pytest.fixture
def settings(server: StudioServer, backend: Server, tmp_path: Path) -> Settings:
    port = int(backend.url.rsplit(":", 1)[1])
    return Settings(
        label_studio_url=server.url,  # type: ignore[arg-type]
        label_studio_api_key=SecretStr(server.token),
        webhook_secret=SecretStr("right"),
        port=port,
        data_dir=tmp_path / "never-made",
    )


@pytest.fixture
def healthy(admin: Studio, project: int, tasks: list[int], backend: Server) -> int:
    """A project that is connected and has a queue."""
    connect(admin, project, backend.url, webhook_secret="right")
    row = {"result": answer("art"), "model_version": "v1"}
    admin.push_predictions(project, [{"task": t, "score": 0.25 + i / 1e5, **row} for i, t in enumerate(tasks[:3])])
    admin.set_model_version(project, "v1")
    return project


def troubles(settings: Settings, studio: Studio | None, project: int | None) -> list[Finding]:
    found = [f for f in examine(settings, project, studio) if f.level != "ok"]
    assert all(f.advice for f in found)
    assert not settings.data_dir.exists()
    return found


def test_a_healthy_project_has_no_findings(settings: Settings, admin: Studio, healthy: int) -> None:
    assert troubles(settings, admin, healthy) == []


def test_a_new_project_is_told_to_connect(settings: Settings, admin: Studio, project: int) -> None:
    titles = " ".join(f.title for f in troubles(settings, admin, project))
    assert all(word in titles for word in ("No ML backend", "sampling", "model version is empty"))


def test_each_broken_setting_is_found_alone(settings: Settings, admin: Studio, healthy: int, tasks: list[int]) -> None:
    def alone() -> str:
        found = troubles(settings, admin, healthy)
        assert len(found) == 1, found
        return found[0].title

    admin.update_project(healthy, sampling="Uniform sampling")
    assert "Uniform sampling" in alone()
    admin.update_project(healthy, sampling="Uncertainty sampling", maximum_annotations=2)
    assert "2 annotations" in alone()
    admin.update_project(healthy, maximum_annotations=1, model_version="ls-active")
    assert "title" in alone()
    admin.update_project(healthy, model_version="v1")
    admin.create_prediction(tasks[5], answer("art"), 0.3, "v2")
    admin.set_model_version(healthy, "v2")
    admin.annotate(tasks[5], answer("art"))
    assert "No unlabelled task" in alone()


def test_a_strategy_of_the_label_config_that_is_unknown_is_found_alone(
    settings: Settings, admin: Studio, healthy: int
) -> None:
    admin.update_project(healthy, label_config=CONFIG.replace("<View>", '<View strategy="best">'))
    (found,) = troubles(settings, admin, healthy)
    assert found.level == "warning"
    assert "unknown strategy 'best'; known: auto, random" in found.title
    assert "'auto' (the setting) is used" in found.advice
    admin.update_project(healthy, label_config=CONFIG.replace("<View>", '<View strategy="badge">'))
    assert troubles(settings, admin, healthy) == []
    assert any("'badge'" in finding.title for finding in examine(settings, healthy, admin))


def test_texts_that_nobody_writes_are_found_alone(settings: Settings, admin: Studio, healthy: int) -> None:
    text = CONFIG.replace("</View>", '<TextArea name="why" toName="text"/></View>')
    admin.update_project(healthy, label_config=text)
    (found,) = troubles(settings, admin, healthy)
    assert (found.level, "TEXT_MODEL" in found.title) == ("warning", True)
    assert troubles(settings.model_copy(update={"text_model": "a-model"}), admin, healthy) == []


def test_each_broken_webhook_is_found_alone(settings: Settings, admin: Studio, healthy: int, backend: Server) -> None:
    def alone() -> str:
        found = troubles(settings, admin, healthy)
        assert len(found) == 1, found
        return found[0].title

    backend.answer = lambda r: (401, {}) if "wrong" in r.headers.values() else ml_backend(r)  # as our server does
    (hook,) = admin.webhooks(healthy)
    admin.update_webhook(hook["id"], headers={})
    assert "no secret" in alone()
    admin.update_webhook(hook["id"], headers={"x-ls-active-secret": "wrong"})
    assert "not this server's" in alone()
    admin.update_webhook(hook["id"], headers={"x-ls-active-secret": "right"}, send_for_all_actions=False)
    assert "all events" in alone()
    admin.update_webhook(hook["id"], send_for_all_actions=True, is_active=False)
    assert "switched off" in alone()
    admin.update_webhook(hook["id"], is_active=True)
    extra = admin.create_webhook(url=f"{backend.url}/webhook", project=healthy)
    assert "twice" in alone()
    admin.delete_webhook(extra["id"])
    admin.delete_webhook(hook["id"])
    assert "No webhook" in alone()


def test_a_dead_server_is_found_from_both_sides(settings: Settings, admin: Studio, project: int) -> None:
    with serve(lambda _: (200, {"status": "UP", "model_version": "v0"})) as short_lived:
        connect(admin, project, short_lived.url, webhook_secret="right")
        dead = settings.model_copy(update={"port": int(short_lived.url.rsplit(":", 1)[1])})
    titles = [f.title for f in troubles(dead, admin, project)]
    assert any("does not answer" in title for title in titles)
    assert any("Disconnected" in title or "Error" in title for title in titles)


def test_keys_that_are_old_or_wrong_are_found(settings: Settings) -> None:
    assert ["legacy" in f.title for f in troubles(settings, None, None)] == [True]
    wrong = settings.model_copy(update={"label_studio_api_key": SecretStr("wrong-key")})
    (found,) = troubles(wrong, None, None)
    assert "401" in found.title
    assert "wrong-key" not in found.title
    (missing,) = troubles(settings.model_copy(update={"label_studio_api_key": SecretStr("")}), None, None)
    assert "LABEL_STUDIO_API_KEY" in missing.advice


def test_a_project_that_does_not_exist_is_an_error(settings: Settings, admin: Studio) -> None:
    assert [f.level for f in troubles(settings, admin, 10**8)] == ["error"]
