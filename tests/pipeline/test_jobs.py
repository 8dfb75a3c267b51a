"""The worker with its real job engine: what is interrupted or fails is taken up again, or ended and derived anew."""

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dbos import DBOS

from backend.errors import ModelError, StudioError, UserError
from backend.pipeline import due, jobs, mirror, publish, ranking, retrain
from backend.pipeline import worker as workers
from backend.pipeline.encode import encode_pool
from backend.pipeline.requests import request_activation, request_training
from backend.pipeline.snapshot import take_snapshot
from backend.registry import versions as records
from backend.registry import workers as registered
from backend.serving.features import FeatureStores
from tests.fakes import CONFIG, DATABASES, KEY, WordEncoder, text_of

WAIT_S = 60


@pytest.fixture
def quiet(parts, monkeypatch):
    """No training and no comparison by themselves; steps are tried again at once, and all is looked at at each tick."""
    monkeypatch.setitem(jobs.ATTEMPTS, "interval_seconds", 0.05)
    monkeypatch.setattr(workers, "LOOK_S", 0.0)
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
        running.append(workers.Worker(quiet))
        running[0].start()
        return running[0]

    yield started
    DBOS.destroy(workflow_completion_timeout_sec=10)  # what still runs has a registry until then


def until(worker, true):
    """Ticks until something holds."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        worker.tick()
        time.sleep(0.02)


def states(worker):
    """What became of the workflows that a worker started last."""
    return [workers._status(start.handle) for start in worker._started.values()]


def active(parts):
    found = records.active(parts.registry, KEY)
    return found and found.version


@pytest.fixture
def trained(quiet, monkeypatch):
    """Trainings that take no time: hashes of the snapshots, in order. A version is registered as it always is ready."""
    quiet.settings = quiet.settings.model_copy(update={"retrain_after_labels": 5})
    made = []

    def train(parts, key, snapshot, _):
        made.append(snapshot["hash"])
        return f"words-{snapshot['hash']}"

    def register(parts, key, snapshot, location):
        row = add(parts, snapshot["hash"], location=location, seen=snapshot["seen"])
        return {"version": row.name, "activate": True, "message": "made"}

    monkeypatch.setattr(retrain, "train", train)
    monkeypatch.setattr(retrain, "register", register)
    return made


def add(parts, snapshot, **more):
    """A version, with something in the storage that stands for its files."""
    folder = parts.settings.data_dir / snapshot
    folder.mkdir()
    (folder / "version.json").write_text("{}")
    parts.storage.put(folder, f"words-{snapshot}")
    fields = {"seen": 1, "labels": 1, "location": f"words-{snapshot}", "audit": None, "meta": {}, "verdict": "ready"}
    schema_hash = parts.registry.must_project(KEY).asks().hash
    return records.add_version(parts.registry, KEY, schema_hash=schema_hash, snapshot=snapshot, **{**fields, **more})


def label(parts, studio, n):
    done = len(studio.answers)
    for task in range(done + 1, done + n + 1):
        given = studio.annotate(task, text_of(task)[1])
        parts.registry.add_event(KEY, "ANNOTATION_CREATED", {"annotations": [given], "tasks": []})


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
    jobs.enqueue("queue", jobs.reconcile, "held", KEY)
    assert entered.wait(WAIT_S)
    monkeypatch.setattr(workers, "STEPS", "another")
    monkeypatch.setattr(mirror, "reconcile", compare)
    worker = start()
    release.set()
    label(quiet, studio, 1)
    until(worker, lambda: quiet.registry.labelled_count(KEY) == 1 and not quiet.registry.waiting_events(KEY))


@DATABASES
def test_a_training_that_a_release_ended_is_started_again(quiet, studio, trained, start, monkeypatch):
    entered, release, train = threading.Event(), threading.Event(), retrain.train

    def held(*given):
        entered.set()
        release.wait(WAIT_S)
        return train(*given)

    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    monkeypatch.setattr(retrain, "train", held)
    label(quiet, studio, 20)
    until(worker, entered.is_set)
    first = records.newest_job(quiet.registry, KEY)
    monkeypatch.setattr(retrain, "train", train)
    monkeypatch.setattr(workers, "STEPS", "another")
    worker = start()
    release.set()
    until(worker, lambda: active(quiet) == "v1")
    assert records.job(quiet.registry, first.id).state == "failed"


def test_a_changed_label_config_is_learned_anew(quiet, studio, trained, start):
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    label(quiet, studio, 20)
    until(worker, lambda: active(quiet) == "v1")
    studio.config = CONFIG.replace('<Choice value="sport"/>', '<Choice value="sport"/><Choice value="film"/>')
    quiet.registry.add_event(KEY, "PROJECT_UPDATED", {"project": {"label_config": studio.config}})
    until(worker, lambda: active(quiet) == "v3")  # v2 is the cold one of the new labels
    assert len(trained) == 2


def test_a_version_that_was_asked_for_comes_when_label_studio_is_back(quiet, studio, start, monkeypatch):
    monkeypatch.setattr(workers, "RETRY_S", 0.5)
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    add(quiet, "one")
    until(worker, lambda: active(quiet) == "v1")
    down = studio.failures["set_model_version"] = 10**6
    request_activation(quiet, quiet.registry.must_project(KEY), "v0")
    until(worker, lambda: studio.failures["set_model_version"] < down - 5)  # a publication tries four times
    assert active(quiet) == "v1"
    studio.failures.clear()
    until(worker, lambda: active(quiet) == "v0")
    assert studio.model_version == "v0-r2"
    until(worker, lambda: records.wished(quiet.registry, KEY) is None)


def test_of_two_versions_that_were_asked_for_the_last_is_taken(quiet, studio, start, monkeypatch):
    monkeypatch.setattr(workers, "RETRY_S", 0.5)
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    for name in ("one", "two"):
        add(quiet, name, verdict="worse")
    studio.failures["set_model_version"] = 10**6
    for name, left in (("v1", 10**6 - 4), ("v2", 10**6 - 8)):
        request_activation(quiet, quiet.registry.must_project(KEY), name)
        until(worker, lambda left=left: studio.failures["set_model_version"] <= left)
    studio.failures.clear()
    until(worker, lambda: records.wished(quiet.registry, KEY) is None)
    assert active(quiet) == "v2"


@DATABASES
def test_what_was_asked_for_outlasts_a_publication_that_waited(quiet, studio, start, monkeypatch):
    monkeypatch.setattr(workers, "RETRY_S", 0.5)
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    down = studio.failures["set_model_version"] = 10**6
    add(quiet, "one")
    until(worker, lambda: studio.failures["set_model_version"] < down)
    request_activation(quiet, quiet.registry.must_project(KEY), "v0")
    studio.failures.clear()
    until(worker, lambda: records.wished(quiet.registry, KEY) is None)
    for _ in range(50):
        worker.tick()
        time.sleep(0.02)
    assert active(quiet) == "v0"


def test_after_a_quiet_day_an_answer_is_applied_as_ever(quiet, studio, start, monkeypatch):
    """What ended long ago is no longer known to the engine."""
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and not quiet.registry.waiting_events(KEY))
    monkeypatch.setattr(workers, "KEEP_WORKFLOWS_S", -10)
    until(worker, lambda: set(states(worker)) == {"SUCCESS"})
    worker._sweep()
    label(quiet, studio, 1)
    until(worker, lambda: quiet.registry.labelled_count(KEY) == 1)


def ticks(worker, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        worker.tick()
        time.sleep(0.02)


def test_a_version_that_was_asked_for_waits_for_nobodys_training(quiet, studio, trained, start, monkeypatch):
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    entered, release, train = threading.Event(), threading.Event(), retrain.train

    def held(*given):
        entered.set()
        release.wait(WAIT_S)
        return train(*given)

    monkeypatch.setattr(retrain, "train", held)
    label(quiet, studio, 20)
    until(worker, entered.is_set)
    add(quiet, "one", verdict="worse")
    request_activation(quiet, quiet.registry.must_project(KEY), "v1")
    until(worker, lambda: active(quiet) == "v1")
    release.set()
    until(worker, lambda: active(quiet) == "v2")


def test_a_training_that_the_engine_did_not_take_is_asked_for_again(quiet, studio, trained, start, monkeypatch):
    worker = start()
    until(worker, lambda: active(quiet) == "v0")

    def refused(queue, workflow, *given):
        if workflow is jobs.train:
            raise OSError("database is locked")
        return jobs.enqueue(queue, workflow, *given)

    monkeypatch.setattr(workers, "enqueue", refused)
    label(quiet, studio, 20)
    until(worker, lambda: records.active_jobs(quiet.registry))
    monkeypatch.setattr(workers, "enqueue", jobs.enqueue)
    monkeypatch.setattr(workers, "SETTLED_S", 0)
    worker._beat = 0.0
    until(worker, lambda: active(quiet) == "v1")


@pytest.fixture
def hold(monkeypatch):
    """Holds the encoding of a version until ``release`` is set; ``entered`` says that it has begun."""

    def held(version):
        entered, release, encode = threading.Event(), threading.Event(), jobs.encode_pool

        def slow(parts, key, name, report):
            if name == version:
                entered.set()
                release.wait(WAIT_S)
            return encode(parts, key, name, report)

        monkeypatch.setattr(jobs, "encode_pool", slow)
        return entered, release

    return held


def ended(workflow):
    return any(w.status == "SUCCESS" for w in DBOS.list_workflows(name=workflow, load_input=False))


def test_a_first_version_that_comes_after_a_trained_one_is_not_made_active(quiet, studio, trained, start, hold):
    entered, release = hold("v0")
    worker = start()
    until(worker, entered.is_set)
    label(quiet, studio, 20)
    request_training(quiet, KEY)
    until(worker, lambda: active(quiet) == "v1")
    release.set()
    until(worker, lambda: ended("promote"))
    assert active(quiet) == "v1"


def test_a_version_that_was_chosen_while_another_one_was_encoded_stays(quiet, studio, trained, start, hold):
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    add(quiet, "one", verdict="worse")
    entered, release = hold("v2")
    label(quiet, studio, 20)
    until(worker, entered.is_set)
    request_activation(quiet, quiet.registry.must_project(KEY), "v1")
    until(worker, lambda: active(quiet) == "v1")
    release.set()
    until(worker, lambda: ended("train"))
    assert active(quiet) == "v1"
    assert "not activated" in records.newest_job(quiet.registry, KEY).message


def test_a_job_whose_end_was_not_written_down_is_ended(quiet, studio, trained, start):
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    label(quiet, studio, 20)
    until(worker, lambda: active(quiet) == "v1" and not records.active_jobs(quiet.registry))
    job = records.newest_job(quiet.registry, KEY).id
    until(worker, lambda: DBOS.get_workflow_status(job).status == "SUCCESS")
    records.update_job(quiet.registry, job, state="running", progress=0.9, message="")
    start()
    assert records.job(quiet.registry, job).state == "failed"


def test_a_refresh_that_fails_is_tried_again_less_and_less_often(quiet, studio, start, monkeypatch):
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and not quiet.registry.waiting_events(KEY))
    ticks(worker, 0.5)
    calls, resort = [], publish.resort

    def broken(parts, key):
        calls.append(time.monotonic())
        raise ValueError("broken")

    monkeypatch.setattr(publish, "resort", broken)
    label(quiet, studio, 1)
    until(worker, lambda: len(calls) == 3)
    assert calls[2] - calls[1] > 1.5  # two seconds, but for how soon each was taken up
    monkeypatch.setattr(publish, "resort", resort)
    worker._started.clear()
    until(worker, lambda: quiet.registry.must_project(KEY).sorted_for == quiet.registry.state(KEY))


def test_after_a_clock_was_set_back_what_failed_is_tried_again(quiet, studio, start, monkeypatch):
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and not quiet.registry.waiting_events(KEY))
    apply_events = mirror.apply_events

    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(mirror, "apply_events", broken)
    label(quiet, studio, 1)
    until(worker, lambda: "ERROR" in states(worker))
    monkeypatch.setattr(mirror, "apply_events", apply_events)
    monkeypatch.setattr(workers, "now", lambda: time.time() - 3600)
    until(worker, lambda: not quiet.registry.waiting_events(KEY))


def test_a_comparison_that_failed_is_made_as_soon_as_label_studio_is_back(quiet, studio, start, monkeypatch):
    """Not only after another ``RECONCILE_SECONDS``."""
    calls, compare = [], mirror.reconcile

    def unreachable(*_):
        calls.append(time.monotonic())
        raise StudioError("Label Studio does not answer.", "Start it.")

    monkeypatch.setattr(workers, "RETRY_S", 1.0)
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and quiet.registry.must_project(KEY).reconciled_at)
    monkeypatch.setattr(mirror, "reconcile", unreachable)
    quiet.registry.mark_reconciled(KEY, time.time() - 601)
    until(worker, lambda: len(calls) == jobs.ATTEMPTS["max_attempts"])
    ticks(worker, 0.5)
    monkeypatch.setattr(mirror, "reconcile", compare)
    studio.annotate(1, text_of(1)[1])  # of which the webhook never told
    until(worker, lambda: quiet.registry.labelled_count(KEY) == 1)


def test_a_project_that_raises_is_no_other_projects_trouble(quiet, studio, start, monkeypatch):
    quiet.registry.save_project("1.1795548626", 1, "first", CONFIG, None, "")
    sorting = due.sorting

    def raising(parts, project):
        if project.key != KEY:
            raise ValueError("its own trouble")
        return sorting(parts, project)

    monkeypatch.setattr(due, "sorting", raising)
    worker = start()
    until(worker, lambda: active(quiet) == "v0")


def test_a_project_that_was_hidden_has_its_queue_again(quiet, studio, start):
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and not quiet.registry.waiting_events(KEY))
    before = {row["task"]: row["score"] for row in studio.rows.values()}
    studio.gone = True
    mirror.reconcile(quiet, KEY)
    studio.gone = False
    mirror.reconcile(quiet, KEY)
    until(worker, lambda: quiet.registry.must_project(KEY).sorted_for == quiet.registry.state(KEY))
    assert {row["task"]: row["score"] for row in studio.rows.values()} == before
    assert len(studio.rows) == len(before)


def test_a_version_that_cannot_be_published_does_not_end_learning(quiet, studio, trained, start, monkeypatch):
    monkeypatch.setattr(workers, "RETRY_S", 0.5)
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    load = quiet.host._load

    def lost(key, name, schema):
        if name == "v1":
            raise ModelError("no version is stored under v1")
        return load(key, name, schema)

    monkeypatch.setattr(quiet.host, "_load", lost)
    add(quiet, "one", seen=0)
    label(quiet, studio, 20)
    until(worker, lambda: active(quiet) == "v2")


def test_many_new_tasks_are_all_ranked_soon(quiet, studio, start, monkeypatch):
    """A refresh computes the features of some, in the order of their ids; the others have a workflow of their own."""
    monkeypatch.setattr(ranking, "FRESH_ITEMS", 5)
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and not quiet.registry.waiting_events(KEY))
    later = range(100, 200)
    studio.tasks |= {number: {"text": text_of(number)[0]} for number in later}
    tasks = [{"id": number, "data": studio.tasks[number]} for number in later]
    quiet.registry.add_event(KEY, "TASKS_CREATED", {"tasks": tasks})
    until(worker, lambda: quiet.registry.task_count(KEY) == len(studio.tasks))

    def ranked():
        project = quiet.registry.must_project(KEY)
        table = quiet.pools.table(quiet.registry, project, quiet.settings.audit_share)
        return quiet.features.of(publish.load(quiet, project, "v0")).present(table.items)

    until(worker, lambda: ranked().all() and quiet.registry.must_project(KEY).sorted_for == quiet.registry.state(KEY))
    assert len(DBOS.list_workflows(name="encode", load_input=False)) == 1


def test_new_tasks_whose_features_failed_are_tried_again_with_the_next_answer(quiet, studio, start, monkeypatch):
    monkeypatch.setattr(ranking, "FRESH_ITEMS", 5)
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and not quiet.registry.waiting_events(KEY))
    failed, compute = [], jobs.encode_pool

    def full_disk(*_):
        failed.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs, "encode_pool", full_disk)
    later = range(100, 150)
    studio.tasks |= {number: {"text": text_of(number)[0]} for number in later}
    tasks = [{"id": number, "data": studio.tasks[number]} for number in later]
    quiet.registry.add_event(KEY, "TASKS_CREATED", {"tasks": tasks})
    until(worker, lambda: failed)
    monkeypatch.setattr(jobs, "encode_pool", compute)
    label(quiet, studio, 1)
    project = quiet.registry.must_project(KEY)
    model = publish.load(quiet, project, "v0")
    until(worker, lambda: not len(ranking.new(quiet, quiet.registry.must_project(KEY), model)))


def deleted(folder):
    """Whether a folder is gone; what a worker writes there meanwhile keeps one from being deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def test_the_cache_may_be_deleted_at_any_time(quiet, studio, start, tmp_path):
    worker = start()
    until(worker, lambda: active(quiet) == "v0" and not quiet.registry.waiting_events(KEY))
    until(worker, lambda: deleted(tmp_path / "features"))
    label(quiet, studio, 1)
    until(worker, lambda: quiet.registry.labelled_count(KEY) == 1)
    until(worker, lambda: quiet.registry.must_project(KEY).sorted_for == quiet.registry.state(KEY))
    version = publish.load(quiet, quiet.registry.must_project(KEY), "v0")
    table = quiet.pools.table(quiet.registry, quiet.registry.must_project(KEY), quiet.settings.audit_share)
    assert quiet.features.of(version).present(table.items).all()


