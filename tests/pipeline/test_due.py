"""What is due follows from the database alone."""

import json
import time
from pathlib import Path

import pytest

from backend.errors import ModelError, NotFound
from backend.pipeline import due, jobs, mirror, publish, retrain
from backend.pipeline.encode import encode_pool, forget_features
from backend.pipeline.requests import request_activation
from backend.pipeline.snapshot import take_snapshot
from backend.registry import store
from backend.registry import versions as records
from tests.fakes import CONFIG, KEY, WordEncoder, text_of


@pytest.fixture
def project(parts):
    mirror.reconcile(parts, KEY)
    return parts.registry.must_project(KEY)


def label(parts, studio, n):
    done = len(studio.answers)
    for task in range(done + 1, done + n + 1):
        studio.annotate(task, text_of(task)[1])
    mirror.reconcile(parts, KEY)


def version(parts, project, name, **more):
    seen = parts.registry.newest_change(KEY)[0]
    fields = {"labels": 1, "location": None, "audit": None, "meta": {}, "verdict": "ready", "seen": seen, **more}
    return records.add_version(parts.registry, KEY, schema_hash=project.asks().hash, snapshot=name, **fields)


def fail_the_training(parts, project):
    """The training that is due, begun and failed."""
    job = due.training(parts, project)
    records.add_job(parts.registry, job, KEY, "retrain", parts.registry.newest_change(KEY)[0])
    records.update_job(parts.registry, job, state="failed", progress=1, message="")


def with_settings(parts, **changes):
    parts.settings = parts.settings.model_copy(update=changes)
    return parts


def test_enough_new_labels_start_a_training_and_fewer_do_not(parts, studio, project):
    with_settings(parts, retrain_after_labels=10)
    label(parts, studio, 9)
    assert due.training(parts, project) is None
    label(parts, studio, 1)
    assert due.training(parts, project)


def test_a_few_labels_and_quiet_start_a_training(parts, studio, project):
    with_settings(parts, retrain_after_seconds=1e-6, retrain_min_labels=5)
    label(parts, studio, 4)
    assert due.training(parts, project) is None
    label(parts, studio, 1)
    assert due.training(parts, project)


def test_never_two_at_once(parts, studio, project):
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 5)
    records.add_job(parts.registry, "j", KEY, "retrain", 0)
    assert due.training(parts, project) is None


@pytest.fixture
def trained_ahead(parts, studio, project, monkeypatch):
    """A project that was trained once, by a clock that went an hour ahead and was set back since."""
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 5)
    with monkeypatch.context() as ahead:
        ahead.setattr(records, "now", lambda: time.time() + 3600)
        records.add_job(parts.registry, "first", KEY, "retrain", parts.registry.newest_change(KEY)[0])
        records.update_job(parts.registry, "first", state="done", progress=1, message="")
        version(parts, project, "s")
    return parts


def test_a_clock_that_was_set_back_starts_one_training(parts, studio, project, trained_ahead):
    label(trained_ahead, studio, 5)
    for _ in range(3):
        if job := due.training(parts, project):
            records.add_job(parts.registry, job, KEY, "retrain", parts.registry.newest_change(KEY)[0])
    assert len(records.active_jobs(parts.registry)) == 1


def test_a_training_that_failed_is_not_repeated_after_a_clock_was_set_back(parts, studio, project, trained_ahead):
    label(trained_ahead, studio, 5)
    fail_the_training(parts, project)
    assert due.training(parts, project) is None


def test_a_version_that_waits_is_not_forgotten_for_a_worse_one(parts, project):
    cold = retrain.cold_start(parts, project).name
    records.activate(parts.registry, KEY, cold, cold, due.START)
    row = version(parts, project, "a")
    version(parts, project, "b", verdict="worse")
    assert due.unpublished(parts, project) == row.name


def test_a_project_that_was_hidden_for_a_while_has_its_version_again(parts, studio, project):
    label(parts, studio, 10)
    for row in (retrain.cold_start(parts, project), version(parts, project, "s")):
        records.activate(parts.registry, KEY, row.name, row.name, "start")
    studio.gone = True
    mirror.reconcile(parts, KEY)
    assert parts.registry.project(KEY) is None
    studio.gone = False
    mirror.reconcile(parts, KEY)
    assert due.active_version(parts, parts.registry.must_project(KEY)).name == "v1"


