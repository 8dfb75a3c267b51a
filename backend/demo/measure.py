"""What the headless demo measures: accuracy on a test file, the order that Label Studio holds, latencies."""

import time
from collections.abc import Sequence

import numpy as np

from backend.demo.annotators import Team, pull
from backend.demo.feed import StatusFeed, settled, top_of
from backend.demo.formats import Labelled, Result
from backend.demo.stage import Stage
from backend.errors import UserError
from backend.problems.base import problem_for, readers
from backend.problems.schema import Output, Schema
from backend.studio.client import Studio
from backend.studio.codec import decode, read_item
from backend.studio.schema import parse_schema

BATCH = 100
FIRST_TEST_ID = 10**12  # far from any task id
ATTEMPTS = 5

Answer = tuple[str, Result]  # a version's name, and what it says of a task


def measure_accuracy(
    stage: Stage, uid: str, config: str, items: Sequence[Labelled], seconds: list[float]
) -> tuple[str, float]:
    """The version that answered and the mean quality of its answers, in [0, 1], over all ``items``, each of which has a
    result that says something.

    Asks ``/predict`` as Label Studio does, 100 texts a call, and appends the seconds of each call to ``seconds``. When
    another version becomes active on the way, all is asked again.
    """
    schema = parse_schema(config)
    ask = _predict_all if "generator" in readers(schema) else _predict
    for _ in range(ATTEMPTS):
        found = [
            answer
            for start in range(0, len(items), BATCH)
            for answer in ask(stage, uid, config, range(start, min(start + BATCH, len(items))), items, seconds)
        ]
        names = {name for name, _ in found}
        if len(names) == 1:
            quality = [_quality(schema, result, item) for (_, result), item in zip(found, items, strict=True)]
            return names.pop(), float(np.mean(quality))
    raise UserError("The active version changed during every measurement on the test file.")


def _predict_all(
    stage: Stage, uid: str, config: str, at: Sequence[int], items: Sequence[Labelled], seconds: list[float]
) -> list[Answer]:
    """One call writes for ``TEXT_SECONDS``, and what it wrote is remembered: what is blank is asked again for as long
    as it becomes less."""
    found = _predict(stage, uid, config, at, items, seconds)
    blank = _blank(found)
    while blank:
        again = _predict(stage, uid, config, [at[place] for place in blank], items, seconds)
        for place, answer in zip(blank, again, strict=True):
            found[place] = answer
        if len(left := _blank(found)) == len(blank):
            break
        blank = left
    return found


def _blank(answers: Sequence[Answer]) -> list[int]:
    return [place for place, (_, result) in enumerate(answers) if not result]


def _predict(
    stage: Stage, uid: str, config: str, at: Sequence[int], items: Sequence[Labelled], seconds: list[float]
) -> list[Answer]:
    """What is answered for the items at these places."""
    tasks = [{"id": FIRST_TEST_ID + place, "data": dict(items[place].data)} for place in at]
    body = {"tasks": tasks, "project": uid, "label_config": config, "params": {"context": None, "suggest_above": 0}}
    answer = stage.api.post("/predict", json=body)
    if not answer.is_success:
        raise UserError(f"/predict answered {answer.status_code}: {answer.text[:300]}")
    seconds.append(answer.elapsed.total_seconds())
    return [(p["model_version"], p["result"]) for p in answer.json()["results"]]


def _quality(schema: Schema, result: Result, gold: Labelled) -> float:
    """How right a predicted result is, in [0, 1]: the mean over the controls that the gold result answers."""
    item = read_item(schema, gold.data)
    said, wanted = (decode(schema, [{"result": given}], item) or {} for given in (result, gold.result))
    found = []
    for control in schema.controls:
        if control.name in wanted:
            problem = problem_for(control)
            output = problem.sure(said[control.name]) if control.name in said else Output()
            found.append(problem.quality(control, output, wanted[control.name]))
    return float(np.mean(found))


def order_problem(stage: Stage, project: int, feed: StatusFeed) -> str | None:
    """What is wrong with the order of Label Studio's own list of unlabelled tasks, by score; "" when nothing is.

    Nobody may answer meanwhile. A difference counts when it stays: Label Studio counts an answer a moment after it told
    us of it, and the last re-sorting may be on its way. None when no task is left.
    """
    problem = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(1)
        status = feed.wait(settled)
        top = top_of(status)
        if not top:
            return None
        theirs = stage.studio.queue(project, len(top))
        version = stage.studio.project(project).get("model_version")
        problem = _difference(status["published"]["name"], top, version, theirs)
        if not problem:
            return ""
    return problem


def _difference(name: str, top: list[int], version: str | None, theirs: Sequence[tuple[int, float | None]]) -> str:
    ids, scores = [task for task, _ in theirs], [score for _, score in theirs]
    if version != name:
        return f"the project's model version is {version!r}, not {name!r}"
    if ids != top:
        return f"Label Studio lists {ids}, published is {top}"
    if any(score is None for score in scores) or scores != sorted(scores, key=lambda score: score or 0.0):
        return f"the scores are not ascending: {scores}"
    return ""


def serve_problem(people: Sequence[Studio], project: int, team: Team, feed: StatusFeed) -> str | None:
    """What is wrong with the tasks that Label Studio serves to ``people``, who are new, one after the other.

    Nobody answers meanwhile, so each must get the next one of the published order. "" when all is right, None when
    no task is left.
    """
    expected = [task for task in top_of(feed.wait(settled)) if task not in team.held()][: len(people)]
    if not expected:
        return None
    served = [pull(person, project) for person in people][: len(expected)]
    return "" if served == expected else f"Label Studio serves {served}, published is {expected}"


def summary_ms(seconds: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and max in milliseconds, and the number n; None for no value."""
    if not seconds:
        return None
    p50, p95 = (float(x) for x in np.percentile(np.array(seconds), (50, 95)) * 1000)
    return {"p50": round(p50, 1), "p95": round(p95, 1), "max": round(max(seconds) * 1000, 1), "n": len(seconds)}
