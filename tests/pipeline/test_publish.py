"""The queue in Label Studio is ours: after a publication, after each move, after every interruption."""

from dataclasses import replace

import numpy as np
import pytest

from backend.active.audit import is_audit
from backend.errors import StudioError, UserError
from backend.pipeline import due, mirror, publish, ranking, retrain
from backend.pipeline.encode import encode_pool
from backend.pipeline.predict import predict
from backend.pipeline.ranking import rank, view
from backend.pipeline.snapshot import take_snapshot
from backend.pipeline.status import status
from backend.registry import versions as records
from backend.serving.features import FeatureStores
from tests.fakes import CONFIG, KEY, text_of

STEPS = ("plan", "push", "switch", "clean_up")


def steps_of(parts, version, name):
    """The steps of a publication by name, in order."""
    return {
        "plan": lambda: publish.plan(parts, KEY, version, name),
        "push": lambda: publish.push(parts, KEY, version, name),
        "switch": lambda: publish.switch(parts, KEY, version, name, "test"),
        "clean_up": lambda: publish.clean_up(parts, KEY, pause_s=0),
    }


def studio_names(parts):
    return parts.studio.model_versions(parts.registry.must_project(KEY).id)


def run(parts, version):
    name = records.publication_name(parts.registry, KEY, version, studio_names(parts))
    for step in steps_of(parts, version, name).values():
        step()
    return name


@pytest.fixture
def cold(parts):
    """A project with its cold version published."""
    mirror.reconcile(parts, KEY)
    version = retrain.cold_start(parts, parts.registry.must_project(KEY)).name
    encode_pool(parts, KEY, version, lambda *_: None)
    run(parts, version)
    return version


def another(parts, name="v1"):
    row = records.add_version(
        parts.registry,
        KEY,
        schema_hash=parts.registry.must_project(KEY).asks().hash,
        snapshot=name,
        seen=1,
        labels=1,
        location=f"words-{name}",
        audit=None,
        meta={},
        verdict="ready",
    )
    encode_pool(parts, KEY, row.name, lambda *_: None)
    return row.name


def answer(parts, studio, task, label=None):
    given = studio.annotate(task, label or text_of(task)[1])
    parts.registry.add_event(KEY, "ANNOTATION_CREATED", {"annotations": [given], "tasks": []})
    mirror.apply_events(parts, KEY)


def ours(parts):
    return ours_of(parts, records.active(parts.registry, KEY).name)


def ours_of(parts, name):
    touched = parts.registry.touched(KEY)
    return [task for task in records.published(parts.registry, KEY, name) if task not in touched]


def test_label_studio_serves_the_window_in_our_order(parts, studio, cold):
    assert studio.model_version == "v0"
    assert studio.served() == ours(parts)
    assert len(studio.served()) == parts.settings.window
    assert publish.check_order(parts, KEY)


def test_a_strategy_named_in_the_label_config_is_used_for_the_next_tasks(parts, studio, cold):
    project = parts.registry.must_project(KEY)
    publish.resort(parts, KEY)
    schema, tasks = project.asks(), parts.settings.window
    orders = {}
    for name in ("random", "k-center", "no such strategy"):
        studio.config = CONFIG.replace("<View>", f'<View strategy="{name}">')
        mirror.reconcile(parts, KEY)
        project = parts.registry.must_project(KEY)
        assert due.sorting(parts, project), "a changed strategy sorts the queue anew"
        assert not due.needs_cold_start(parts, project)
        assert project.asks() == schema, "and makes no version invalid"
        found = rank(parts, view(parts, project, publish.load(parts, project, cold)), tasks, refit=False)
        orders[name] = [pick.task_id for pick in found.picks]
        publish.resort(parts, KEY)
        assert not due.sorting(parts, parts.registry.must_project(KEY))
        said = status(parts, project)["strategy"]
        assert (said["name"], said["source"]) == (("auto", "setting") if "such" in name else (name, "label config"))
        assert ("unknown strategy" in said["problem"]) == ("such" in name)
    assert len({tuple(order) for order in orders.values()}) == 3
    setting = rank(parts, view(parts, project, publish.load(parts, project, cold)), tasks, refit=False)
    assert orders["no such strategy"] == [pick.task_id for pick in setting.picks]
    assert publish.check_order(parts, KEY)