def test_a_project_that_comes_back_with_other_tasks_has_these(parts, studio, project, monkeypatch):
    parts.pools.table(parts.registry, project, 0.2)
    studio.gone = True
    mirror.reconcile(parts, KEY)
    studio.gone, studio.tasks = False, {number: {"text": text_of(number)[0]} for number in range(100, 120)}
    monkeypatch.setattr(store, "now", lambda: time.time() + 60)
    mirror.reconcile(parts, KEY)
    assert set(parts.pools.table(parts.registry, parts.registry.must_project(KEY), 0.2).ids) == set(studio.tasks)


def test_a_project_whose_last_version_is_lost_begins_with_the_one_before(parts, project, monkeypatch):
    cold = retrain.cold_start(parts, project)
    for row in (cold, version(parts, project, "s", location="s"), version(parts, project, "t", location="t")):
        records.activate(parts.registry, KEY, row.name, row.name, "x")
    load = parts.host._load

    def lost(key, name, schema):
        if name in gone:
            raise ModelError("The files of a version are gone.")
        return load(key, name, schema)

    monkeypatch.setattr(parts.host, "_load", lost)
    gone = {"v2"}
    assert retrain.starting_version(parts, project) == "v1"
    gone = {"v0", "v1", "v2"}
    parts.host._versions.clear()
    assert retrain.starting_version(parts, project) == "v0"


def test_what_was_held_out_is_written_down_with_what_was_learned(parts, studio, project):
    """A restart may change AUDIT_SHARE between the two."""
    label(parts, studio, 20)
    snapshot = json.loads(Path(take_snapshot(parts, KEY)["path"]).read_text())
    assert snapshot["audit_share"] == parts.settings.audit_share


def test_nothing_is_sorted_without_tasks_after_another_label_config(parts, studio, project, monkeypatch):
    cold = retrain.cold_start(parts, project).name
    records.activate(parts.registry, KEY, cold, cold, due.START)
    studio.tasks.clear()
    studio.config = CONFIG.replace('"music"', '"film"')
    mirror.reconcile(parts, KEY)
    assert not due.sorting(parts, parts.registry.must_project(KEY))
    monkeypatch.setattr(jobs, "_wired", [parts])
    assert jobs._resort(KEY, 0.0, True) == 0


def test_one_projects_lost_weights_are_no_other_projects_concern(parts, studio, project, monkeypatch):
    cold = retrain.cold_start(parts, project).name
    records.activate(parts.registry, KEY, cold, cold, due.START)
    other, load = "3.1795548626", parts.host._load
    parts.registry.save_project(other, 3, "other", CONFIG, project.schema, "")
    fields = {"seen": 1, "labels": 1, "audit": None, "meta": {}, "verdict": "ready"}
    row = records.add_version(
        parts.registry, other, schema_hash=project.schema.hash, snapshot="x", location="gone", **fields
    )
    records.activate(parts.registry, other, row.name, row.name, "x")

    def lost(key, name, schema):
        if key == other:
            raise ModelError("no version is stored under 'gone'")
        return load(key, name, schema)

    monkeypatch.setattr(parts.host, "_load", lost)
    encode_pool(parts, KEY, cold, lambda *_: None)
    parts.features.of(parts.host.encoder()).note_whole(KEY, 60)
    parts.features.of(WordEncoder("nobodys"))
    forget_features(parts)
    assert parts.features.of(parts.host.encoder()).whole(KEY)
    assert not (parts.settings.data_dir / "features" / "nobodys").exists()


def test_a_version_whose_files_are_gone_cannot_be_asked_for(parts, project):
    cold = retrain.cold_start(parts, project).name
    row = version(parts, project, "s", location="s")
    with pytest.raises(ModelError, match="are gone"):
        request_activation(parts, project, row.name)
    assert records.wished(parts.registry, KEY) is None
    request_activation(parts, project, cold)
    assert records.wished(parts.registry, KEY) == cold


def test_what_was_learned_is_not_new_and_what_failed_is_not_repeated(parts, studio, project):
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 5)
    fail_the_training(parts, project)
    assert due.training(parts, project) is None
    label(parts, studio, 1)
    assert due.training(parts, project)
    version(parts, project, "s")
    assert due.new_labels(parts, project) == 0
    assert due.training(parts, project) is None


def test_trainings_become_rarer_as_the_project_grows(parts, studio, project):
    with_settings(parts, retrain_after_labels=2)
    label(parts, studio, 50)
    version(parts, project, "s")
    label(parts, studio, 4)
    assert due.training(parts, project) is None
    label(parts, studio, 1)
    assert due.training(parts, project)


def test_a_project_with_tasks_and_without_a_version_for_its_schema_needs_a_start(parts, studio, project):
    assert due.needs_cold_start(parts, project)
    row = version(parts, project, "cold")
    records.activate(parts.registry, KEY, row.name, row.name, "start")
    assert not due.needs_cold_start(parts, project)
    studio.config = studio.config.replace("music", "film")
    mirror.reconcile(parts, KEY)
    assert due.needs_cold_start(parts, parts.registry.must_project(KEY))


