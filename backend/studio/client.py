"""Label Studio's API in the words of this program: tasks, annotations, predictions, the queue.

What a call costs, and which ones make Label Studio call our own server, decided how each method asks; the numbers are
for 5,000 tasks on SQLite. None of them may be called while Label Studio waits for our answer to ``/predict`` or
``/setup``, export and pushing of predictions excepted. Opening a task (``GET /api/tasks/{id}``) and, where the project
retrieves predictions by itself, listing tasks make it ask for predictions; :mod:`backend.studio.connect` switches the
latter off, and the former is never used.
"""

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backend.errors import NotFound, StudioError
from backend.studio.transport import Refused, Transport

Json = dict[str, Any]

UNCERTAINTY = "Uncertainty sampling"
_FEW = 8
# Label Studio applies ``include`` to the tasks and to the annotations in them alike, so both kinds of fields are named
_ANSWERS = "id,annotations,result,was_cancelled,completed_by,created_at,updated_at,parent_prediction"


class Studio:
    """One Label Studio, as one user sees it; may be used by several threads at once.

    Every failure is a StudioError, or NotFound for what does not exist; messages never hold the key.
    """

    def __init__(self, url: str, api_key: str, timeout_s: float = 120) -> None:
        """``api_key`` is a personal access token, or a legacy token where those are enabled."""
        self._transport = Transport(url, api_key, timeout_s)
        self._call = self._transport.call

    def close(self) -> None:
        """Close the connections; also done when the object is forgotten."""
        self._transport.close()

    @property
    def url(self) -> str:
        """Address without a slash at the end."""
        return self._transport.url

    @property
    def personal_token(self) -> bool:
        """Whether the key is a personal access token."""
        return self._transport.personal

    def release(self) -> str:
        """Label Studio's version, such as ``1.23.2``; empty where it does not say."""
        return str(self._call("GET", "api/version").get("release", ""))

    def me(self) -> Json:
        """The key's owner, with ``email``. Raises StudioError where another server answers."""
        try:
            owner = self._call("GET", "api/current-user/whoami")
        except NotFound:
            raise self._transport.foreign() from None
        if not isinstance(owner, Mapping) or "email" not in owner:
            raise self._transport.foreign()
        return dict(owner)

    # ------------------------------------------------------------------------------------------------------ projects
    def project(self, project: int) -> Json:
        return dict(self._call("GET", f"api/projects/{project}/"))

    def projects(self) -> list[Json]:
        """All projects that the key's owner sees."""
        found: list[Json] = []
        page = 1
        while True:
            answer = self._call("GET", "api/projects/", params={"page": page, "page_size": 100})
            found += answer["results"]
            if not answer.get("next"):
                return found
            page += 1

    def create_project(self, title: str, label_config: str, **fields: Any) -> Json:
        return dict(self._call("POST", "api/projects/", body={"title": title, "label_config": label_config, **fields}))

    def update_project(self, project: int, **fields: Any) -> Json:
        """The changed project. Label Studio tells our webhook of it: never answer that event with an update."""
        return dict(self._call("PATCH", f"api/projects/{project}/", body=fields))

    def set_model_version(self, project: int, version: str) -> None:
        """Make the queue, the score column and the shown predictions those of ``version``, which must have some."""
        self.update_project(project, model_version=version)

    # --------------------------------------------------------------------------------------------------------- tasks
    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Ids of the new tasks, in order; each task is ``{"data": …}``, with ``annotations`` if there are some."""
        answer = self._call("POST", f"api/projects/{project}/import", params={"return_task_ids": True}, body=[*tasks])
        ids = [int(i) for i in answer.get("task_ids") or ()]
        if len(ids) != len(tasks):
            raise StudioError(f"Label Studio made {len(ids)} tasks of {len(tasks)}.", "Its log says why.")
        return ids

    def all_tasks(self, project: int, since: datetime | float | None = None, page_size: int = 1000) -> Iterator[Json]:
        """Every task: ``id``, ``data``, ``total_annotations``, ``cancelled_annotations``, ``updated_at``; with
        ``since``, as for :meth:`labelled`, only those that are new or changed after it."""
        fields = "id,data,total_annotations,cancelled_annotations,updated_at"
        return self._pages(project, fields, () if since is None else [_after("updated_at", since)], page_size)

    def labelled(self, project: int, since: datetime | float | None = None, page_size: int = 500) -> Iterator[Json]:
        """``id`` and ``annotations`` of tasks that have any, skips too; with ``since`` only what changed after it.

        ``since`` is compared by Label Studio's clock (seconds of Unix time, or a datetime). An answer touches its task,
        so the task's time finds new, changed and deleted annotations alike; a task whose last one was deleted is not
        found.
        """
        changed = [] if since is None else [_after("updated_at", since)]
        seen: set[int] = set()
        for field in ("total_annotations", "cancelled_annotations"):
            filters = [_number(field, "greater", 0), *changed]
            for task in self._pages(project, _ANSWERS, filters, page_size, fields="all"):
                if task["id"] not in seen:
                    seen.add(task["id"])
                    yield task

    def annotations(self, task: int) -> list[Json]:
        """The annotations of one task; skips are left out."""
        return list(self._call("GET", f"api/tasks/{task}/annotations/"))

    def annotate(self, task: int, result: Sequence[Mapping[str, Any]], *, skip: bool = False) -> int:
        """Id of a new annotation by the key's owner; ``skip`` is what the skip button does."""
        body = {"result": [*result], "was_cancelled": skip, "lead_time": 1.0}
        return int(self._call("POST", f"api/tasks/{task}/annotations/", body=body)["id"])

    def _pages(
        self, project: int, include: str, filters: Sequence[Json], page_size: int, **more: Any
    ) -> Iterator[Json]:
        """Tasks in order of their ids, always the first page behind the last id seen; 0.4 s for 1,000.

        Numbered pages would skip tasks when some are deleted meanwhile. A page that is not full need not be the last:
        with TASK_API_PAGE_SIZE_MAX Label Studio sends fewer than were asked for.
        """
        last = 0
        while True:
            query = _query("tasks:id", [*filters, _number("id", "greater", last)])
            tasks, total = self._tasks(project, query, include, page_size, **more)
            yield from tasks
            if not tasks or len(tasks) == total:
                return
            last = int(tasks[-1]["id"])

    def _tasks(self, project: int, query: str, include: str, n: int, **more: Any) -> tuple[list[Json], int | None]:
        """At most ``n`` tasks, and how many the query finds, if Label Studio says so."""
        params = {"project": project, "page": 1, "page_size": n, "include": include, "query": query, **more}
        # resolve_uri: a text that looks like a storage address stays the text it is
        answer = self._call("GET", "api/tasks", params={**params, "resolve_uri": False})
        return list(answer["tasks"]), answer.get("total")

    # --------------------------------------------------------------------------------------------------- predictions
    def push_predictions(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """How many were stored, which is all: ``task``, ``result``, ``score``, ``model_version`` each; 0.5 s for 500.

        Raises StudioError where Label Studio dropped some (it does so silently when one does not fit the config) and
        where a task does not exist (then nothing is stored). Never repeated by itself: it would store them twice.
        """
        if not predictions:
            return 0
        answer = self._call("POST", f"api/projects/{project}/import/predictions", body=[*predictions])
        created = int(answer["created"])
        if created != len(predictions):
            raise StudioError(
                f"Label Studio dropped {len(predictions) - created} of {len(predictions)} predictions.",
                "They do not fit its label config; was it changed a moment ago?",
            )
        return created

    def predictions(
        self, project: int, task_ids: Iterable[int] | None = None, version: str | None = None
    ) -> list[Json]:
        """``id``, ``task``, ``score``, ``model_version`` of a project's predictions; 0.1 s for 500."""
        wanted = None if task_ids is None else set(task_ids)
        if wanted is not None and len(wanted) <= _FEW:
            rows = [row for task in sorted(wanted) for row in self._predictions(task=task)]
        else:
            rows = self._predictions(project=project)
        return [
            {name: row[name] for name in ("id", "task", "score", "model_version")}
            for row in rows
            if (wanted is None or row["task"] in wanted) and version in (None, row["model_version"])
        ]

    def _predictions(self, **params: int) -> list[Json]:
        return list(self._call("GET", "api/predictions/", params=params))

    def create_prediction(
        self, task: int, result: Sequence[Mapping[str, Any]], score: float, model_version: str
    ) -> int:
        """Id of one new prediction; 0.1 s."""
        body = {"task": task, "result": [*result], "score": score, "model_version": model_version}
        return int(self._call("POST", "api/predictions/", body=body)["id"])

    def patch_score(self, prediction: int, score: float) -> None:
        """Move a prediction's task in the queue; 0.02 to 0.1 s."""
        self._call("PATCH", f"api/predictions/{prediction}/", body={"score": score})

    def patch_result(self, prediction: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Exchange what a prediction suggests; its place in the queue stays."""
        self._call("PATCH", f"api/predictions/{prediction}/", body={"result": [*result]})

    def delete_prediction(self, prediction: int) -> None:
        self._delete(f"api/predictions/{prediction}/")

    def model_versions(self, project: int) -> dict[str, int]:
        """Number of predictions by version, for versions that have some."""
        counts = self._call("GET", f"api/projects/{project}/model-versions/")
        return {str(version): int(n) for version, n in counts.items() if n}

    def delete_version(self, project: int, version: str, limit: int | None = None, pause_s: float = 0) -> int:
        """How many of a version's predictions are left; at most ``limit`` are deleted, with pauses between them.

        One by one: 0.07 to 0.13 s each, while annotators go on as ever. Label Studio's call that deletes a whole
        version holds the database: 500 rows stopped annotators for 2 to 3 s, 5,000 for 22 to 40; and where the
        project's version is a backend's title, it sets that to null.
        """
        if self.project(project).get("model_version") == version:
            raise StudioError(f"Version {version!r} is the project's current one.", "Switch to another one first.")
        rows = self.predictions(project, version=version)
        chosen = rows[:limit]
        for row in chosen:
            self.delete_prediction(int(row["id"]))
            time.sleep(pause_s)
        return len(rows) - len(chosen)

    def _delete(self, path: str) -> None:
        """Deleted is what must be true afterwards, so what is gone already is no failure."""
        try:
            self._call("DELETE", path)
        except NotFound:
            return

    # --------------------------------------------------------------------------------------------------------- queue
    def queue(self, project: int, n: int) -> list[tuple[int, float]]:
        """The first ``n`` unlabelled tasks that have a score, with it, in the order of the data manager's score column.

        That is ascending score of the project's current version; 0.1 s, whatever ``n``.
        """
        scored = {"filter": "filter:tasks:predictions_score", "operator": "empty", "type": "Number", "value": False}
        query = _query("tasks:predictions_score", [_number("total_annotations", "equal", 0), scored])
        rows: list[Json] = []
        try:
            for page in itertools.count(1):  # with TASK_API_PAGE_SIZE_MAX there are fewer on each than were asked for
                more, total = self._tasks(project, query, "id,predictions_score", n, page=page)
                rows += more
                if not more or len(rows) >= n or len(rows) == total:
                    break
        except Refused:  # Label Studio fails on the score column of a project without tasks
            if self.project(project)["task_number"]:
                raise
            return []
        return [(int(row["id"]), float(row["predictions_score"])) for row in rows[:n]]

    def next_task(self, project: int) -> Json | None:
        """The task that the label stream gives the key's owner, who holds it from then on; None where none is left."""
        try:
            params = {"id": "next_task", "project": project}
            return dict(self._call("POST", "api/dm/actions", params=params, body={"project": str(project)}))
        except NotFound as error:
            if "no tasks" in str(error).lower():
                return None
            raise

    # ----------------------------------------------------------------------------------------- backends and webhooks
    def backends(self, project: int) -> list[Json]:
        """The project's ML backends. Label Studio asks each for its health first."""
        return list(self._call("GET", "api/ml", params={"project": project}))

    def create_backend(self, **fields: Any) -> Json:
        """The new backend; Label Studio calls its ``/health`` and ``/setup`` and makes a webhook for it."""
        return dict(self._call("POST", "api/ml", body=fields))

    def update_backend(self, backend: int, **fields: Any) -> Json:
        """The changed backend. Its address, project and credentials are checked again as given here: send them all."""
        return dict(self._call("PATCH", f"api/ml/{backend}", body=fields))

    def delete_backend(self, backend: int) -> None:
        self._delete(f"api/ml/{backend}")

    def webhooks(self, project: int) -> list[Json]:
        return list(self._call("GET", "api/webhooks/", params={"project": project}))

    def create_webhook(self, **fields: Any) -> Json:
        return dict(self._call("POST", "api/webhooks/", body=fields))

    def update_webhook(self, webhook: int, **fields: Any) -> Json:
        return dict(self._call("PATCH", f"api/webhooks/{webhook}/", body=fields))

    def delete_webhook(self, webhook: int) -> None:
        self._delete(f"api/webhooks/{webhook}/")


def _number(field: str, operator: str, value: int) -> Json:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": "Number", "value": value}


def _after(field: str, moment: datetime | float) -> Json:
    """A filter for later than ``moment``; Label Studio reads one format only and answers 500 to all others."""
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    text = when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"filter": f"filter:tasks:{field}", "operator": "greater", "type": "Datetime", "value": text}


def _query(ordering: str, filters: Sequence[Json]) -> str:
    return json.dumps({"ordering": [ordering], "filters": {"conjunction": "and", "items": [*filters]}})