def test_a_strategy_of_the_label_config_that_fails_at_its_work_is_replaced(parts, studio, cold, monkeypatch):
    from backend.active import selection

    def choose(name, *given, **more):
        if name == "badge":
            raise ValueError("it wants a regressor")
        return chosen(name, *given, **more)

    chosen = selection.choose
    monkeypatch.setattr(selection, "choose", choose)
    studio.config = CONFIG.replace("<View>", '<View strategy="badge">')
    mirror.reconcile(parts, KEY)
    publish.resort(parts, KEY)
    assert publish.check_order(parts, KEY)


@pytest.mark.parametrize("config", ["", "badge"])
def test_a_strategy_of_the_setting_that_cannot_choose_yet_is_replaced_and_said_once(
    parts, studio, cold, monkeypatch, config
):
    from backend.active import selection

    def choose(name, *given, **more):
        if name in ("badge", "k-center"):
            raise ValueError(f"it wants {len(studio.answers)} more labels")
        return chosen(name, *given, **more)

    said, chosen = [], selection.choose
    monkeypatch.setattr(selection, "choose", choose)
    monkeypatch.setattr(ranking.log, "warning", lambda event, **more: said.append(more["strategy"]))
    parts.settings = parts.settings.model_copy(update={"strategy": "k-center"})
    studio.config = CONFIG.replace("<View>", f'<View strategy="{config}">')
    mirror.reconcile(parts, KEY)
    for task in (1, 4):
        answer(parts, studio, task)
        publish.resort(parts, KEY)
        assert not due.sorting(parts, parts.registry.must_project(KEY))
    run(parts, another(parts))
    assert publish.check_order(parts, KEY)
    assert said == [*filter(None, [config]), "k-center"]


def test_the_order_is_asked_for_not_assumed(parts, studio, cold):
    studio.rows[next(iter(studio.rows))]["score"] = 0.49
    assert not publish.check_order(parts, KEY)
    assert "at the top" in parts.registry.must_project(KEY).queue_check["detail"]
    studio.sampling = "Sequential sampling"
    publish.check_order(parts, KEY)
    assert "sampling" in parts.registry.must_project(KEY).queue_check["detail"]


def test_a_tasks_score_never_gets_ahead_of_the_window_by_prediction(parts, cold):
    scores = [score for score, _ in records.published(parts.registry, KEY, "v0").values()]
    assert max(scores) < 0.5 <= publish.served_score(1.0)
    assert publish.served_score(1.0) < publish.served_score(0.2) <= 1.0


@pytest.mark.parametrize("broken", ["predictions", "push_predictions", "set_model_version", "delete_version"])
def test_a_publication_that_breaks_anywhere_ends_right_when_it_is_run_again(parts, studio, cold, broken):
    version = another(parts)
    studio.failures[broken] = 1
    before = studio.served()
    name = records.publication_name(parts.registry, KEY, version)
    steps = steps_of(parts, version, name)
    for step, call in steps.items():
        try:
            call()
        except StudioError:
            if step in ("plan", "push"):
                assert studio.served() == before  # the annotator sees the old queue, whole
            call()
    assert studio.model_version == name
    assert studio.served() == ours(parts)
    assert {row["model_version"] for row in studio.rows.values()} == {name}