def test_a_version_whose_publication_failed_is_published_later_and_a_rollback_stays(parts, project):
    first = version(parts, project, "one")
    records.activate(parts.registry, KEY, first.name, first.name, "start")
    assert due.unpublished(parts, project) is None
    second = version(parts, project, "two")
    assert due.unpublished(parts, project) == second.name
    records.activate(parts.registry, KEY, second.name, second.name, "test")
    records.activate(parts.registry, KEY, first.name, f"{first.name}-r2", "asked for")
    assert due.unpublished(parts, project) is None
    version(parts, project, "three", verdict="worse than v1")
    assert due.unpublished(parts, project) is None


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_came_first_is_known_whatever_the_clocks_say(parts, studio, project, monkeypatch, hours):
    """The clock was set, or another worker's is apart: what comes from now on has other times than what came before."""
    cold = retrain.cold_start(parts, project)
    records.activate(parts.registry, KEY, cold.name, cold.name, due.START)
    monkeypatch.setattr(records, "now", lambda: time.time() + 3600 * hours)
    monkeypatch.setattr(jobs, "_wired", [parts])
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 5)
    fail_the_training(parts, project)
    assert due.training(parts, project) is None
    row = version(parts, project, "s", location="s")
    assert due.unpublished(parts, project) == row.name
    records.activate(parts.registry, KEY, row.name, row.name, "learned")
    later = version(parts, project, "t", location="t")
    assert not jobs._chosen_since(KEY, later.name)
    records.activate(parts.registry, KEY, cold.name, "v0-r2", "asked for")
    assert jobs._chosen_since(KEY, later.name)
    assert due.unpublished(parts, project) is None


def test_workers_whose_clocks_are_apart_compare_no_more_often(parts, studio, project, monkeypatch):
    for module in (mirror, due):
        monkeypatch.setattr(module, "now", lambda: time.time() + 24 * 3600, raising=False)
    assert not due.reconciliation(parts, parts.registry.must_project(KEY))
    mirror.reconcile(parts, KEY)
    assert abs(parts.registry.must_project(KEY).reconciled_at - time.time()) < 60


def test_a_comparison_is_due_where_the_last_one_was_by_a_clock_far_ahead(parts, studio, project):
    assert not due.reconciliation(parts, project)
    parts.registry.mark_reconciled(KEY, time.time() + 24 * 3600)
    assert due.reconciliation(parts, parts.registry.must_project(KEY))
    studio.annotate(1, text_of(1)[1])
    mirror.reconcile(parts, KEY)
    assert parts.registry.labelled_count(KEY) == 1


def test_sorting_is_due_after_each_change_until_it_was_done(parts, studio, project):
    assert not due.sorting(parts, project)  # nothing published yet
    retrain.cold_start(parts, project)
    publish.plan(parts, KEY, "v0", "v0")
    publish.push(parts, KEY, "v0", "v0")
    publish.switch(parts, KEY, "v0", "v0", "test")
    changes = [
        lambda: studio.annotate(1, "food"),
        lambda: studio.annotate(2, None),
        lambda: studio.answers.pop(next(iter(studio.answers))),
        lambda: studio.tasks.pop(9),
        lambda: None,
    ]
    for change in changes:
        change()
        mirror.reconcile(parts, KEY)
        publish.resort(parts, KEY)
        assert not due.sorting(parts, parts.registry.must_project(KEY))
        mirror.reconcile(parts, KEY)
        assert not due.sorting(parts, parts.registry.must_project(KEY))
        parts.registry.delete_tasks(KEY, [])
        assert not due.sorting(parts, parts.registry.must_project(KEY))
    studio.annotate(3, "music")
    mirror.reconcile(parts, KEY)
    assert due.sorting(parts, parts.registry.must_project(KEY))


def test_the_same_labels_again_are_the_same_version_and_not_new(parts, studio, project):
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 5)
    version(parts, project, "snapshot")
    label(parts, studio, 5)  # as where a second annotator agrees: what is learned is the same
    assert due.new_labels(parts, project) == 5
    seen = parts.registry.newest_change(KEY)[0]
    again = retrain.register(parts, KEY, {"hash": "snapshot", "seen": seen, "path": "nowhere"}, "nowhere")
    assert again == {"version": "v1", "activate": False, "message": "v1 has learned from these labels already"}
    assert due.new_labels(parts, project) == 0
    assert records.seen_again(parts.registry, KEY, "another", seen) is None


