"""The routes that Label Studio calls, with bodies as it sends them."""

import json

import pytest

from backend.pipeline import publish, retrain
from backend.pipeline.encode import encode_pool
from backend.registry import versions as records
from tests.fakes import CONFIG, CREATED_AT, KEY, text_of

PROJECT = {"id": 2, "created_at": CREATED_AT, "title": "fake", "label_config": CONFIG}


@pytest.fixture
def published(parts, known):
    """The project with a queue in Label Studio."""
    version = retrain.cold_start(parts, known).name
    encode_pool(parts, KEY, version, lambda *_: None)
    publish.plan(parts, KEY, version, "v0")
    publish.push(parts, KEY, version, "v0")
    publish.switch(parts, KEY, version, "v0", "test")
    return known


def predict(client, tasks, **more):
    return client.post("/predict", json={"tasks": tasks, "project": KEY, "label_config": CONFIG, "params": {}, **more})


def task(number):
    return {"id": number, "data": {"text": text_of(number)[0]}, "annotations": [], "predictions": [], "new_field": 1}


def annotation(number=7, task=1, label="food"):
    result = [{"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]
    return {
        "id": number,
        "task": task,
        "result": result,
        "was_cancelled": False,
        "completed_by": 1,
        "updated_at": "2026-11-25T00:00:00Z",
        "unknown": {"x": 1},
    }


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_answers_without_touching_anything(client, parts, path):
    parts.registry.close()
    assert client.get(path).json()["status"] == "UP"


def test_setup_of_a_new_project_leaves_a_note_and_gives_a_string(client, parts):
    answer = client.post(
        "/setup", json={"project": KEY, "schema": CONFIG, "access_token": "t0ps3cret", "extra_params": {}}
    )
    assert answer.status_code == 200
    assert answer.json() == {"model_version": "preview"}
    (event,) = parts.registry.waiting_events(KEY)
    assert (event.action, event.payload["project"]["label_config"]) == ("SETUP", CONFIG)
    assert "t0ps3cret" not in json.dumps(dict(event.payload)) + answer.text


def test_setup_of_a_known_project_only_reads(client, parts, published):
    assert client.post("/setup", json={"project": KEY, "schema": CONFIG}).json() == {"model_version": "v0"}
    assert parts.registry.waiting_events(KEY) == []


@pytest.mark.parametrize("path", ["/setup", "/validate"])
def test_an_unsupported_config_is_refused_with_the_tags_name(client, path):
    config = (
        '<View><Image name="i" value="$image"/><RectangleLabels name="r" toName="i"><Label value="a"/>'
        "</RectangleLabels></View>"
    )
    answer = client.post(path, json={"project": KEY, "schema": config, "config": config})
    assert answer.status_code == 422
    assert "RectangleLabels" in answer.json()["error"] or "Image" in answer.json()["error"]
    assert client.post("/validate", json={"config": CONFIG}).status_code == 200


def test_setup_and_predictions_name_the_same_version(client, published):
    version = client.post("/setup", json={"project": KEY, "schema": CONFIG}).json()["model_version"]
    results = predict(client, [task(1)]).json()["results"]
    assert [r["model_version"] for r in results] == [version]


def test_one_result_for_each_task_in_order_whatever_the_tasks_are(client, published):
    bad = [{"id": 70, "data": {}}, {"id": 71, "data": {"text": [5]}}, {"id": 72, "data": {"text": "  "}}, {"id": None}]
    tasks = [task(1), *bad, task(2), {"data": {"text": "x " * 5000}}]
    results = predict(client, tasks).json()["results"]
    assert [bool(r["result"]) for r in results] == [True, False, False, False, False, True, True]
    assert all(0 <= r["score"] <= 1 and isinstance(r["model_version"], str) for r in results)
    for at, number in ((0, 1), (5, 2)):
        (alone,) = predict(client, [task(number)]).json()["results"]
        assert results[at]["result"][0]["value"] == alone["result"][0]["value"]
        # How many texts share a batch moves the last bits of a float32 on some processors.
        assert results[at]["score"] == pytest.approx(alone["score"], abs=1e-6)


def test_looking_at_a_task_does_not_change_the_queue(client, parts, studio, published):
    before = studio.served()
    for result, number in zip(
        predict(client, [task(n) for n in studio.tasks]).json()["results"], studio.tasks, strict=True
    ):
        studio.create_prediction(number, **{k: result[k] for k in ("result", "score", "model_version")})
    assert studio.served()[: len(before)] == before


def test_before_any_version_predictions_come_from_label_names_under_a_name_of_their_own(client):
    (result,) = predict(client, [task(1)]).json()["results"]
    assert result["model_version"] == "preview"
    assert 0.5 <= result["score"] <= 1


@pytest.mark.parametrize("project", ["3.5", 3])
def test_a_project_that_is_not_known_needs_its_config_sent_along(client, project):
    answer = client.post("/predict", json={"tasks": [task(1)], "project": project})
    assert answer.status_code == 404
    assert str(project) in answer.json()["error"]
    assert "label_config" in answer.json()["hint"]
    assert client.post("/predict", json={"tasks": [task(1)]}).status_code == 422  # no project either


def test_no_tasks_no_results(client):
    assert predict(client, []).json()["results"] == []


def test_a_webhook_event_is_on_disk_when_it_is_answered(client, parts, known):
    body = {"action": "ANNOTATION_CREATED", "annotation": annotation(), "task": task(1), "project": PROJECT}
    assert client.post("/webhook", json=body).status_code == 201
    (event,) = parts.registry.waiting_events(KEY)
    assert event.payload["annotations"][0]["id"] == 7
    assert event.payload["tasks"] == [{"id": 1, "data": task(1)["data"]}]


@pytest.mark.parametrize(
    ("action", "more"),
    [
        ("TASKS_CREATED", {"tasks": [task(1)]}),
        ("TASKS_DELETED", {"tasks": [{"id": 6}]}),
        ("ANNOTATION_UPDATED", {"annotation": annotation(), "task": task(1)}),
        ("ANNOTATIONS_CREATED", {"annotation": [annotation(8), annotation(9)]}),
        ("ANNOTATIONS_DELETED", {"annotations": [{"id": 6}]}),
        ("PROJECT_UPDATED", {}),
    ],
)
def test_every_event_of_label_studio_is_stored(client, parts, known, action, more):
    assert client.post("/webhook", json={"action": action, "project": PROJECT, **more}).status_code == 201
    assert [e.action for e in parts.registry.waiting_events(KEY)] == [action]


def test_an_unknown_event_is_ignored(client, parts):
    answer = client.post("/webhook", json={"action": "LABEL_LINK_CREATED", "project": PROJECT})
    assert answer.status_code == 201
    assert answer.json()["status"] == "ignored"
    assert parts.registry.projects_with_events() == {}


def test_start_training_gives_a_job_that_can_be_asked_for(client, parts, known):
    job = client.post("/webhook", json={"action": "START_TRAINING", "project": PROJECT}).json()["job"]
    assert client.post("/job_status", json={"job": job}).json()["status"] == "queued"
    assert client.get("/is_training").json() == {"is_training": True}
    assert client.post("/train", json={"project": KEY}).json()["job"] == job  # never two at once
    records.update_job(parts.registry, job, state="done", progress=1, message="")
    assert client.get("/is_training").json() == {"is_training": False}


@pytest.mark.parametrize("call", ["get", "post"])
def test_versions_are_listed_newest_first(client, parts, published, call):
    records.activate(parts.registry, KEY, "v0", "v0-r2", "test")
    assert getattr(client, call)("/versions").json() == {"versions": ["v0-r2", "v0"]}


def test_delete_forgets_and_duplicate_copies_nothing(client, parts, published):
    assert client.post("/delete", json={"project": KEY}).status_code == 200
    assert parts.registry.project(KEY) is None
    assert client.post("/duplicate_model", json={}).status_code == 200


def test_status_speaks_of_queue_training_and_versions(client, parts, published):
    assert client.get("/api/projects/2/status").json()["idle"] is False  # not sorted for what is known
    publish.resort(parts, KEY)
    publish.check_order(parts, KEY)
    status = client.get("/api/projects/2/status").json()
    assert status["active_version"] == "v0"
    assert status["published"]["in_order"] is True
    assert status["published"]["top"][0]["reason"]
    assert status["training"]["state"] == "idle"
    assert status["idle"] is True
    assert client.get("/api/projects/3/status").status_code == 404


def test_metrics_have_the_labels_of_each_project_and_the_accuracy_of_its_version(client, parts, published):
    def value(name):
        found = [line for line in client.get("/api/metrics").text.splitlines() if line.startswith(f"{name}{{")]
        return [float(line.removeprefix(f'{name}{{project="2"}} ')) for line in found]

    assert value("ls_active_labels") == [parts.registry.labelled_count(KEY)]
    assert value("ls_active_audit_accuracy") == []  # not measured
    audit = '{"value": 0.75, "n": 4, "low": 0.3, "high": 0.95}'
    parts.registry.write("UPDATE versions SET audit = :audit WHERE project = :key", {"audit": audit, "key": KEY})
    assert value("ls_active_audit_accuracy") == [0.75]
    parts.registry.forget_project(KEY)
    assert value("ls_active_labels") == []
    assert "ls_active_requests_total" in client.get("/api/metrics").text


def test_activation_is_asked_for(client, parts, published):
    assert client.post("/api/projects/2/activate", json={"version": "v9"}).status_code == 404
    assert client.post("/api/projects/2/activate", json={"version": "v0"}).status_code == 202
    assert records.wished(parts.registry, KEY) == "v0"


def test_openapi_describes_every_route(client):
    paths = client.get("/openapi.json").json()["paths"]
    for path in (
        "/health", "/setup", "/predict", "/webhook", "/train", "/versions", "/job_status", "/validate", "/delete",
        "/duplicate_model", "/is_training",
    ):  # fmt: skip
        assert path in paths
        assert all(method.get("description") or method.get("summary") for method in paths[path].values())
