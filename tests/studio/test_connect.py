"""Connecting leaves exactly one backend and one webhook of ours, however often and from whatever state."""

from typing import Any

import pytest

from backend.demo.studio_server import StudioServer
from backend.errors import StudioError, UnsupportedConfig, UserError
from backend.studio.client import Studio
from backend.studio.connect import SECRET_HEADER, WANTED, backend_address, connect, disconnect, without_dot
from backend.studio.transport import Refused
from tests.studio.servers import CONFIG, Server, answer, label_studio

pytestmark = pytest.mark.studio


def state(studio: Studio, project: int) -> dict[str, Any]:
    found = studio.project(project)
    return {
        "backends": [(b["url"], b["readable_state"]) for b in studio.backends(project)],
        "webhooks": [(h["url"], h["headers"], h["send_for_all_actions"]) for h in studio.webhooks(project)],
        **{name: found[name] for name in WANTED},
    }


def connected(url: str, secret: str = "first") -> dict[str, Any]:
    hook = (f"{url}/webhook", {SECRET_HEADER: secret}, True)
    return {"backends": [(url, "Connected")], "webhooks": [hook], **WANTED}


def test_connecting_twice_changes_nothing_more(admin: Studio, project: int, backend: Server) -> None:
    assert len(connect(admin, project, backend.url, webhook_secret="first")) == 3
    assert state(admin, project) == connected(backend.url)
    done = connect(admin, str(project), backend.url + "/", webhook_secret="first")
    assert len(done) == 1
    assert "Nothing" in done[0]
    assert state(admin, project) == connected(backend.url)


def test_events_carry_the_secret_and_calls_the_credentials(
    admin: Studio, project: int, tasks: list[int], backend: Server
) -> None:
    connect(admin, project, backend.url, basic_user="us", basic_password="pw", webhook_secret="first")
    admin.annotate(tasks[0], answer("art"))
    events = [r for r in backend.requests if r.path == "/webhook"]
    assert "ANNOTATION_CREATED" in {r.body["action"] for r in events}
    assert all(r.headers[SECRET_HEADER] == "first" for r in events)
    assert all(r.headers["Authorization"] == "Basic dXM6cHc=" for r in backend.requests if r.path == "/setup")


def test_leftovers_and_duplicates_are_mended(admin: Studio, project: int, backend: Server) -> None:
    for title in ("a", "b"):
        admin.create_backend(url=backend.url, project=project, title=title)
    admin.create_webhook(url=f"{backend.url}/webhook", project=project, is_active=False)
    connect(admin, project, backend.url, webhook_secret="second")
    assert state(admin, project) == connected(backend.url, "second")


def test_disconnecting_leaves_the_project_as_it_was(
    admin: Studio, project: int, tasks: list[int], backend: Server
) -> None:
    admin.annotate(tasks[0], answer("art"))
    before = state(admin, project)
    connect(admin, project, backend.url, webhook_secret="first")
    connect(admin, project, backend.url, webhook_secret="first")
    assert len(disconnect(admin, project, backend.url)) == 3
    assert state(admin, project) == before
    assert len(admin.annotations(tasks[0])) == 1
    assert "Nothing" in disconnect(admin, project, backend.url)[0]


def test_a_foreign_backend_is_left_and_named(admin: Studio, project: int, backend: Server) -> None:
    admin.create_backend(url=f"{backend.url}/other", project=project, title="theirs")
    done = connect(admin, project, backend.url, webhook_secret="first")
    assert any("'theirs'" in sentence for sentence in done)
    disconnect(admin, project, backend.url)
    assert [b["title"] for b in admin.backends(project)] == ["theirs"]