def test_a_label_config_that_comes_back_has_its_version_again(parts, studio, project):
    version(parts, project, "one")
    assert retrain.starting_version(parts, project) == "v2"  # v1 was never active
    records.activate(parts.registry, KEY, "v1", "v1", "test")
    studio.config = CONFIG.replace('<Choice value="sport"/>', '<Choice value="film"/><Choice value="sport"/>')
    mirror.reconcile(parts, KEY)
    changed = parts.registry.must_project(KEY)
    assert due.needs_cold_start(parts, changed)
    records.activate(parts.registry, KEY, retrain.starting_version(parts, changed), "v3", "test")
    studio.config = CONFIG
    mirror.reconcile(parts, KEY)
    assert retrain.starting_version(parts, parts.registry.must_project(KEY)) == "v1"


def test_labels_that_still_fit_a_changed_config_are_reason_for_a_training(parts, studio, project):
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 10)
    records.add_job(parts.registry, due.training(parts, project), KEY, "retrain", parts.registry.newest_change(KEY)[0])
    (job,) = records.active_jobs(parts.registry, KEY)
    records.update_job(parts.registry, job.id, state="done", progress=1.0, message="")
    assert due.training(parts, project) is None
    studio.config = CONFIG.replace('<Choice value="sport"/>', '<Choice value="sport"/><Choice value="film"/>')
    mirror.reconcile(parts, KEY)
    changed = parts.registry.must_project(KEY)
    records.activate(parts.registry, KEY, retrain.starting_version(parts, changed), "v1", due.START)
    assert due.training(parts, changed)


def test_versions_of_another_base_model_are_as_if_they_were_not(parts, studio, project):
    """Else the project could neither serve nor train: what it has cannot be loaded."""
    base_id = parts.host.encoder().base_id
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 20)
    cold = retrain.cold_start(parts, project).name
    row = version(parts, project, "one", location="words-v1", meta={"base": {"id": base_id}})
    records.activate(parts.registry, KEY, row.name, row.name, "test")
    assert not due.needs_cold_start(parts, project)
    assert due.new_labels(parts, project) == 0
    parts.host._base.base_id = "another"
    assert due.needs_cold_start(parts, project)
    other = retrain.starting_version(parts, project)
    assert other not in (cold, row.name)
    records.activate(parts.registry, KEY, other, other, due.START)
    assert not due.needs_cold_start(parts, project)
    assert due.unpublished(parts, project) is None
    assert due.training(parts, project)
    snapshot = take_snapshot(parts, KEY)
    assert json.loads(Path(snapshot["path"]).read_text())["base"] == "another"
    assert snapshot["before"] is None
    with pytest.raises(NotFound, match="another base model"):
        request_activation(parts, project, row.name)
    parts.host._base.base_id = base_id
    assert due.needs_cold_start(parts, project)
    assert retrain.starting_version(parts, project) == row.name


def test_where_no_model_is_loaded_versions_fit_that_were_made_for_what_the_active_one_was(parts, studio, project):
    """As in a command: it says what the worker would."""
    with_settings(parts, retrain_after_labels=5)
    label(parts, studio, 20)
    row = version(parts, project, "one", location="words-v1", meta={"base": {"id": "another"}})
    records.activate(parts.registry, KEY, row.name, row.name, "test")
    assert due.active_version(parts, project).name == row.name
    assert due.new_labels(parts, project) == 0
    version(parts, project, "cold of a former release", meta={"kind": "cold"})
    assert due.usable_versions(parts, project) == [row]
    cold = retrain.cold_start(parts, project).name
    records.activate(parts.registry, KEY, cold, cold, due.START)
    for loaded in (True, False):
        assert parts.host.ready == loaded
        assert [v.name for v in due.usable_versions(parts, project)] == [cold]
        assert due.new_labels(parts, project) == 20
        assert due.training(parts, project)
        with pytest.raises(NotFound, match="another base model"):
            request_activation(parts, project, row.name)
        parts.host._base = None


def test_what_failed_trainings_left_is_deleted_after_a_while(parts, studio, project):
    label(parts, studio, 20)
    snapshot = take_snapshot(parts, KEY)
    retrain.sweep(parts, older_s=3600)
    assert Path(snapshot["path"]).exists()
    records.add_job(parts.registry, "j", KEY, "retrain", 1)
    retrain.sweep(parts, older_s=-1)
    assert Path(snapshot["path"]).exists()  # a training may read it
    records.update_job(parts.registry, "j", state="failed", progress=1.0, message="")
    retrain.sweep(parts, older_s=-1)
    assert not Path(snapshot["path"]).exists()