@pytest.mark.parametrize("repeated", STEPS)
def test_every_step_can_run_twice(parts, studio, cold, repeated):
    version = another(parts)
    name = records.publication_name(parts.registry, KEY, version)
    for step, call in steps_of(parts, version, name).items():
        call()
        if step == repeated:
            call()
    assert studio.served() == ours(parts)
    tasks = [row["task"] for row in studio.rows.values()]
    assert len(tasks) == len(set(tasks))


def put_right(parts):
    """What a refresh does after it sorted."""
    assert not publish.check_order(parts, KEY)
    publish.mend(parts, KEY)
    return publish.check_order(parts, KEY)


def test_a_publication_that_label_studio_does_not_switch_to_is_not_ours_either(parts, studio, cold):
    another(parts)
    studio.failures["set_model_version"] = 1
    with pytest.raises(StudioError):
        run(parts, "v1")
    assert studio.model_version == records.active(parts.registry, KEY).name == "v0"
    assert due.unpublished(parts, parts.registry.must_project(KEY)) == "v1"


def test_a_version_that_came_when_all_was_answered_gets_its_queue_with_the_next_tasks(parts, studio, cold):
    for task in list(studio.tasks):
        answer(parts, studio, task)
    another(parts)
    run(parts, "v1")
    assert records.active(parts.registry, KEY).name == "v1"
    assert publish.check_order(parts, KEY)  # of nothing
    for number in range(101, 141):
        studio.tasks[number] = {"text": text_of(number)[0]}
    mirror.reconcile(parts, KEY)
    publish.resort(parts, KEY)
    assert put_right(parts)
    assert studio.served() == ours(parts)
    assert len(ours(parts)) == parts.settings.window


def test_a_plan_that_was_answered_before_it_was_pushed_is_made_anew(parts, studio, cold):
    """Else its version would be refused for ever, and no training would follow."""
    for task in list(studio.tasks)[:-3]:
        answer(parts, studio, task)
    another(parts)
    assert publish.plan(parts, KEY, "v1", "v1") == 3
    studio.failures["push_predictions"] = 1
    with pytest.raises(StudioError):
        publish.push(parts, KEY, "v1", "v1")
    for task in list(studio.tasks)[-3:]:
        answer(parts, studio, task)
    studio.tasks[900] = {"text": text_of(900)[0]}
    mirror.reconcile(parts, KEY)
    encode_pool(parts, KEY, "v1", lambda *_: None)
    run(parts, "v1")
    assert records.active(parts.registry, KEY).version == "v1"
    assert studio.served() == [900]


@pytest.mark.parametrize("kept", [0, 2, 12])
def test_predictions_that_were_deleted_in_label_studio_come_back(parts, studio, cold, kept):
    before = ours(parts)
    for number in list(studio.rows)[: len(studio.rows) - kept]:
        del studio.rows[number]
    if kept < 2 * parts.settings.fast_top:
        assert put_right(parts)
    else:
        publish.mend(parts, KEY)
    assert studio.served() == before


def test_a_task_whose_prediction_was_deleted_is_moved_all_the_same(parts, studio, cold):
    first = ours(parts)[0]
    answer(parts, studio, first)
    publish.resort(parts, KEY)  # the ids of the predictions are known from here on
    moved = ours(parts)[:8]
    for number in [n for n, row in studio.rows.items() if row["task"] in moved]:
        del studio.rows[number]
    answer(parts, studio, moved[-1])
    publish.resort(parts, KEY)
    if not publish.check_order(parts, KEY):
        publish.mend(parts, KEY)
    assert publish.check_order(parts, KEY)
    assert studio.served() == ours(parts)


def test_of_two_predictions_of_a_task_one_is_left(parts, studio, cold):
    """After a retrieval in the data manager, or a call whose answer was lost; their mean would count."""
    for task in ours(parts)[:5]:
        studio.create_prediction(task, [], 0.9, "v0")
    assert put_right(parts)
    assert len(studio.rows) == parts.settings.window
    assert studio.served() == ours(parts)


