"""The model under label-studio-ml's own server, release 1.0.9, with bodies as Label Studio sends them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from backend.demo.processes import free_port
from backend.registry.store import Registry
from backend.settings import Settings
from tests.fakes import CONFIG, CREATED_AT, KEY, text_of
from tests.models.tiny import save_tiny_bert

ROOT = Path(__file__).resolve().parents[2]
UPSTREAM = Path(os.environ.get("LS_ACTIVE_UPSTREAM", ROOT / ".cache" / "upstream"))
CODE = """
import sys
from label_studio_ml.api import init_app
from backend.studio_ml import ActiveLearning
init_app(model_class=ActiveLearning, model_dir=sys.argv[2]).run(host="127.0.0.1", port=int(sys.argv[1]))
"""
PROJECT = {"id": 2, "created_at": CREATED_AT, "title": "fake", "label_config": CONFIG}

pytestmark = pytest.mark.skipif(
    not (UPSTREAM / "label_studio_ml").is_dir(),
    reason="label-studio-ml is not in .cache/upstream: `make test` puts it there",
)


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path, data):
    port = free_port()
    environment = {
        **os.environ,
        "SUGGEST_ABOVE": "0",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{UPSTREAM}",
        "BASE_MODEL": str(save_tiny_bert(tmp_path / "model")),
        "DATA_DIR": str(data),
    }
    log = tmp_path / "server.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(port), str(tmp_path / "models")],
            env=environment,
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            _wait(client, process, log)
            yield client
    finally:
        process.kill()
        process.wait()


def _wait(client, process, log):
    for _ in range(300):
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


def test_one_result_for_each_task_in_order(server):
    tasks = [{"id": 1, "data": {"text": text_of(1)[0]}, "project": 2}, {"id": 2, "data": {}, "project": 2}]
    assert server.post("/setup", json={"project": KEY, "schema": CONFIG}).is_success
    answer = server.post("/predict", json={"tasks": tasks, "project": KEY, "label_config": CONFIG, "params": {}})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [bool(r["result"]) for r in results] == [True, False]
    assert all(0 <= r["score"] <= 1 for r in results)


def test_an_annotation_reaches_the_worker(server, data):
    annotation = {"id": 7, "task": 1, "result": [], "was_cancelled": False, "updated_at": "2026-11-25T00:00:00Z"}
    body = {"action": "ANNOTATION_CREATED", "annotation": annotation, "task": {"id": 1}, "project": PROJECT}
    assert server.post("/setup", json={"project": KEY, "schema": CONFIG}).is_success
    assert server.post("/webhook", json=body).is_success
    registry = Registry(Settings(data_dir=data, _env_file=None).database)
    try:
        for _ in range(150):  # label-studio-ml runs fit in a process of its own
            events = [e.action for e in registry.waiting_events(KEY)]
            if events:
                break
            time.sleep(0.2)
        assert events == ["ANNOTATION_CREATED"]
    finally:
        registry.close()
