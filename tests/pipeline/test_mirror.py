"""The mirror ends in the same state however often, late or not at all an event arrives."""

import random
from dataclasses import replace

import pytest

from backend.pipeline import mirror, texts
from backend.studio.schema import parse_schema
from tests.fakes import CONFIG, DATABASES, KEY, text_of

pytestmark = DATABASES


def created(answer):
    return {"annotations": [answer], "tasks": [{"id": answer["task"], "data": {"text": text_of(answer["task"])[0]}}]}


def state(parts):
    return {(a.annotation_id, a.task_id, a.cancelled, str(a.result)) for a in parts.registry.annotations(KEY)}


def test_a_new_project_is_read_whole(parts, studio):
    studio.annotate(1, "sport")
    assert mirror.reconcile(parts, KEY)
    assert len(parts.registry.tasks(KEY)) == len(studio.tasks)
    assert parts.registry.labelled(KEY) == [1]
    assert parts.registry.must_project(KEY).asks().controls[0].labels == ("sport", "food", "music")
    assert not mirror.reconcile(parts, KEY)


def test_events_and_comparison_come_to_the_same(parts, studio):
    mirror.reconcile(parts, KEY)
    for task in (1, 2, 3):
        answer = studio.annotate(task, "food" if task != 2 else None)
        parts.registry.add_event(KEY, "ANNOTATION_CREATED", created(answer))
    mirror.apply_events(parts, KEY)
    by_events = state(parts)
    assert len(by_events) == 3
    assert not mirror.reconcile(parts, KEY)
    assert state(parts) == by_events


def test_lost_events_are_found_by_comparison(parts, studio):
    mirror.reconcile(parts, KEY)
    studio.annotate(4, "music")
    assert mirror.reconcile(parts, KEY)
    assert parts.registry.labelled(KEY) == [4]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_and_number_of_deliveries_make_no_difference(parts, studio, seed):
    mirror.reconcile(parts, KEY)
    answers = [
        studio.annotate(1, "food", at="2026-11-25T00:00:01Z"),
        studio.annotate(2, "sport"),
        {**studio.annotate(3, "music"), "was_cancelled": False},
    ]
    answers.append({**answers[0], "result": [], "updated_at": "2026-11-25T00:00:02Z"})
    answers.append({**answers[0], "updated_at": "2026-11-25T00:00:03Z"})
    deliveries = answers * 2
    random.Random(seed).shuffle(deliveries)
    for answer in deliveries:
        parts.registry.add_event(KEY, "ANNOTATION_UPDATED", created(answer))
    mirror.apply_events(parts, KEY)
    newest = {a["id"]: str(a["result"]) for a in (*answers[1:3], answers[4])}
    assert {a[0]: a[3] for a in state(parts)} == newest


def test_deletions_are_seen_by_event_and_by_comparison(parts, studio):
    mirror.reconcile(parts, KEY)
    first, second = studio.annotate(1, "food"), studio.annotate(2, "food")
    mirror.reconcile(parts, KEY)
    del studio.answers[first["id"]]
    parts.registry.add_event(KEY, "ANNOTATIONS_DELETED", {"annotations": [{"id": first["id"]}], "tasks": []})
    mirror.apply_events(parts, KEY)
    assert parts.registry.labelled(KEY) == [2]
    del studio.answers[second["id"]]
    assert mirror.reconcile(parts, KEY)
    assert parts.registry.labelled(KEY) == []


def test_tasks_come_and_go(parts, studio):
    mirror.reconcile(parts, KEY)
    parts.registry.add_event(KEY, "TASKS_CREATED", {"tasks": [{"id": 900, "data": {"text": "new"}}], "annotations": []})
    mirror.apply_events(parts, KEY)
    assert parts.registry.tasks(KEY)[900] == {"text": "new"}
    assert mirror.reconcile(parts, KEY)  # Label Studio does not have it
    assert 900 not in parts.registry.tasks(KEY)
    del studio.tasks[5]
    parts.registry.add_event(KEY, "TASKS_DELETED", {"tasks": [{"id": 5}], "annotations": []})
    mirror.apply_events(parts, KEY)
    assert 5 not in parts.registry.tasks(KEY)


def test_an_unsupported_config_is_kept_with_its_reason(parts, studio):
    studio.config = '<View><Image name="i" value="$image"/></View>'
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    assert project.schema is None
    assert project.problem