def test_predictions_that_somebody_imported_under_our_names_stay(parts, studio):
    mirror.reconcile(parts, KEY)
    for task in studio.tasks:
        studio.create_prediction(task, [], 0.3, "v0")
    version = retrain.cold_start(parts, parts.registry.must_project(KEY)).name
    encode_pool(parts, KEY, version, lambda *_: None)
    assert run(parts, version) == "v0-r2"
    publish.mend(parts, KEY)
    assert publish.check_order(parts, KEY)
    assert sum(row["model_version"] == "v0" for row in studio.rows.values()) == len(studio.tasks)


def test_a_prediction_without_a_score_stops_nothing(parts, studio, cold):
    outside = next(task for task in studio.tasks if task not in ours(parts))
    studio.create_prediction(outside, [], None, "v0")
    publish.mend(parts, KEY)
    assert len(studio.rows) == parts.settings.window + 1


def test_what_a_resort_that_broke_off_left_at_the_top_goes_away(parts, studio, cold, monkeypatch):
    parts.settings = parts.settings.model_copy(update={"window": 10, "fast_top": 8})
    version = another(parts)
    run(parts, version)
    for task in range(20, 50):
        answer(parts, studio, task)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "save_published", killed)
        with pytest.raises(KeyboardInterrupt):
            publish.resort(parts, KEY)
    strange = {r["task"] for r in studio.rows.values() if r["model_version"] == version} - set(ours(parts))
    for task in [task for task in studio.served() if task not in strange][:3]:
        answer(parts, studio, task)
    publish.resort(parts, KEY)
    assert strange - set(ours(parts))
    assert put_right(parts)
    assert studio.served() == ours(parts)


def test_a_window_whose_extension_failed_is_filled_up_after_all(parts, studio, cold):
    for task in ours(parts)[:17]:
        answer(parts, studio, task)
    studio.failures["push_predictions"] = 1
    with pytest.raises(StudioError):
        publish.resort(parts, KEY)
    publish.resort(parts, KEY)
    assert put_right(parts)
    assert studio.served() == ours(parts)
    assert len(studio.served()) > 15


def test_a_version_of_another_label_config_is_not_published(parts, studio, cold):
    name = another(parts)
    studio.config = CONFIG.replace('<Choice value="sport"/>', '<Choice value="film"/><Choice value="sport"/>')
    mirror.reconcile(parts, KEY)
    for step in ("plan", "switch"):
        with pytest.raises(UserError, match="another label config"):
            steps_of(parts, name, name)[step]()
    assert studio.model_version == "v0"


@pytest.fixture
def large(parts, cold):
    """A version of a project with more tasks than are encoded."""
    parts.settings = parts.settings.model_copy(update={"pool_candidates": 30})
    return publish.load(parts, parts.registry.must_project(KEY), another(parts))


def table_of(parts):
    return parts.pools.table(parts.registry, parts.registry.must_project(KEY), 0.2)


def test_of_a_large_pool_only_tasks_that_came_later_are_encoded(parts, studio, large):
    table, store = table_of(parts), parts.features.of(large)
    before = int(store.present(table.items).sum())
    assert before <= 30
    rank(parts, view(parts, parts.registry.must_project(KEY), large), 5, refit=False)
    assert int(store.present(table.items).sum()) == before
    studio.tasks[999] = {"text": text_of(999)[0]}
    mirror.reconcile(parts, KEY)
    table = table_of(parts)
    rank(parts, view(parts, parts.registry.must_project(KEY), large), 5, refit=False)
    assert store.present(table.items)[table.position[999]]


def test_of_a_large_pool_the_audit_tasks_that_come_next_are_encoded(parts, large):
    """Not those of which a model is unsure: what it gets right of these is not what it gets right of all."""
    table = table_of(parts)
    there = parts.features.of(large).present(table.items)
    first = np.sort(table.audit_rank[table.audit])[: round(30 * 0.2)]
    assert np.sort(table.audit_rank[table.audit & there]) == pytest.approx(first)
    assert (there & ~table.audit).sum() == 30 - len(first)


