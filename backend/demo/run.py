"""``ls-active demo``: up until Ctrl-C for people, or headless with simulated annotators and a summary."""

import json
import shlex
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from backend.demo.annotators import Team
from backend.demo.command import check_file, make_folder, terminated_like_interrupted
from backend.demo.corpus import Corpus, bbc_news, check_learnable, read_corpus, read_pair
from backend.demo.curve import Curve
from backend.demo.feed import Status, StatusFeed, settled
from backend.demo.formats import Labelled, check_answered, labels_of
from backend.demo.measure import serve_problem, summary_ms
from backend.demo.stage import Stage
from backend.errors import UserError
from backend.problems.schema import Schema
from backend.studio.schema import parse_schema

OBSERVERS = 3  # new users who ask for a task at the end, to see the order in which Label Studio serves
ARTICLES = {"max_tokens": 128}  # a news article's first lines tell its topic; reading on takes three times as long
FIRST_QUEUE_S = 3600
TRAINING_S = 3600


def run_demo(
    *,
    annotators: int,
    labels: int,
    json_file: Path | None,
    data: Path | None,
    test: Path | None,
    port: int,
    studio_port: int,
    folder: Path,
    seed: int,
    wait: bool,
) -> int:
    """The exit code: 0 when all went well, 1 when a server or a training failed, or the queue of a headless run was not
    in order; 130 after Ctrl-C in a headless run.

    Label Studio and our server live in ``folder``. Without ``annotators`` both stay up until Ctrl-C.
    """
    make_folder(folder, "--folder")
    if json_file is not None:
        check_file(json_file, "--json")
        if not annotators:
            raise UserError("There is no summary without --annotators.", "Add --annotators 2, or leave out --json.")
    tasks, held_back = _load(data, test, seed)
    with terminated_like_interrupted():
        try:
            _say(f"Starting Label Studio and our server in {folder} …")
            defaults = {} if data else ARTICLES
            with Stage(folder, port=port, studio_port=studio_port, seed=seed, defaults=defaults) as stage:
                if annotators:
                    summary = _run_headless(stage, tasks, held_back, annotators, labels, wait)
                    summary = {"seed": seed, **summary}
                    _finish(summary, json_file)
                    return 1 if summary["failed_trainings"] or not summary["queue_in_order"] else 0
                return _run_interactive(stage, data.stem if data else "BBC News", tasks)
        except KeyboardInterrupt:
            _say("\nStopped.")
            return 130 if annotators else 0


def _load(data: Path | None, test: Path | None, seed: int) -> tuple[Corpus, Sequence[Labelled]]:
    """The tasks in the order they are imported in with their label config, and those that measure."""
    if data is not None:
        tasks, held_back = read_pair(data, test) if test is not None else (read_corpus(data), Corpus("", ()))
        check_answered(data, tasks.tasks)
    else:
        tasks, held_back = bbc_news(), read_corpus(test) if test is not None else Corpus("", ())
        own = Path(__file__).resolve().parents[2] / "label_config.xml"
        tasks = Corpus(own.read_text(), tasks.tasks) if own.exists() else tasks
    schema = parse_schema(tasks.config)
    examples, notes = tasks.read(schema)
    for note in notes:
        _say(note)
    check_learnable(schema, examples)
    if test is None:
        return tasks.shuffled(seed), ()
    if data is None:
        known = {label for control in schema.controls for label in control.labels}
        if unknown := sorted(labels_of(held_back.tasks) - known):
            raise UserError(f"The test file has labels that the label config has not: {', '.join(unknown[:10])}.")
    return tasks.shuffled(seed), _measured(test, Corpus(tasks.config, held_back.tasks), schema)