def test_a_training_of_a_worker_that_died_and_will_not_be_taken_up_is_asked_for_again(
    quiet, studio, trained, start, monkeypatch
):
    """It was of another release, and started after this one's worker."""
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    label(quiet, studio, 4)
    until(worker, lambda: quiet.registry.labelled_count(KEY) == 4)
    records.add_job(quiet.registry, "former", KEY, "retrain", 1)
    monkeypatch.setattr(registered, "dead", lambda _: ["another"])
    worker._take_over()
    assert records.job(quiet.registry, "former").state == "failed"
    assert records.newest_job(quiet.registry, KEY).id != "former"


def test_a_wish_that_cannot_come_true_stops_nothing(quiet, studio, start, monkeypatch):
    worker = start()
    until(worker, lambda: active(quiet) == "v0")
    monkeypatch.setattr(jobs, "encode_pool", lambda *_: 1 / 0)
    add(quiet, "one", verdict="worse")
    request_activation(quiet, quiet.registry.must_project(KEY), "v1")
    until(worker, lambda: records.wished(quiet.registry, KEY) is None)
    assert active(quiet) == "v0"


def test_a_worker_goes_on_with_what_another_ones_folder_has(parts, studio, tmp_path, monkeypatch):
    """Features and snapshots are in the folder of the worker that made them."""
    mirror.reconcile(parts, KEY)
    version = retrain.cold_start(parts, parts.registry.must_project(KEY)).name
    encode_pool(parts, KEY, version, lambda *_: None)
    for task in range(1, 25):
        studio.annotate(task, text_of(task)[1])
    mirror.reconcile(parts, KEY)
    snapshot = take_snapshot(parts, KEY)
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
    monkeypatch.setattr(retrain, "register", lambda parts, key, snapshot, location: {"at": location})
    learned = jobs._learned(KEY, "j", snapshot)
    assert Path(learned["snapshot"]["path"]).exists()
    assert learned["verdict"] == {"at": snapshot["hash"]}