def test_of_a_large_pool_tasks_that_took_the_ids_of_deleted_ones_are_encoded(parts, studio, large):
    """Label Studio on SQLite gives ids out again."""
    again = range(51, 61)
    parts.registry.delete_tasks(KEY, again)
    studio.tasks |= {number: {"text": f"{text_of(number)[0]} anew"} for number in again}
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    assert set(table_of(parts).ids[ranking.new(parts, project, large)]) == set(again)
    rank(parts, view(parts, project, large), 5, refit=False)
    assert not len(ranking.new(parts, project, large))


def test_another_worker_may_go_on_where_one_has_planned(parts, studio, cold, tmp_path):
    name = another(parts)
    publish.plan(parts, KEY, name, name)
    other = replace(parts, features=FeatureStores(tmp_path / "other"))
    assert publish.push(other, KEY, name, name) == parts.settings.window


def test_a_task_whose_text_was_changed_has_the_suggestion_of_its_text(parts, studio, cold):
    task = ours(parts)[0]
    other = next(number for number in studio.tasks if text_of(number)[1] != text_of(task)[1])
    before = {row["task"]: row["result"][0]["value"] for row in studio.rows.values()}[task]
    studio.tasks[task] = {"text": f"{text_of(other)[0]} {text_of(other)[0]}"}
    mirror.reconcile(parts, KEY)
    assert due.sorting(parts, parts.registry.must_project(KEY))
    publish.resort(parts, KEY)
    project = parts.registry.must_project(KEY)
    now = [row["result"][0]["value"] for row in studio.rows.values() if row["task"] == task]
    (said,) = predict(parts, project, project.asks(), [(task, studio.tasks[task])], above=0)
    assert before not in now
    assert now in ([], [said["result"][0]["value"]])
    assert publish.check_order(parts, KEY)
    assert not records.stale(parts.registry, KEY, "v0")


def test_a_project_that_comes_back_with_fewer_tasks_has_a_whole_window(parts, studio, cold):
    studio.gone = True
    mirror.reconcile(parts, KEY)
    for task in ours_of(parts, "v0")[:16]:
        del studio.tasks[task]
    studio.gone = False
    mirror.reconcile(parts, KEY)
    publish.resort(parts, KEY)
    assert len([task for task in studio.served() if task in studio.tasks]) > 16


def test_what_a_publication_that_broke_off_left_is_deleted(parts, studio, cold):
    first = another(parts)
    publish.plan(parts, KEY, first, first)
    publish.push(parts, KEY, first, first)
    run(parts, another(parts, "v2"))
    assert records.unfinished(parts.registry, KEY) == [first]
    publish.clean_up(parts, KEY, records.unfinished(parts.registry, KEY), pause_s=0)
    assert {row["model_version"] for row in studio.rows.values()} == {"v2"}
    assert not records.published(parts.registry, KEY, first)


def test_no_more_is_sorted_than_the_window_has(parts, studio, cold):
    parts.settings = parts.settings.model_copy(update={"window": 10, "fast_top": 30})
    run(parts, another(parts))
    publish.resort(parts, KEY)
    assert len(studio.served()) == 10
    assert publish.check_order(parts, KEY)


def test_rollback_is_a_publication_under_a_new_name(parts, studio, cold):
    run(parts, another(parts))
    assert run(parts, cold) == "v0-r2"
    assert studio.model_version == "v0-r2"
    assert studio.served() == ours(parts)


def test_tasks_deleted_meanwhile_do_not_stop_a_publication(parts, studio, cold):
    version = another(parts)
    name = records.publication_name(parts.registry, KEY, version)
    publish.plan(parts, KEY, version, name)
    gone = next(iter(records.published(parts.registry, KEY, name)))
    del studio.tasks[gone]
    publish.push(parts, KEY, version, name)
    publish.switch(parts, KEY, version, name, "test")
    assert studio.served() == ours(parts)
    assert gone not in studio.served()