def _measured(test: Path, held_back: Corpus, schema: Schema) -> list[Labelled]:
    """The tasks of the test file whose result says something; says what is lost. Raises UserError where none is left.

    Any other would count as answered wrongly by every version.
    """
    found = [task for task in held_back.tasks if Corpus(held_back.config, (task,)).examples(schema)]
    notes = held_back.read(schema)[1]
    if not found:
        asked = ", ".join(control.name for control in schema.controls)
        raise UserError(f"{test} has no task with an answer to {asked}.", " ".join(notes))
    if len(found) < len(held_back.tasks):
        notes.append(f"{len(found)} of {len(held_back.tasks)} tasks have an answer that measures.")
    for note in notes:
        _say(f"{test}: {note}")
    return found


# ------------------------------------------------------------------------------------------------------ interactive
def _run_interactive(stage: Stage, name: str, tasks: Corpus) -> int:
    """0, after Ctrl-C. The project of an earlier run in the same folder with the same tasks is used again."""
    title = _title(name, tasks)
    project = stage.find_project(title)
    if project is None:
        project, _ = stage.create_project(title, tasks)
    else:
        _say(f"Project {project} of an earlier run is used again.")
    _connect(stage, project)
    with stage.feed(project) as feed:
        _await_first_queue(stage, feed, len(tasks.tasks))
    _say(_welcome(stage, project))
    while True:
        stage.check()
        time.sleep(0.5)


def _title(name: str, tasks: Corpus) -> str:
    """The same title for the same label config and tasks, in whatever order; short enough for a project."""
    data = sorted(json.dumps(dict(task.data), sort_keys=True) for task in tasks.tasks)
    digest = sha256("\n".join([tasks.config, *data]).encode()).hexdigest()[:8]
    return f"Demo: {name[:20]} ({digest})"


def _welcome(stage: Stage, project: int) -> str:
    who, program = stage.studio_server.credentials, shlex.quote(str(Path(sys.prefix) / "bin" / "ls-active"))
    return f"""
  Label Studio   {stage.studio_server.url}/projects/{project}/data
  user           {who.user}
  password       {who.password}

  What to try
  1. "Label All Tasks": the tasks come in the model's order, with its suggestion filled in.
  2. Answer a few: the head is refitted after each answer and the top of the queue changes within seconds.
  3. After {stage.settings.retrain_after_labels} answers a LoRA training starts;
     a minute or two later a new version is active and the queue is new.
  4. See it happen:   cd {shlex.quote(str(stage.folder))} && {program} status {project}
     and              {program} doctor {project}

  Ctrl-C ends both servers; `{stage.folder}` keeps everything for the next time.
"""


# --------------------------------------------------------------------------------------------------------- headless
def _run_headless(
    stage: Stage,
    tasks: Corpus,
    held_back: Sequence[Labelled],
    annotators: int,
    labels: int,
    wait: bool,
) -> dict[str, Any]:
    """The summary of a run in which simulated annotators give ``labels`` labels in a new project."""
    started = time.monotonic()
    project, ids = stage.create_project(f"Demo of {time.strftime('%Y-%m-%d %H:%M:%S')}", tasks)
    gold = {task: given.result for task, given in zip(ids, tasks.tasks, strict=True)}
    _connect(stage, project)
    with stage.feed(project) as feed:
        first = _await_first_queue(stage, feed, len(tasks.tasks))
        curve = Curve(stage, project, feed, str(first["uid"]), tasks.config, held_back)
        team = Team(stage.people(project, annotators, "annotator"), project, gold, labels, feed, wait=wait)
        try:
            _label(stage, feed, curve, team)
            last = _train_on_all(stage, project, feed, curve)
            served = serve_problem(stage.people(project, OBSERVERS, "observer"), project, team, feed)
        except UserError:
            stage.check()  # a server that ended explains more than what followed from it
            raise
        finally:
            feed.close()
            team.stop()
    curve.note_order(served)
    return _summary(curve, team, last, len(tasks.tasks), annotators, time.monotonic() - started)


def _connect(stage: Stage, project: int) -> None:
    for sentence in stage.connect(project):
        _say(f"  {sentence}")


