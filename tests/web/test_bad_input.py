"""Any body on any route gives 2xx, 4xx with a reason, or 503 with Retry-After; never a 500, never a traceback."""

import base64
import json
import threading
import time
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.requests import Request
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from backend.errors import Busy
from backend.pipeline import retrain
from backend.registry import versions as records
from backend.studio import doctor
from backend.web import middleware
from backend.web.app import create_app
from tests.fakes import CONFIG, CREATED_AT, KEY, WordEncoder

ROUTES = (
    "/setup", "/predict", "/webhook", "/train", "/versions", "/job_status", "/validate", "/delete", "/duplicate_model",
    "/api/projects/2/train", "/api/projects/2/activate", "/api/projects/x/train",
)  # fmt: skip
WORDS = (
    "tasks", "project", "label_config", "schema", "data", "id", "text", "action", "annotation", "annotations", "task",
    "params", "context", "result", "job", "version", "config", "created_at", "title", "updated_at", "completed_by",
    "prediction",
)  # fmt: skip
VALUES = (
    "START_TRAINING",
    "ANNOTATION_CREATED",
    "TASKS_CREATED",
    "PROJECT_UPDATED",
    KEY,
    CONFIG,
    CREATED_AT,
    "<View",
    "",
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=15,
)
events = st.fixed_dictionaries(
    {"action": st.sampled_from(VALUES), "project": st.just({"id": 2, "created_at": CREATED_AT})},
    optional=dict.fromkeys(("annotation", "annotations", "task", "tasks"), json_values),
)
predictions = st.fixed_dictionaries(
    {"tasks": st.lists(st.fixed_dictionaries({}, optional={"id": json_values, "data": json_values}), max_size=3)},
    optional={"project": json_values, "label_config": st.sampled_from([CONFIG, "<View/>"]), "params": json_values},
)


JSON = {"Content-Type": "application/json"}


def check(answer):
    assert answer.status_code < 500 or (answer.status_code == 503 and "Retry-After" in answer.headers), answer.text
    assert "Traceback" not in answer.text
    if answer.status_code >= 400:
        assert answer.json()["error"]


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_webhook_answers_while_predictions_wait_for_a_model(parts, client, known, monkeypatch):
    """Label Studio waits a second for it, and no longer."""
    release, asked, codes = threading.Event(), threading.Semaphore(0), []
    load = type(parts.host)._load

    def slow(self, *given):
        release.wait(30)
        return load(self, *given)

    def predict():
        asked.release()
        body = {"tasks": [{"id": 1, "data": {"text": "goal"}}], "project": KEY, "label_config": CONFIG}
        codes.append(client.post("/predict", json=body).status_code)

    monkeypatch.setattr(type(parts.host), "_load", slow)
    row = retrain.cold_start(parts, known)
    records.activate(parts.registry, KEY, row.name, row.name, "start")
    threads = [threading.Thread(target=predict) for _ in range(50)]
    for thread in threads:
        thread.start()
    answered = threading.Event()

    def tell():
        project = {"id": 2, "created_at": CREATED_AT}
        client.post("/webhook", json={"action": "TASKS_DELETED", "project": project, "tasks": [{"id": 9}]})
        answered.set()

    for _ in threads:
        asked.acquire()
    time.sleep(1)
    threading.Thread(target=tell).start()
    in_time = answered.wait(10)
    release.set()
    for thread in threads:
        thread.join()
    assert in_time
    assert (codes.count(200), codes.count(503)) == (8, 42)


@pytest.mark.parametrize("route", ROUTES)
@quick
@given(body=json_values)
def test_any_json(client, known, route, body):
    check(client.post(route, content=json.dumps(body), headers=JSON))


@quick
@given(body=events)
def test_any_event_can_be_applied_or_is_refused(client, parts, known, body):
    from backend.pipeline import mirror

    check(client.post("/webhook", content=json.dumps(body), headers=JSON))
    mirror.apply_events(parts, KEY)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"completed_by": [5]}, "completed_by"),
        ({"completed_by": 2**70}, "completed_by"),
        ({"completed_by": {"id": "x"}}, "completed_by"),
        ({"updated_at": "\ud800"}, "updated_at"),
        ({"prediction": {"result": {"value": 1}}}, "prediction"),
        ({"prediction": {"result": ["x"]}}, "prediction"),
        ({"task": None}, "task"),
        ({"completed_by": {"id": 5}, "prediction": {}}, ""),
        ({"completed_by": None, "updated_at": None, "prediction": None}, ""),
    ],
)
def test_an_annotation_that_could_not_be_saved_is_refused_when_it_comes(client, parts, known, body, said):
    """In the table it would keep back all that came after it."""
    from backend.pipeline import mirror

    annotation = {"id": 1, "task": 1, "result": [], **body}
    project = {"id": 2, "created_at": CREATED_AT}
    event = {"action": "ANNOTATION_CREATED", "project": project, "annotation": annotation}
    answer = client.post("/webhook", content=json.dumps(event), headers=JSON)
    assert answer.status_code == (422 if said else 201)
    assert said in answer.text
    mirror.apply_events(parts, KEY)
    assert bool(parts.registry.annotations(KEY)) != bool(said)


