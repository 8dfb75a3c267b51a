"""A training with 200 labels and TREC's pool: how long until it is published, and what callers notice meanwhile.

    .venv/bin/python -m tests.benchmarks.training [--quiet]

``--quiet``: no calls meanwhile, so that the time is the training's alone. Needs a Label Studio and TREC.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from backend.demo.feed import settled
from backend.demo.stage import Stage
from tests.benchmarks.common import label, percentiles, report, stage_with, trec

LABELS = 200
NEVER = 10**6


class Probe(threading.Thread):
    """Calls one route at a steady pace on new connections, as Label Studio does, and takes the time."""

    def __init__(self, call: Callable[[httpx.Client], httpx.Response], url: str, pause_s: float, stop: threading.Event):
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.errors = 0
        self._call, self._url, self._pause_s, self._ending = call, url, pause_s, stop

    def run(self) -> None:
        while not self._ending.wait(self._pause_s):
            start = time.perf_counter()
            try:
                with httpx.Client(base_url=self._url, timeout=100, trust_env=False) as http:
                    self.errors += not self._call(http).is_success
            except httpx.HTTPError:
                self.errors += 1
            self.seconds.append(time.perf_counter() - start)


def probes(stage: Stage, project: dict, stop: threading.Event) -> dict[str, Probe]:
    """One probe for each route that has a limit."""
    uid, config = project["uid"], project["label_config"]
    secret = {"X-LS-Active-Secret": stage.settings.webhook_token}
    event = {"action": "TASKS_DELETED", "tasks": [], "project": project}
    texts = [f"Who wrote the book number {n} of the library ?" for n in range(50)]
    count = iter(range(10**9))
    calls = {
        "/health": (lambda http: http.get("/health"), 0.05),
        "/webhook": (lambda http: http.post("/webhook", json=event, headers=secret), 0.1),
        "/predict": (
            lambda http: http.post(
                "/predict",
                json={
                    "tasks": [{"id": 0, "data": {"text": texts[next(count) % 50]}}],
                    "project": uid,
                    "label_config": config,
                },
            ),
            0.3,
        ),
    }
    return {route: Probe(call, stage.url, pause_s, stop) for route, (call, pause_s) in calls.items()}


def measure(folder: Path, quiet: bool) -> dict:
    never = {"retrain_after_labels": NEVER, "retrain_after_seconds": NEVER}
    with stage_with(folder, trec(), **never) as (stage, number, gold):
        label(stage, gold, LABELS)
        with stage.feed(number) as feed:
            before = feed.wait(settled)
            project = {**stage.studio.project(number), "uid": before["uid"]}
            stop = threading.Event()
            running = {} if quiet else probes(stage, project, stop)
            for probe in running.values():
                probe.start()
            start = time.monotonic()
            stage.train(number)
            after = feed.wait(
                lambda s: settled(s) and s["published"]["name"] != before["published"]["name"], timeout_s=600
            )
            seconds = time.monotonic() - start
            stop.set()
            for probe in running.values():
                probe.join()
    return {
        "labels": LABELS,
        "trigger_to_published_s": round(seconds, 1),
        "version": after["versions"][-1],
        "meanwhile_ms": {route: {**percentiles(p.seconds), "errors": p.errors} for route, p in running.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet", action="store_true")
    with tempfile.TemporaryDirectory() as folder:
        report(measure(Path(folder), parser.parse_args().quiet))
