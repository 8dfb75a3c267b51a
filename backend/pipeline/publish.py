"""The queue in Label Studio: a window of the best tasks under one version name, switched to last.

Label Studio serves, among tasks with a prediction of ``project.model_version``, the lowest score first. Scores here:

- the window: ``0.25 + 1e-5 * place``, all below 0.5;
- tasks moved to the top between two versions: below the smallest score of the window;
- whatever ``/predict`` answers for other tasks: 0.5 and more, so that it never gets ahead of the window.

Everything can be run again: what is to be published is written down before it is pushed, and what Label Studio holds
already is not pushed twice.
"""

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backend.active.order import moves
from backend.errors import NotFound, StudioError, UserError
from backend.pipeline.parts import Parts
from backend.pipeline.ranking import Ranking, rank, view
from backend.pipeline.suggestions import show_above
from backend.problems.version import Version
from backend.registry import versions as records
from backend.registry.database import now
from backend.registry.records import Activation, Project
from backend.studio.codec import encode_prediction
from backend.telemetry import logger

log = logger("publish")

FIRST_SCORE = 0.25
STEP = 1e-5
PREVIEW = "preview"


def load(parts: Parts, project: Project, version_name: str) -> Version:
    """A version of the project, from memory or storage. Raises UserError for one that answers what the project no
    longer asks."""
    row = records.version(parts.registry, project.key, version_name)
    if row is not None and row.schema_hash != project.asks().hash:
        raise UserError(f"{version_name} answers another label config than the project has now.", "Train again.")
    return parts.host.version(project.key, version_name, project.asks())


def load_or_none(parts: Parts, project: Project, version_name: str) -> Version | None:
    """The same, None where it cannot be loaded: lost weights are not to end learning."""
    try:
        return load(parts, project, version_name)
    except (UserError, OSError) as error:
        log.warning("a version cannot be loaded", project=project.key, version=version_name, reason=str(error))
        return None


# ---------------------------------------------------------------------------------------------------- a new version
def plan(parts: Parts, key: str, version_name: str, name: str) -> int:
    """Choose the window of a publication and write it down; how many tasks. A plan that exists is kept, unless all of
    it has been answered since."""
    project = parts.registry.must_project(key)
    planned, touched = records.published(parts.registry, key, name), parts.registry.touched(key)
    if any(task not in touched for task in planned):
        return len(planned)
    records.forget_published(parts.registry, key, name)
    ranking = rank(parts, view(parts, project, load(parts, project, version_name)), parts.settings.window, refit=False)
    rows = [(pick.task_id, FIRST_SCORE + STEP * place, pick.reason) for place, pick in enumerate(ranking.picks)]
    records.save_published(parts.registry, key, name, rows)
    return len(rows)


def push(parts: Parts, key: str, version_name: str, name: str) -> int:
    """Push the planned predictions in one call, those excepted that Label Studio holds; how many were pushed."""
    project = parts.registry.must_project(key)
    held = {int(p["task"]) for p in parts.studio.predictions(project.id, version=name)}
    return _push_missing(parts, project, version_name, name, held)


def _push_missing(parts: Parts, project: Project, version_name: str, name: str, held: Container[int]) -> int:
    key = project.key
    planned, touched = records.published(parts.registry, key, name), parts.registry.touched(key)
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    todo = [task for task in planned if task not in held and task not in touched and task in table.position]
    if not todo:
        return 0
    model = load(parts, project, version_name)
    items = [table.items[table.position[t]] for t in todo]
    store = parts.features.of(model)
    store.fill(model, items)  # another worker may have planned, or a text was changed
    by_control = model.within(0).outputs(items, store.get(items))
    schema = project.asks()
    above = show_above(parts, project, schema, fresh=True)
    predictions = [
        {
            "task": task,
            **encode_prediction(
                schema,
                {c: outputs[at] for c, outputs in by_control.items()},
                items[at],
                planned[task][0],
                name,
                above=above,
            ),
        }
        for at, task in enumerate(todo)
    ]
    return _push(parts, project, name, predictions)


def _push(parts: Parts, project: Project, name: str, predictions: Sequence[Mapping[str, Any]]) -> int:
    """Push in bulk; if tasks were deleted meanwhile, compare with Label Studio and push the rest."""
    try:
        return parts.studio.push_predictions(project.id, list(predictions))
    except StudioError:
        there = {int(t["id"]) for t in parts.studio.all_tasks(project.id)}
        gone = [p["task"] for p in predictions if p["task"] not in there]
        if not gone:
            raise
        parts.registry.delete_tasks(project.key, gone)
        held = {p["task"] for p in parts.studio.predictions(project.id, version=name)}
        rest = [p for p in predictions if p["task"] in there and p["task"] not in held]
        return parts.studio.push_predictions(project.id, rest) if rest else 0


def switch(parts: Parts, key: str, version_name: str, name: str, reason: str) -> None:
    """Make the publication the current one: in Label Studio, then here with one row.

    One without a task (all are answered) is not told to Label Studio, which takes only versions with predictions;
    :func:`mend` does it when there are some.
    """
    project = parts.registry.must_project(key)
    load(parts, project, version_name)
    if parts.studio.predictions(project.id, version=name):
        parts.studio.set_model_version(project.id, name)
    records.activate(parts.registry, key, version_name, name, reason)
    records.drop_wish(parts.registry, key, version_name)
    log.info("published", project=key, version=name, reason=reason)