@pytest.fixture
def run(start):
    """Starts a worker and has it run in a thread, as the process does."""
    stop, threads = threading.Event(), []

    def running():
        threads.append(threading.Thread(target=start().run, args=(stop,)))
        threads[0].start()

    yield running
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)


def wait(true):
    """Until something holds that a running worker does."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def settled(quiet, worker):
    """Ticks until the first version is active and nothing is left to do."""
    until(worker, lambda: active(quiet) == "v0" and set(states(worker)) == {"SUCCESS"})
    assert not due.sorting(quiet, quiet.registry.must_project(KEY))


def other_model(quiet, monkeypatch, load=lambda: None):
    """As after a restart with another base model, before it is loaded; ``load`` comes first."""

    def encoder():
        if quiet.host._base is None:
            load()
            quiet.host._base = WordEncoder("another")
        return quiet.host._base

    quiet.host._base = None
    quiet.host._versions.clear()
    monkeypatch.setattr(quiet.host, "encoder", encoder)


def test_a_worker_with_another_base_model_begins_anew_before_anything_happens(quiet, studio, start, run, monkeypatch):
    settled(quiet, start())
    writers = []
    monkeypatch.setattr(quiet.host, "generator", writers.append)
    other_model(quiet, monkeypatch)
    run()
    wait(lambda: active(quiet) == "v1")
    assert writers[0] == quiet.registry.must_project(KEY).asks(), "what writes its texts is loaded too"


def test_a_worker_lives_while_a_model_is_loaded_and_looks_at_nothing_until_then(quiet, studio, run, monkeypatch):
    entered, release = threading.Event(), threading.Event()
    monkeypatch.setattr(registered, "DEAD_AFTER_S", 0.3)

    def load():
        entered.set()
        release.wait(WAIT_S)

    other_model(quiet, monkeypatch, load)
    run()
    assert entered.wait(WAIT_S)
    for _ in range(2):
        registered.forget(quiet.registry, quiet.settings.worker_id)
        wait(lambda: registered.alive(quiet.registry))
    assert quiet.registry.waiting_events(KEY)
    release.set()
    wait(lambda: active(quiet) == "v0")


def test_a_model_that_cannot_be_loaded_is_said_and_tried_again(quiet, studio, start, run, monkeypatch):
    settled(quiet, start())
    said, failures = [], [ModelError("It is not there.", "Correct BASE_MODEL."), ZeroDivisionError()]
    monkeypatch.setattr(workers, "RETRY_S", 0.5)
    monkeypatch.setattr(workers.log, "error", lambda *_, reason: said.append(reason))
    monkeypatch.setattr(workers.log, "exception", said.append)

    def load():
        if failures:
            raise failures.pop(0)

    other_model(quiet, monkeypatch, load)
    run()
    wait(lambda: active(quiet) == "v1")
    assert len(said) == 2
    assert "Correct BASE_MODEL." in said[0]


def test_a_damaged_database_of_the_jobs_is_named(quiet, start):
    (quiet.settings.data_dir / "jobs.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"jobs\.sqlite cannot be opened"):
        start()