def test_after_a_move_of_the_server_the_old_address_is_removed_alone(
    admin: Studio, project: int, backend: Server
) -> None:
    before, old = state(admin, project), f"{backend.url}/old"
    connect(admin, project, old, webhook_secret="first")
    connect(admin, project, backend.url, webhook_secret="first")
    done = disconnect(admin, project, old)
    assert len(done) == 3
    assert backend.url in done[-1]
    assert state(admin, project) == connected(backend.url)
    assert "Nothing" in disconnect(admin, project, old)[0]
    disconnect(admin, project, backend.url)
    assert state(admin, project) == before


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid:9"])
def test_a_backend_that_does_not_answer_leaves_nothing_behind(admin: Studio, project: int, url: str) -> None:
    before = state(admin, project)
    with pytest.raises(StudioError) as refused:
        connect(admin, project, url, webhook_secret="first")
    assert "where Label Studio runs" in refused.value.hint
    assert state(admin, project) == before


def test_a_host_name_that_webhooks_refuse_is_said_before_anything_is_made(admin: Studio, project: int) -> None:
    before = state(admin, project)
    with pytest.raises(Refused, match="valid URL"):
        admin.create_webhook(url="http://ls-active:9090/webhook", project=project)
    with pytest.raises(UserError, match="no dot") as refused:
        connect(admin, project, "http://ls-active:9090", webhook_secret="first")
    assert "ls-active.internal" in refused.value.hint
    assert state(admin, project) == before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "ls-active.internal"])
def test_other_host_names_are_not_complained_of(host: str) -> None:
    assert not without_dot(f"http://{host}:9090")


def test_an_unsupported_config_is_refused_before_anything_is_made(admin: Studio, backend: Server) -> None:
    other = '<View><Text name="text" value="$text"/><DateTime name="when" toName="text"/></View>'
    project = int(admin.create_project("a date", other)["id"])
    with pytest.raises(UnsupportedConfig, match="DateTime"):
        connect(admin, project, backend.url, webhook_secret="first")
    assert admin.webhooks(project) == []
    assert backend.requests == []


def test_a_strategy_of_the_label_config_is_kept_by_label_studio_and_said(admin: Studio, backend: Server) -> None:
    named = CONFIG.replace("<View>", '<View strategy="margin:0.7+density:0.3@balanced">')
    project = int(admin.create_project("with a strategy", named)["id"])
    assert admin.project(project)["label_config"] == named
    assert "'margin:0.7+density:0.3@balanced'" in connect(admin, project, backend.url, webhook_secret="first")[-1]
    admin.update_project(project, label_config=CONFIG.replace("<Choices", '<Choices strategy="best"'))
    said = connect(admin, project, backend.url, webhook_secret="first", strategy="badge")[-1]
    assert all(word in said for word in ("unknown strategy 'best'", "cluster-margin", "'badge' (the setting) is used"))
    (task,) = admin.import_tasks(project, [{"data": {"text": "a text"}}])
    row = {"task": task, "score": 0.25, "result": answer("art"), "model_version": "v1"}
    assert admin.push_predictions(project, [row]) == 1
    admin.annotate(task, answer("art"))


@pytest.mark.parametrize(
    "url", ["", "host:9090", "ftp://host", "http://", "http://user:pw@host", "http://host/?a=b", "http://[::1:9090"]
)
def test_an_address_that_cannot_work_is_said(url: str) -> None:
    with pytest.raises(UserError) as refused:
        backend_address(url)
    assert "pw" not in refused.value.sentence()


def test_the_guard_against_local_addresses_is_explained(backend: Server) -> None:
    with label_studio(strict=True) as server:
        _refused_by_guard(server, backend)


def _refused_by_guard(server: StudioServer, backend: Server) -> None:
    studio = Studio(server.url, server.admin_token(), timeout_s=60)
    project = int(studio.create_project("guarded", CONFIG)["id"])
    with pytest.raises(StudioError) as refused:
        connect(studio, project, backend.url, webhook_secret="first")
    assert "SSRF_PROTECTION_ENABLED=False" in refused.value.hint
    assert studio.webhooks(project) == studio.backends(project) == []