def clean_up(parts: Parts, key: str, broken_off: Sequence[str] = (), pause_s: float = 0.2) -> list[str]:
    """Delete predictions and rows of former publications, and of those that were ``broken_off``; their names. The
    current version is never touched.

    One by one with pauses, since Label Studio on SQLite stops annotators while it deletes many at once. Names are not
    used again, so this needs no turn in the project's queue and can be broken off at any moment.
    """
    project = parts.registry.must_project(key)
    current = records.active(parts.registry, key)
    keep = current.name if current else ""
    former = {a.name for a in records.activations(parts.registry, key)} | {PREVIEW, *broken_off}
    shown = parts.studio.project(project.id).get("model_version")  # while ours has no task yet
    old = sorted((former & set(parts.studio.model_versions(project.id))) - {keep, shown})
    for name in old:
        parts.studio.delete_version(project.id, name, pause_s=pause_s)
    for name in former - {keep}:
        records.forget_published(parts.registry, key, name)
        parts.prediction_ids.pop((key, name), None)
    return old


# ------------------------------------------------------------------------------------------- between two versions
def resort(parts: Parts, key: str) -> dict[int, float]:
    """Bring the tasks that a fresh head finds best to the top; task id -> new score of each task that was moved.

    Also fills the window up when most of it has been labelled.
    """
    project = parts.registry.must_project(key)
    state = parts.registry.state(key)
    activation = records.active(parts.registry, key)
    if activation is None:
        return {}
    current = view(parts, project, load(parts, project, activation.version))
    _withdraw_stale(parts, project, activation, current.labels.touched)
    published = records.published(parts.registry, key, activation.name)
    held = {task: row for task, row in published.items() if task in current.table.position}
    waiting = {task: score for task, (score, _) in held.items() if task not in current.labels.touched}
    low = len(waiting) < parts.settings.window // 4
    fast_top = min(parts.settings.fast_top, parts.settings.window)
    ranking = rank(parts, current, parts.settings.window if low else fast_top, refit=True)
    top = [pick.task_id for pick in ranking.picks[:fast_top]]
    changes = moves(waiting, top)
    reasons = {pick.task_id: pick.reason for pick in ranking.picks}
    _apply_moves(parts, project, activation, changes, ranking, held)
    records.save_published(
        parts.registry, key, activation.name, [(task, score, reasons[task]) for task, score in changes.items()]
    )
    if low:
        _extend(parts, project, activation, ranking, {**waiting, **changes})
    parts.registry.mark_sorted(key, state)
    return changes


def _withdraw_stale(parts: Parts, project: Project, activation: Activation, touched: Container[int]) -> None:
    """Delete what is suggested for texts that were changed since; these tasks are ranked like new ones."""
    for task in records.stale(parts.registry, project.key, activation.name):
        if task in touched:
            continue
        prediction = prediction_id(parts, project, activation.name, task)
        if prediction is not None:
            parts.studio.delete_prediction(prediction)
            parts.prediction_ids[project.key, activation.name].pop(task, None)
        records.withdraw(parts.registry, project.key, activation.name, task)


def _apply_moves(
    parts: Parts,
    project: Project,
    activation: Activation,
    changes: Mapping[int, float],
    ranking: Ranking,
    held: Mapping[int, Any],
) -> None:
    schema = project.asks()
    above = show_above(parts, project, schema, fresh=True)
    outputs = ranking.outputs([task for task in changes if task not in held])
    table = ranking.view.table
    # the last place first: at no moment does a task stand before one that is to precede it
    for task, score in sorted(changes.items(), key=lambda item: -item[1]):
        if task in held and _moved(parts, project, activation.name, task, score):
            continue
        said = outputs[task] if task in outputs else ranking.outputs([task])[task]
        item = table.items[table.position[task]]
        body = encode_prediction(schema, said, item, score, activation.name, above=above)
        parts.studio.create_prediction(task, body["result"], body["score"], body["model_version"])


def _moved(parts: Parts, project: Project, name: str, task: int, score: float) -> bool:
    """Whether a prediction of the task was there, and has the score now; somebody may have deleted it."""
    prediction = prediction_id(parts, project, name, task)
    if prediction is None:
        return False
    try:
        parts.studio.patch_score(prediction, score)
    except NotFound:
        parts.prediction_ids.pop((project.key, name), None)
        return False
    return True


def prediction_id(parts: Parts, project: Project, name: str, task: int) -> int | None:
    """Label Studio's id of a published prediction; the bulk push returns none, so they are read once a publication."""
    ids = parts.prediction_ids.setdefault((project.key, name), {})
    if task not in ids:
        ids.update((int(p["task"]), int(p["id"])) for p in parts.studio.predictions(project.id, version=name))
    return ids.get(task)


