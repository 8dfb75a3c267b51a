"""The registry: what is written is read back, again or late makes no difference."""

import threading
import time

import pytest

from backend.errors import NotFound
from backend.problems.schema import Control, Schema
from backend.registry import versions as records
from backend.registry import workers
from backend.registry.database import open_database
from backend.registry.migrations import MIGRATIONS, migrate
from backend.registry.records import Annotation
from backend.registry.store import Registry
from tests.fakes import DATABASES, KEY

pytestmark = DATABASES
SCHEMA = Schema((Control("topic", "choices", "text", "text", ("a", "b"), ("a", "b")),))


@pytest.fixture
def registry(settings):
    registry = Registry(settings.database)
    registry.save_project(KEY, 2, "t", "<View/>", SCHEMA, "")
    yield registry
    registry.close()


def annotation(number: int = 5, task: int = 1, updated: str = "2026-01-01T00:00:00Z", label: str = "a", **more):
    result = [{"from_name": "topic", "value": {"choices": [label]}}]
    return Annotation(number, task, 1, result, more.get("cancelled", False), updated)


def test_a_project_comes_back_as_it_was_saved(registry):
    project = registry.project(KEY)
    assert project is not None
    assert (project.id, project.title, project.asks()) == (2, "t", SCHEMA)
    assert registry.newest_project(2).key == KEY
    with pytest.raises(NotFound, match="not known"):
        registry.must_project("9.9")