def test_after_each_answer_the_top_is_what_the_fresh_head_finds_best(parts, studio, cold):
    for _ in range(12):
        answer(parts, studio, studio.served()[0])
        publish.resort(parts, KEY)
        assert studio.served() == ours(parts)
        assert publish.check_order(parts, KEY)
        assert parts.registry.must_project(KEY).queue_check["in_order"]


def test_the_first_task_may_be_answered_in_two_ways(parts, studio, cold):
    task = next(t for t in studio.served() if not is_audit(KEY, t, parts.settings.audit_share))
    for annotator, label in ((1, "sport"), (2, "food")):
        given = studio.annotate(task, label, annotator=annotator)
        parts.registry.add_event(KEY, "ANNOTATION_CREATED", {"annotations": [given], "tasks": []})
        mirror.apply_events(parts, KEY)
        publish.resort(parts, KEY)
    assert studio.served()


def test_a_skipped_task_is_not_offered_again_by_us_and_does_not_upset_the_order(parts, studio, cold):
    first = studio.served()[0]
    given = studio.annotate(first, None)
    parts.registry.add_event(KEY, "ANNOTATION_CREATED", {"annotations": [given], "tasks": []})
    mirror.apply_events(parts, KEY)
    publish.resort(parts, KEY)
    assert first in studio.served()  # Label Studio offers it to others
    assert first not in ours(parts)
    assert publish.check_order(parts, KEY)
    assert parts.registry.labelled(KEY) == []


def test_an_answer_moves_few_tasks(parts, studio, cold):
    answer(parts, studio, studio.served()[0])
    publish.resort(parts, KEY)
    moved = [len(publish.resort(parts, KEY)) for _ in range(2)]
    assert moved == [0, 0]  # nothing new: nothing moves
    answer(parts, studio, studio.served()[0])
    assert len(publish.resort(parts, KEY)) <= parts.settings.fast_top


def test_the_window_is_filled_up_before_it_runs_out(parts, studio, cold):
    while served := studio.served():
        answer(parts, studio, served[0])
        publish.resort(parts, KEY)
        assert studio.served() == ours(parts)
    assert len(parts.registry.labelled(KEY)) == len(studio.tasks)


def test_a_share_of_the_labels_is_audit_and_those_are_never_trained_on(parts, studio, cold):
    for _ in range(30):
        answer(parts, studio, studio.served()[0])
        publish.resort(parts, KEY)
    labelled = parts.registry.labelled(KEY)
    audit = [t for t in labelled if is_audit(KEY, t, parts.settings.audit_share)]
    assert len(audit) == pytest.approx(parts.settings.audit_share * len(labelled), abs=1.5)
    snapshot = take_snapshot(parts, KEY)
    import json
    from pathlib import Path

    content = json.loads(Path(snapshot["path"]).read_text())
    assert {e["task"] for e in content["held_out"]} == set(audit)
    assert {e["task"] for e in content["train"]} == set(labelled) - set(audit)


def test_every_queued_task_says_why_it_is_there(parts, cold):
    for _, reason in records.published(parts.registry, KEY, "v0").values():
        assert reason["measure"] == "audit" or {"measure", "value", "between", "labelled_of_class"} <= set(reason)
        assert reason["measure"] == "audit" or reason["cluster_size"] >= 1 > reason["cluster_labelled"]


def test_the_reason_counts_the_labels_of_its_class_and_cluster(parts, studio, cold):
    for task in range(1, 31):
        answer(parts, studio, task)
    publish.resort(parts, KEY)
    reasons = [reason for _, reason in records.published(parts.registry, KEY, "v0").values()]
    assert any(reason.get("cluster_labelled") for reason in reasons)
    assert any(reason.get("labelled_of_class") for reason in reasons)