def _extend(
    parts: Parts, project: Project, activation: Activation, ranking: Ranking, waiting: Mapping[int, float]
) -> None:
    """Append the ranking's tasks that are not in the window yet, behind its last place."""
    fresh = [pick for pick in ranking.picks if pick.task_id not in waiting]
    if not fresh:
        return
    last = max([FIRST_SCORE, *waiting.values()])
    rows = [(pick.task_id, last + STEP * (at + 1), pick.reason) for at, pick in enumerate(fresh)]
    schema = project.asks()
    above = show_above(parts, project, schema, fresh=True)
    outputs = ranking.outputs([task for task, _, _ in rows])
    table = ranking.view.table
    predictions = [
        {
            "task": task,
            **encode_prediction(
                schema, outputs[task], table.items[table.position[task]], score, activation.name, above=above
            ),
        }
        for task, score, _ in rows
    ]
    records.save_published(parts.registry, project.key, activation.name, rows)
    _push(parts, project, activation.name, predictions)
    log.info("window extended", project=project.key, version=activation.name, tasks=len(rows))


# ------------------------------------------------------------------------------------------------------ is it so?
def mend(parts: Parts, key: str) -> None:
    """Make Label Studio have what is published, where :func:`check_order` found otherwise.

    Predictions are missing where a push failed or somebody deleted them, are there twice where the answer to a call was
    lost or somebody had all retrieved, and are strange to us where a re-sort broke off before it was written down; the
    project's version is another one where there was nothing to show.
    """
    project, activation = parts.registry.must_project(key), records.active(parts.registry, key)
    if activation is None:
        return
    touched = parts.registry.touched(key)
    planned = {
        task: score
        for task, (score, _) in records.published(parts.registry, key, activation.name).items()
        if task not in touched
    }
    ids: dict[int, int] = {}
    twice = moved = strange = 0
    for row in parts.studio.predictions(project.id, version=activation.name):
        task, number = int(row["task"]), int(row["id"])
        if task in planned and task in ids:
            parts.studio.delete_prediction(number)
            twice += 1
        elif task in planned and row["score"] != planned[task]:
            parts.studio.patch_score(number, planned[task])
            moved += 1
        elif task not in planned and task not in touched and 0 < (row["score"] or 0) < served_score(1.0):
            parts.studio.delete_prediction(number)  # of a re-sort that broke off; /predict's are behind all of ours
            strange += 1
            continue
        ids.setdefault(task, number)
    parts.prediction_ids[key, activation.name] = ids
    pushed = _push_missing(parts, project, activation.version, activation.name, ids)
    if (ids or pushed) and parts.studio.project(project.id).get("model_version") != activation.name:
        parts.studio.set_model_version(project.id, activation.name)
    counts = {"pushed": pushed, "moved": moved, "twice": twice, "strange": strange}
    log.warning("compared with Label Studio's queue", project=key, **counts)


def check_order(parts: Parts, key: str) -> bool:
    """Ask Label Studio for the head of the queue and compare it with ours; the answer is kept for ``status``.

    Tasks that were answered since are not counted against the order.
    """
    project = parts.registry.project(key)
    activation = records.active(parts.registry, key)
    if project is None or activation is None:
        return False
    touched = parts.registry.touched(key)
    ours = [task for task in records.published(parts.registry, key, activation.name) if task not in touched]
    asked = min(parts.settings.fast_top, parts.settings.window) * 2
    listed = parts.studio.queue(project.id, asked)
    theirs = [task for task, _ in listed if task not in touched]  # a task that was only skipped is offered to others
    expected = _still_open(parts, ours, theirs, len(theirs) + (len(listed) < asked))
    remote = parts.studio.project(project.id)
    problems = []
    if ours and remote.get("model_version") != activation.name:
        problems.append(f"the project's model version is {remote.get('model_version')!r}, not {activation.name!r}")
    if remote.get("sampling") != "Uncertainty sampling":
        problems.append(f"the project's sampling is {remote.get('sampling')!r}")
    if theirs[: len(expected)] != expected:
        problems.append(f"Label Studio has {theirs[:5]} at the top, expected {expected[:5]}")
    check = {
        "in_order": not problems,
        "checked_at": datetime.fromtimestamp(now(), UTC).isoformat(timespec="seconds"),
        "detail": "; ".join(problems),
    }
    parts.registry.save_queue_check(key, check)
    if problems:
        log.warning("Label Studio's queue is not in our order", project=key, detail=check["detail"])
    return not problems


def _still_open(parts: Parts, ours: Sequence[int], theirs: Sequence[int], most: int) -> list[int]:
    """The head of our queue, ``most`` tasks, without those that were answered or deleted before the mirror heard of
    it."""
    head: list[int] = []
    for task in ours:
        if len(head) == most:
            break
        if task in theirs or _is_open(parts, task):
            head.append(task)
    return head


def _is_open(parts: Parts, task: int) -> bool:
    try:
        return not parts.studio.annotations(task)
    except NotFound:
        return False


def served_score(worth: float) -> float:
    """The score that ``/predict`` gives a task outside the window: in [0.5, 1], low where a label is worth more."""
    return 1.0 - 0.5 * min(1.0, max(0.0, worth))