def test_a_config_that_this_release_reads_otherwise_is_read_again(parts, studio):
    mirror.reconcile(parts, KEY)
    known = parts.registry.must_project(KEY)
    former = parse_schema(known.label_config.replace("music", "cinema"))
    parts.registry.save_project(KEY, known.id, known.title, known.label_config, former, "not so")
    assert mirror.reconcile(parts, KEY)
    saved = parts.registry.must_project(KEY)
    assert saved == replace(known, reconciled_at=saved.reconciled_at)
    assert not mirror.reconcile(parts, KEY)


def test_tasks_that_were_exchanged_or_corrected_while_events_were_lost_are_seen(parts, studio):
    mirror.reconcile(parts, KEY)
    del studio.tasks[3], studio.tasks[4]
    studio.tasks[901], studio.tasks[902] = {"text": "new"}, {"text": "newer"}
    studio.tasks[5] = {"text": "corrected"}
    assert mirror.reconcile(parts, KEY)
    assert parts.registry.tasks(KEY) == studio.tasks
    assert not mirror.reconcile(parts, KEY)


def test_an_event_that_came_with_a_smaller_number_later_is_applied(parts):
    """PostgreSQL gives numbers before the rows are there."""
    mirror.reconcile(parts, KEY)
    late = parts.registry.add_event(KEY, "TRAIN", {"job": "late"}, applied=True)
    parts.registry.add_event(KEY, "TRAIN", {"job": "j1"})
    applied = mirror.apply_events(parts, KEY)
    parts.registry.write("UPDATE events SET applied = 0 WHERE id = :id", {"id": late})
    parts.registry.mark_applied(KEY, applied.events)
    assert mirror.apply_events(parts, KEY).trainings == ("late",)


def test_an_event_with_a_config_that_is_too_large_holds_nothing_up(parts, studio):
    mirror.reconcile(parts, KEY)
    parts.registry.add_event(KEY, "PROJECT_UPDATED", {"project": {"label_config": "<View/>" + " " * 1_000_001}})
    parts.registry.add_event(KEY, "TASKS_DELETED", {"tasks": [{"id": 5}], "annotations": []})
    mirror.apply_events(parts, KEY)
    assert "1000000" in parts.registry.must_project(KEY).problem
    assert 5 not in parts.registry.tasks(KEY)


def test_an_event_without_a_config_leaves_it_as_it_is(parts, studio):
    mirror.reconcile(parts, KEY)
    parts.registry.add_event(KEY, "PROJECT_UPDATED", {"project": {"title": "another"}})
    mirror.apply_events(parts, KEY)
    project = parts.registry.must_project(KEY)
    assert (project.title, project.label_config) == ("another", CONFIG)


def test_changes_are_looked_for_where_label_studios_clock_is_behind(parts, studio):
    mirror.reconcile(parts, KEY)
    parts.settings = parts.settings.model_copy(update={"reconcile_seconds": 5.0})
    project = parts.registry.must_project(KEY)
    assert mirror._since(parts, project) <= project.reconciled_at - 60


def test_nothing_is_kept_of_a_project_that_is_not_known(parts, studio):
    event = created(studio.annotate(1, "sport"))
    parts.registry.add_event(KEY, "ANNOTATION_CREATED", event)
    parts.registry.mark_applied(KEY, mirror.apply_events(parts, KEY).events)
    assert (parts.registry.task_count(KEY), parts.registry.annotation_count(KEY)) == (0, 0)
    assert texts.without_text(parts, KEY) == []
    parts.registry.add_event(KEY, "SETUP", {"project": {"label_config": CONFIG}})
    parts.registry.add_event(KEY, "ANNOTATION_CREATED", event)
    mirror.apply_events(parts, KEY)
    assert parts.registry.labelled(KEY) == [1]


def test_a_project_that_is_gone_is_forgotten(parts, studio):
    mirror.reconcile(parts, KEY)
    studio.gone = True
    assert not mirror.reconcile(parts, KEY)
    assert parts.registry.project(KEY) is None


def test_requests_come_out_of_the_events(parts):
    mirror.reconcile(parts, KEY)
    parts.registry.add_event(KEY, "TRAIN", {"job": "j1"})
    applied = mirror.apply_events(parts, KEY)
    assert (applied.trainings, applied.oldest_answer) == (("j1",), 0.0)
    assert mirror.apply_events(parts, KEY) == applied  # until they are marked
    parts.registry.mark_applied(KEY, applied.events)
    assert mirror.apply_events(parts, KEY).trainings == ()