@pytest.mark.parametrize("change", [{"title": "\ud800"}, {"title": ["x"]}, {"label_config": "\ud800"}])
def test_a_project_that_could_not_be_saved_is_refused_when_it_comes(client, parts, known, change):
    from backend.pipeline import mirror

    project = {"id": 2, "created_at": CREATED_AT, "title": "fake", "label_config": CONFIG, **change}
    body = json.dumps({"action": "PROJECT_UPDATED", "project": project})
    assert client.post("/webhook", content=body, headers=JSON).status_code == 422
    mirror.apply_events(parts, KEY)
    assert parts.registry.must_project(KEY).asks() == known.asks()


@quick
@given(body=predictions)
def test_any_prediction(client, known, body):
    answer = client.post("/predict", content=json.dumps(body), headers=JSON)
    check(answer)
    if answer.status_code == 200:
        assert len(answer.json()["results"]) == len(body["tasks"])


BROKEN = (
    b"", b"{", b"\xff\xfe", b"null", b"[" * 100_000, b'{"tasks": [NaN]}', b'"\\ud800"', b'{"action": "\\ud800"}',
)  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_no_json(client, known, route):
    for raw in BROKEN:
        check(client.post(route, content=raw, headers=JSON))


def test_half_a_surrogate_pair_is_refused_or_left_out(client, known):
    body = '{"tasks": [{"id": 1, "data": {"text": "\\ud800 x"}}], "project": "%s", "label_config": %s}'
    check(client.post("/predict", content=body % (KEY, json.dumps(CONFIG)), headers=JSON))
    check(client.post("/setup", content=f'{{"project": "{KEY}", "schema": "\\ud800"}}', headers=JSON))


def test_a_task_with_half_a_surrogate_pair_alone_is_blank(client, known, monkeypatch):
    tokenizer, embed = Tokenizer(WordLevel({"<unk>": 0}, "<unk>")), WordEncoder.embed

    def as_models_do(self, texts, on_progress=None):
        tokenizer.encode_batch(list(texts))  # a TypeError where one of them is no text
        return embed(self, texts, on_progress)

    monkeypatch.setattr(WordEncoder, "embed", as_models_do)
    body = '{"tasks": [{"id": 1, "data": {"text": "\\ud800 x"}}, {"id": 2, "data": {"text": "soup"}}], "project": "%s"}'
    answer = client.post("/predict", content=body % KEY, headers=JSON)
    assert answer.status_code == 200, answer.text
    broken, whole = answer.json()["results"]
    assert (broken["result"], broken["score"]) == ([], 1.0)
    assert whole["result"]


@pytest.mark.parametrize("number", [2**63, -(2**70), 10**30, "9" * 40, "2.x", "", -1, 0])
def test_numbers_out_of_range(client, known, number):
    check(client.post("/predict", json={"tasks": [{"id": number, "data": {}}], "label_config": CONFIG}))
    check(client.post("/train", json={"project": number}))
    check(client.get(f"/api/projects/{number}/status"))
    body = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": number}]}
    check(client.post("/webhook", json={**body, "project": {"id": number, "created_at": CREATED_AT}}))


def test_a_body_that_is_too_large_is_refused_before_it_is_read(parts, client):
    answer = client.post("/predict", content=b"x", headers={"Content-Length": str(2**40)})
    assert answer.status_code == 413
    assert "MAX_BODY_MB" in answer.json()["error"]


def test_a_body_without_length_is_counted_while_it_comes(parts, client):
    small = create_app_with(parts, max_body_mb=1)
    chunks = (b"x" * 2**18 for _ in range(8))
    answer = small.post("/predict", content=chunks)
    assert answer.status_code == 413
    assert "MAX_BODY_MB" in answer.json()["error"]


