"""The worker with its real job engine: what is interrupted or fails is taken up again, or ended and derived anew."""

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backend.pipeline import jobs, mirror, publish, retrain
from backend.pipeline.encode import encode_pool
from backend.pipeline.requests import request_activation
from backend.registry import versions as records
from backend.serving.features import FeatureStores
from tests.fakes import CONFIG, KEY, text_of

WAIT_S = 60


@pytest.fixture
def quiet(parts):
    """No training and no comparison by themselves."""
    parts.settings = parts.settings.model_copy(update={"retrain_after_labels": 500, "reconcile_seconds": 600.0})
    parts.registry.add_event(KEY, "SETUP", {"project": {"label_config": CONFIG}})
    return parts


@pytest.fixture
def start(quiet):
    """Starts workers, one after the other, on the same databases."""
    running = []

    def started():
        while running:
            running.pop().stop()
        running.append(jobs.Worker(quiet))
        running[0].start()
        return running[0]

    yield started
    while running:
        running.pop().stop()


def until(worker, true):
    """Ticks until something holds."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        worker.tick()
        time.sleep(0.02)


def active(parts):
    found = records.active(parts.registry, KEY)
    return found and found.version


def test_a_release_with_other_steps_ends_what_the_former_left(quiet, studio, start, monkeypatch):
    """Nobody would take it up, and its project's turn would never end."""
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    entered, release, compare = threading.Event(), threading.Event(), mirror.reconcile

    def held(parts, key):
        entered.set()
        release.wait(WAIT_S)
        return compare(parts, key)

    monkeypatch.setattr(mirror, "reconcile", held)
    jobs._enqueue("queue", jobs.reconcile, "held", KEY)
    records.add_job(quiet.registry, "by-hand", KEY, "retrain", 1)
    jobs._enqueue("train", jobs.train, "by-hand", KEY, "by-hand", later_s=3600)
    assert entered.wait(WAIT_S)
    monkeypatch.setattr(jobs, "STEPS", "another")
    monkeypatch.setattr(mirror, "reconcile", compare)
    worker = start()
    release.set()
    given = studio.annotate(1, text_of(1)[1])
    quiet.registry.add_event(KEY, "ANNOTATION_CREATED", {"annotations": [given], "tasks": []})
    until(worker, lambda: quiet.registry.labelled_count(KEY) == 1 and not quiet.registry.waiting_events(KEY))
    assert records.job(quiet.registry, "by-hand").state == "failed"


def test_a_version_that_was_asked_for_comes_when_label_studio_is_back(quiet, studio, start, monkeypatch):
    monkeypatch.setattr(jobs, "RETRY_S", 0.5)
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    schema_hash = quiet.registry.must_project(KEY).asks().hash
    more = {"seen": 1, "labels": 1, "location": "words-v1", "audit": None, "meta": {}, "verdict": "ready"}
    records.add_version(quiet.registry, KEY, schema_hash=schema_hash, snapshot="one", **more)
    until(worker, lambda: active(quiet) == "v1")
    studio.failures["set_model_version"] = 10**6
    request_activation(quiet, quiet.registry.must_project(KEY), "v0")
    until(worker, lambda: studio.failures["set_model_version"] < 10**6 - 5)  # a publication tries four times
    assert active(quiet) == "v1"
    studio.failures.clear()
    until(worker, lambda: active(quiet) == "v0")
    assert studio.model_version == "v0-r2"


def test_a_worker_goes_on_with_what_another_ones_folder_has(parts, studio, tmp_path, monkeypatch):
    """Features and snapshots are in the folder of the worker that made them."""
    mirror.reconcile(parts, KEY)
    version = retrain.cold_start(parts, parts.registry.must_project(KEY)).name
    encode_pool(parts, KEY, version, lambda *_: None)
    for task in range(1, 25):
        studio.annotate(task, text_of(task)[1])
    mirror.reconcile(parts, KEY)
    snapshot = retrain.take_snapshot(parts, KEY)
    settings = parts.settings.model_copy(update={"data_dir": tmp_path / "other"})
    other = replace(parts, settings=settings, features=FeatureStores(tmp_path / "other" / "features"))
    monkeypatch.setattr(jobs, "_wired", [other])
    assert jobs._plan(KEY, version, version) == parts.settings.window
    publish.push(other, KEY, version, version)
    publish.switch(other, KEY, version, version, "test")
    third = replace(other, features=FeatureStores(tmp_path / "third" / "features"))
    monkeypatch.setattr(jobs, "_wired", [third])
    jobs._resort(KEY, 0.0, True)
    table = third.pools.table(third.registry, third.registry.must_project(KEY), settings.audit_share)
    assert third.features.of(publish.load(third, third.registry.must_project(KEY), version)).present(table.items).all()
    assert publish.check_order(third, KEY)
    monkeypatch.setattr(retrain, "train", lambda parts, key, snapshot, _: snapshot["hash"])
    shutil.rmtree(Path(snapshot["path"]).parent)
    made = jobs._trained(KEY, "j", snapshot)
    assert Path(made["snapshot"]["path"]).exists()
    assert made["location"] == snapshot["hash"]