def _await_first_queue(stage: Stage, feed: StatusFeed, n: int) -> Status:
    _say(f"The base model reads {n} texts for the first queue …")
    start = time.monotonic()
    status = feed.wait(lambda s: settled(s) or bool(s["problem"]) or not _lives(stage), timeout_s=FIRST_QUEUE_S)
    stage.check()
    if status["problem"]:
        raise UserError(f"The project cannot be learned: {status['problem']}")
    _say(f"The first queue is published ({time.monotonic() - start:.0f} s).")
    return status


def _lives(stage: Stage) -> bool:
    try:
        stage.check()
    except UserError:
        return False
    return True


def _label(stage: Stage, feed: StatusFeed, curve: Curve, team: Team) -> None:
    """Returns when the team has given its labels; each new version is measured on the way."""
    curve.show(feed.next())
    team.start()
    while team.busy():
        stage.check()
        if curve.has_news(feed.next()):
            with team.paused():
                curve.show(feed.next())
        time.sleep(0.3)


def _train_on_all(stage: Stage, project: int, feed: StatusFeed, curve: Curve) -> Status:
    """The status after a last training on all labels, if there are any that no version has seen."""
    status = feed.wait(settled, timeout_s=TRAINING_S)
    if status["new_labels"]:
        curve.show(status)
        stage.train(project)
        status = feed.wait(settled, timeout_s=TRAINING_S)
    curve.show(status)
    return status


def _summary(curve: Curve, team: Team, last: Status, n: int, annotators: int, seconds: float) -> dict[str, Any]:
    active = next((v for v in curve.versions() if v["name"] == curve.newest), None)
    work, training = team.work, last["training"]
    client = {name: summary_ms(values) for name, values in {**work.seconds, "predict_100": curve.seconds}.items()}
    return {
        "labels": last["labels"],
        "audit_labels": last["audit_labels"],
        "tasks": n,
        "annotators": annotators,
        "active_version": last["active_version"],
        "audit_accuracy": active["audit"] if active else None,
        "test_accuracy": active["test_accuracy"] if active else None,
        "versions": curve.versions(),
        "queue_in_order": curve.checks > 0 and not curve.order_problems and not work.outside,
        "order": {
            "checks": curve.checks,
            "problems": curve.order_problems,
            "served": work.checked,
            "served_first": work.first,
            "served_outside": work.outside,
        },
        "latency_ms": {**client, "resort": last["latency_ms"].get("refresh"), **last["latency_ms"]},
        "failed_calls": work.errors,
        "failed_trainings": last["failed_trainings"],
        "training_failure": training["message"] if training["state"] == "failed" else None,
        "seconds": round(seconds, 1),
    }


def _finish(summary: dict[str, Any], json_file: Path | None) -> None:
    """Prints the summary and writes it."""
    audit, order = summary["audit_accuracy"], summary["order"]
    _say("")
    _say(f"labels            {summary['labels']}, of them {summary['audit_labels']} held out for measuring")
    if audit:
        _say(f"held-out accuracy {audit['value']:.1%} ({audit['low']:.1%} – {audit['high']:.1%}, n = {audit['n']})")
    if summary["test_accuracy"] is not None:
        _say(f"test accuracy     {summary['test_accuracy']:.1%}")
    _say(f"queue in order    {'yes' if summary['queue_in_order'] else 'NO'}, {order['checks']} checks in Label Studio")
    for problem in order["problems"]:
        _say(f"                  {problem}")
    for name, value in summary["latency_ms"].items():
        if value:
            _say(f"{name:<17} p50 {value['p50']:.0f} ms, p95 {value['p95']:.0f} ms, max {value['max']:.0f} ms")
    if summary["failed_trainings"]:
        reason = summary["training_failure"] or "the server's log says why"
        _say(f"trainings failed  {summary['failed_trainings']}: {reason}")
    _say(f"time              {summary['seconds']:.0f} s")
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{json_file} cannot be written: {error.strerror}.") from None


def _say(text: str) -> None:
    print(text, flush=True)
