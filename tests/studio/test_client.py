"""What a real Label Studio does with our calls."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.demo.studio_server import StudioServer
from backend.errors import NotFound, StudioError
from backend.studio.client import UNCERTAINTY, Studio
from backend.studio.identity import project_id, project_key
from tests.studio.servers import Server, answer

pytestmark = pytest.mark.studio


def predictions(tasks: list[int], version: str, first: float = 0.25) -> list[dict[str, Any]]:
    """One prediction each, ascending scores in the order given."""
    return [
        {"task": task, "result": answer("art"), "score": first + at * 1e-5, "model_version": version}
        for at, task in enumerate(tasks)
    ]


def publish(studio: Studio, project: int, tasks: list[int], version: str) -> None:
    studio.push_predictions(project, predictions(tasks, version))
    studio.set_model_version(project, version)
    studio.update_project(project, sampling=UNCERTAINTY)


def test_both_kinds_of_tokens_work(server: StudioServer, admin: Studio, project: int) -> None:
    legacy = Studio(server.url, server.token)
    assert legacy.project(project) == admin.project(project)
    assert (legacy.personal_token, admin.personal_token) == (False, True)
    assert admin.me()["email"] == server.credentials.user
    assert project in {p["id"] for p in admin.projects()}
    assert project_id(project_key(admin.project(project))) == project


def test_pages_hold_every_task_once(admin: Studio, project: int, tasks: list[int]) -> None:
    assert [t["id"] for t in admin.all_tasks(project, page_size=5)] == tasks
    assert [t["data"]["text"] for t in admin.all_tasks(project, page_size=4)] == [f"text {i}" for i in range(12)]


def test_paging_skips_nobody_while_tasks_are_deleted(admin: Studio, project: int, tasks: list[int]) -> None:
    seen = []
    for task in admin.all_tasks(project, page_size=3):
        seen.append(task["id"])
        admin._call("DELETE", f"api/tasks/{task['id']}/")
    assert seen == tasks
    assert list(admin.all_tasks(project)) == []


def test_answers_and_skips_are_found_by_the_time_of_change(
    admin: Studio, annotator: Studio, project: int, tasks: list[int]
) -> None:
    admin.annotate(tasks[0], answer("art"))
    admin.annotate(tasks[1], [], skip=True)
    time.sleep(0.01)
    between = time.time()
    annotator.annotate(tasks[2], answer("tech"))
    annotator.annotate(tasks[0], answer("sport"))
    everything = {t["id"]: t["annotations"] for t in admin.labelled(project, page_size=2)}
    assert sorted(everything) == tasks[:3]
    assert [a["was_cancelled"] for a in everything[tasks[1]]] == [True]
    assert len({a["completed_by"] for a in everything[tasks[0]]}) == 2
    for since in (between, datetime.fromtimestamp(between, UTC)):
        assert sorted(t["id"] for t in admin.labelled(project, since)) == [tasks[0], tasks[2]]
    assert [a["result"] for a in everything[tasks[2]]] == [answer("tech")]
    assert {a["id"] for a in admin.annotations(tasks[0])} == {a["id"] for a in everything[tasks[0]]}


def test_the_queue_is_served_in_ascending_order_of_score(admin: Studio, project: int, tasks: list[int]) -> None:
    order = [tasks[i] for i in (7, 2, 9, 4)]
    publish(admin, project, order, "v1")
    assert [task for task, _ in admin.queue(project, 10)] == order
    served = []
    for _ in order:
        task = admin.next_task(project)
        assert task is not None
        served.append(task["id"])
        admin.annotate(task["id"], answer("art"))
    assert served == order


def test_a_patched_score_and_a_single_prediction_move_tasks_to_the_top(
    admin: Studio, project: int, tasks: list[int]
) -> None:
    publish(admin, project, tasks[:4], "v1")
    ids = {p["task"]: p["id"] for p in admin.predictions(project, version="v1")}
    admin.patch_score(ids[tasks[3]], 0.2)
    made = admin.create_prediction(tasks[8], answer("tech"), 0.1, "v1")
    assert [task for task, _ in admin.queue(project, 3)] == [tasks[8], tasks[3], tasks[0]]
    assert admin.predictions(project, [tasks[8]]) == [
        {"id": made, "task": tasks[8], "score": 0.1, "model_version": "v1"}
    ]
    assert len(admin.predictions(project, tasks)) == 5


def test_two_annotators_never_get_the_same_task(
    admin: Studio, annotator: Studio, project: int, tasks: list[int]
) -> None:
    publish(admin, project, tasks[:4], "v1")
    first, second = admin.next_task(project), annotator.next_task(project)
    assert first is not None
    assert second is not None
    assert [first["id"], second["id"]] == tasks[:2]


def test_an_empty_queue_has_no_next_task(admin: Studio, project: int) -> None:
    assert admin.next_task(project) is None
    assert admin.queue(project, 5) == []
    assert list(admin.labelled(project)) == []


def test_dropped_and_impossible_predictions_are_said(admin: Studio, project: int, tasks: list[int]) -> None:
    bad = {**predictions(tasks[:1], "v1")[0], "result": answer("cooking")}
    with pytest.raises(StudioError, match="dropped 1 of 3"):
        admin.push_predictions(project, [*predictions(tasks[1:3], "v1"), bad])
    with pytest.raises(StudioError, match="400"):
        admin.push_predictions(project, predictions([*tasks[3:5], 10**8], "v2"))
    assert admin.model_versions(project) == {"v1": 2}
    assert admin.push_predictions(project, []) == 0


def test_an_old_version_goes_in_portions_and_the_current_one_stays(
    admin: Studio, project: int, tasks: list[int]
) -> None:
    publish(admin, project, tasks[:5], "v1")
    publish(admin, project, tasks[:5], "v2")
    assert admin.delete_version(project, "v1", limit=2) == 3
    assert admin.delete_version(project, "v1") == 0
    assert admin.delete_version(project, "v1") == 0
    with pytest.raises(StudioError, match="current"):
        admin.delete_version(project, "v2")
    assert admin.model_versions(project) == {"v2": 5}
    assert admin.project(project)["model_version"] == "v2"


def test_a_version_without_predictions_cannot_become_current(admin: Studio, project: int) -> None:
    with pytest.raises(StudioError, match="Model version"):
        admin.set_model_version(project, "v7")


def test_what_does_not_exist_is_not_found(admin: Studio) -> None:
    with pytest.raises(NotFound):
        admin.project(10**8)


def test_reading_tasks_and_predictions_never_calls_our_server(
    admin: Studio, project: int, tasks: list[int], backend: Server
) -> None:
    admin.create_backend(url=backend.url, project=project, title="model")
    publish(admin, project, tasks[:3], "v1")
    backend.requests.clear()
    assert len(list(admin.all_tasks(project))) == 12
    assert list(admin.labelled(project)) == []
    assert len(admin.queue(project, 3)) == len(admin.predictions(project)) == 3
    assert [r.path for r in backend.requests] == []