def test_migrations_are_applied_once_however_often_and_from_how_many_sides(settings):
    url = settings.database
    opened = []
    threads = [threading.Thread(target=lambda: opened.append(Registry(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    migrate(opened[0].engine)
    rows = opened[0].rows("SELECT number FROM migrations")
    assert [row["number"] for row in rows] == list(range(1, len(MIGRATIONS) + 1))
    for registry in opened:
        registry.close()


def test_a_database_of_before_knows_what_came_first(settings, monkeypatch):
    monkeypatch.setattr("backend.registry.migrations.MIGRATIONS", MIGRATIONS[:3])
    engine = open_database(settings.database)
    with engine.begin() as db:
        for name, at in (("v0", 10.0), ("v1", 20.0)):
            db.exec_driver_sql(f"INSERT INTO activations VALUES ({at:.0f}, '{KEY}', '{name}', '{name}', '', {at})")
            version = f"'{KEY}', '{name}', {at}, '', '{name}', 0, 0, NULL, NULL, '{{}}', 'ready', {at - 1}"
            db.exec_driver_sql(f"INSERT INTO versions VALUES ({version})")
        db.exec_driver_sql(f"INSERT INTO jobs VALUES ('j', '{KEY}', 'retrain', 'done', 1, '', 1, 21.0, 22.0)")
    engine.dispose()
    monkeypatch.setattr("backend.registry.migrations.MIGRATIONS", MIGRATIONS)
    registry = Registry(settings.database)
    assert [v.activation for v in records.versions(registry, KEY)] == [0, 10]
    assert records.newest_job(registry, KEY).activation == 20
    registry.close()


def test_a_database_of_a_later_release_is_read(registry):
    """Of several machines, one is upgraded first."""
    add(registry, "s")
    records.add_job(registry, "j", KEY, "retrain", 1)
    records.activate(registry, KEY, "v1", "v1", "x")
    with registry.engine.begin() as db:
        for table in ("versions", "jobs", "activations"):
            db.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN later TEXT")
    assert records.version(registry, KEY, "v1").name == records.active(registry, KEY).version == "v1"
    assert records.newest_job(registry, KEY).id == "j"


def test_a_worker_lives_while_its_heart_beats(registry, monkeypatch):
    assert not workers.alive(registry)
    workers.beat(registry, "one")
    assert workers.alive(registry)
    assert not workers.dead(registry)
    at = registry.row("SELECT seen_at FROM workers")["seen_at"]
    assert abs(at - time.time()) < 60
    registry.write("UPDATE workers SET seen_at = :at", {"at": at - 61})
    assert not workers.alive(registry)
    assert workers.dead(registry) == ["one"]
    workers.forget(registry, "one")
    assert not workers.dead(registry)


def test_events_wait_in_order_until_they_are_applied(registry):
    for number in range(3):
        registry.add_event(KEY, "TASKS_CREATED", {"n": number})
    waiting = registry.waiting_events(KEY)
    assert [e.payload["n"] for e in waiting] == [0, 1, 2]
    assert registry.waiting_events(KEY, after=waiting[0].id) == waiting[1:]
    registry.mark_applied(KEY, [e.id for e in waiting[:2]])
    assert [e.payload["n"] for e in registry.waiting_events(KEY)] == [2]
    assert registry.projects_with_events() == {KEY: waiting[2].id}


def test_an_older_state_of_an_annotation_never_overwrites_a_newer_one(registry):
    registry.save_annotations(KEY, [annotation(updated="2026-01-01T00:00:02Z", label="b")], changed=7)
    registry.save_annotations(KEY, [annotation(updated="2026-01-01T00:00:01Z", label="a")], changed=8)
    assert registry.annotations(KEY)[0].result[0]["value"] == {"choices": ["b"]}
    assert registry.newest_change(KEY)[0] == 7


def test_the_same_annotation_again_is_no_change(registry):
    registry.save_annotations(KEY, [annotation()], changed=7)
    registry.save_annotations(KEY, [annotation()], changed=9)
    assert registry.changed_since(KEY, 6) == 1
    assert registry.changed_since(KEY, 7) == 0


def test_skips_are_kept_but_do_not_count_as_labels(registry):
    registry.save_annotations(KEY, [annotation(1, 1), annotation(2, 2, cancelled=True)], changed=1)
    assert registry.labelled(KEY) == [1]
    assert registry.touched(KEY) == {1, 2}
    assert registry.changed_since(KEY, 0) == 1


def test_the_stamp_grows_when_tasks_change_and_only_then(registry):
    stamp = lambda: registry.project(KEY).tasks_stamp  # noqa: E731
    before = stamp()
    registry.save_tasks(KEY, [(1, {"text": "a"})])
    after = stamp()
    assert after > before
    registry.save_tasks(KEY, [(1, {"text": "a"})])
    assert stamp() == after
    registry.delete_tasks(KEY, [1])
    assert stamp() > after
    assert registry.tasks(KEY) == {}


def add(registry, snapshot: str, **more):
    fields = {
        "schema_hash": "h",
        "seen": 1,
        "labels": 3,
        "location": None,
        "audit": None,
        "meta": {},
        "verdict": "ready",
    }
    return records.add_version(registry, KEY, snapshot=snapshot, **{**fields, **more})


def test_the_same_snapshot_is_the_same_version(registry):
    first = add(registry, "s1", first_number=0)
    assert add(registry, "s1") == first
    assert add(registry, "s2").name == "v1"
    assert [v.name for v in records.versions(registry, KEY)] == ["v0", "v1"]


def test_a_name_is_never_used_for_two_publications(registry):
    names = []
    for version in ("v1", "v2", "v1", "v1"):
        name = records.publication_name(registry, KEY, version)
        records.activate(registry, KEY, version, name, "test")
        names.append(name)
    assert names == ["v1", "v2", "v1-r2", "v1-r3"]
    assert records.active(registry, KEY).name == "v1-r3"


def test_activating_again_changes_nothing(registry):
    for version in ("v1", "v2"):
        records.activate(registry, KEY, version, version, "test")
    records.activate(registry, KEY, "v1", "v1", "a step that ran twice")
    assert records.active(registry, KEY).version == "v2"


def test_timings_are_bounded(registry):
    for number in range(12):
        records.add_timing(registry, KEY, "refresh", float(number), keep=5)
    assert records.timings(registry, KEY) == {"refresh": [7.0, 8.0, 9.0, 10.0, 11.0]}


def test_forgetting_a_project_leaves_no_row_but_its_versions(registry):
    registry.save_tasks(KEY, [(1, {"text": "a"})])
    registry.save_annotations(KEY, [annotation()], changed=1)
    add(registry, "s1")
    records.activate(registry, KEY, "v1", "v1", "test")
    registry.forget_project(KEY)
    assert registry.project(KEY) is None
    assert registry.annotations(KEY) == []
    assert [v.name for v in records.versions(registry, KEY)] == ["v1"]
