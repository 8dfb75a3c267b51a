"""Two annotators label while web and worker are killed (SIGKILL) at random moments: nothing is lost.

    .venv/bin/python -m tests.benchmarks.kill [--labels 200] [--kills 10] [--seed 0]

Ends with exit code 1 if an annotation is missing, a version is half visible, or the queue is not in order. Needs a
Label Studio, and TREC.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from backend.demo.annotators import Team
from backend.demo.corpus import Corpus
from backend.demo.feed import settled
from backend.demo.stage import Stage
from backend.registry import versions as records
from backend.registry.store import Registry
from tests.benchmarks.common import report, stage_with, trec


def processes(role: str, folder: Path) -> list[int]:
    """Processes of this role whose working folder is the stage's."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[-2:-1] == [role.encode()] and (entry / "cwd").resolve() == folder.resolve():
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


class Killer(threading.Thread):
    """Kills a web or worker process at each of some random moments."""

    def __init__(self, folder: Path, kills: int, within_s: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.killed: list[str] = []
        self._folder, self._left, self._within_s = folder, kills, within_s
        self._random = random.Random(seed)
        self.stop = threading.Event()

    def run(self) -> None:
        while self._left and not self.stop.wait(self._random.uniform(0.2, 2 * self._within_s / self._left)):
            role = self._random.choice(("web", "worker"))
            victims = processes(role, self._folder)
            if victims:
                os.kill(self._random.choice(victims), signal.SIGKILL)
                self.killed.append(role)
                self._left -= 1


def measure(
    folder: Path, tasks: Corpus, labels: int, kills: int, seed: int, within_s: float, **settings: object
) -> dict:
    """Label and kill; then what :func:`check` finds after a last training."""
    with stage_with(folder, tasks, reconcile_seconds=5, **settings) as (stage, project, gold):
        people = stage.people(project, 2, "annotator")
        killer = Killer(folder, kills, within_s, seed)
        with stage.feed(project) as feed:
            team = Team(people, project, gold, labels, feed, wait=False)
            killer.start()
            team.start()
            while team.busy() or killer.is_alive():
                time.sleep(0.2)
            team.stop()
            started = time.time()
            feed.wait(lambda s: s["reconciled_at"] > started and settled(s), timeout_s=900)
            stage.train(project)
            time.sleep(1)
            last = feed.wait(settled, timeout_s=900)
        return {"kills": killer.killed, "labels_given": team.work.labels, **check(stage, project, last)}


def check(stage: Stage, project: int, last: dict) -> dict:
    """What must hold at the end, each with its evidence."""
    registry = Registry(stage.settings.database)
    key = last["uid"]
    theirs = {int(a["id"]) for task in stage.studio.labelled(project) for a in task["annotations"]}
    ours = {a.annotation_id for a in registry.annotations(key)}
    active = records.active(registry, key)
    assert active is not None
    rows = stage.studio.predictions(project, version=active.name)
    published = records.published(registry, key, active.name)
    remote = stage.studio.project(project)
    problems = []
    if theirs != ours:
        problems.append(f"annotations: {len(theirs)} in Label Studio, {len(ours)} here")
    if {row["task"] for row in rows} != set(published):
        problems.append(f"{len(rows)} predictions of {active.name} in Label Studio, {len(published)} here")
    if len(rows) != len({row["task"] for row in rows}):
        problems.append("a task has two predictions of the current version")
    if remote["model_version"] != active.name:
        problems.append(f"the project's version is {remote['model_version']}, ours {active.name}")
    if not last["published"]["in_order"]:
        problems.append(last["published"]["detail"])
    if last["new_labels"]:
        problems.append(f"{last['new_labels']} labels were never learned")
    registry.close()
    return {
        "annotations": len(ours),
        "versions": [v["name"] for v in last["versions"]],
        "active": active.name,
        "problems": problems,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, default=240, help="seconds over which the kills are spread")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), trec(), options.labels, options.kills, options.seed, options.within)
    report(figures)
    sys.exit(bool(figures["problems"]))