def test_too_many_tasks_are_refused_with_the_settings_name(parts):
    client = create_app_with(parts, max_tasks=2)
    body = {"tasks": [{"id": n, "data": {}} for n in range(3)], "label_config": CONFIG}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 413
    assert "MAX_TASKS" in answer.json()["hint"]


def test_a_busy_model_says_when_to_come_back(parts, client, monkeypatch):
    def busy(_):
        raise Busy("all places are taken")

    monkeypatch.setattr(parts.host, "cold", busy)
    answer = client.post("/predict", json={"tasks": [{"id": 1, "data": {"text": "a"}}], "label_config": CONFIG})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_a_bug_shows_a_number_and_nothing_else(parts, client, monkeypatch):
    def bug(_):
        raise ZeroDivisionError("inside knowledge")

    monkeypatch.setattr(parts.host, "cold", bug)
    answer = client.post("/predict", json={"tasks": [{"id": 1, "data": {"text": "a"}}], "label_config": CONFIG})
    assert answer.status_code == 500
    assert "inside" not in answer.text
    assert "request" in answer.json()["hint"]


# -------------------------------------------------------------------------------------------------------- credentials
def create_app_with(parts, **changes):
    from dataclasses import replace

    from fastapi.testclient import TestClient

    settings = parts.settings.model_copy(update=changes)
    return TestClient(create_app(replace(parts, settings=settings), preload=False), raise_server_exceptions=False)


def basic(user, password, encoding="utf-8"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()}


@pytest.fixture
def guarded(parts, known):
    return create_app_with(parts, basic_auth_user="ls", basic_auth_password=SecretStr("pass:wörd"))


def test_basic_guards_everything_but_health(guarded):
    assert guarded.get("/health").status_code == 200
    for path in ("/versions", "/is_training", "/api/projects"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, headers=basic("ls", "wrong")).status_code == 401
        assert guarded.get(path, headers=basic("ls", "pass:wörd")).status_code == 200
        assert guarded.get(path, headers=basic("ls", "pass:wörd", "latin-1")).status_code == 200  # as Label Studio
    assert guarded.get("/versions", headers={"Authorization": "Basic !!!"}).status_code == 401


def test_the_webhook_takes_its_own_secret_or_basic(guarded, parts):
    body = {"action": "TASKS_DELETED", "tasks": [], "project": {"id": 2, "created_at": CREATED_AT}}
    assert guarded.post("/webhook", json=body).status_code == 401
    assert guarded.post("/webhook", json=body, headers={"X-LS-Active-Secret": "wrong"}).status_code == 401
    secret = {"X-LS-Active-Secret": parts.settings.webhook_token}
    assert guarded.post("/webhook", json=body, headers=secret).status_code == 201
    assert guarded.post("/webhook", json=body, headers=basic("ls", "pass:wörd")).status_code == 201


def test_doctor_sends_a_secret_with_umlauts_as_label_studio_does(parts, monkeypatch):
    settings = parts.settings.model_copy(update={"webhook_secret": SecretStr("geheimnüs"), "basic_auth_user": "ls"})
    guard = middleware.Guard(None, settings)

    def post(_, *, headers, **__):
        lines = [(name.lower(), value) for name, value in headers.items()]
        request = Request({"type": "http", "method": "POST", "path": "/webhook", "query_string": b"", "headers": lines})
        return SimpleNamespace(status_code=201 if guard._may(request) else 401)

    monkeypatch.setattr(httpx, "post", post)
    assert [doctor._is_taken(settings, sent) for sent in ("geheimnüs", "geheimnis", "€")] == [True, False, False]


@pytest.mark.parametrize("more", [{}, {"basic_auth_user": "ls"}])
def test_an_event_that_is_refused_is_in_the_log(parts, known, monkeypatch, more):
    """Label Studio keeps to itself that it was: annotations would be missed and nobody told."""
    said = []
    monkeypatch.setattr(middleware, "log", SimpleNamespace(warning=lambda event, **_: said.append(event)))
    client = create_app_with(parts, **more)
    client.post("/webhook", json={"action": "TASKS_DELETED", "tasks": [], "project": {"id": 2}})
    client.get("/versions")
    (line,) = said
    assert "secret" in line


def test_without_basic_only_start_training_may_come_without_the_secret(parts, known):
    client = create_app_with(parts)
    project = {"id": 2, "created_at": CREATED_AT}
    assert client.post("/webhook", json={"action": "TASKS_DELETED", "tasks": [], "project": project}).status_code == 401
    assert client.post("/webhook", json={"action": "START_TRAINING", "project": project}).status_code == 201
