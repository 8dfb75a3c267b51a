"""A training with 200 labels and TREC's pool: how long until it is published, and what callers notice meanwhile.

    .venv/bin/python -m tests.benchmarks.training [--quiet]

``--quiet``: no calls meanwhile, so that the time is the training's alone. Needs a Label Studio and TREC.
"""

import argparse
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.demo.feed import settled
from backend.demo.stage import Stage
from tests.benchmarks.common import label, percentiles, report, stage_with, trec

LABELS = 200
NEVER = 10**6


@dataclass(frozen=True)
class Call:
    """One request of a probe and the pause before it."""

    method: str
    path: str
    pause_s: float
    body: Callable[[], bytes | None] = lambda: None
    headers: Mapping[str, str] = field(default_factory=dict)


class Probe(threading.Thread):
    """Calls one route at a steady pace on new connections, as Label Studio does, and takes the time."""

    def __init__(self, call: Call, port: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.errors = 0
        self._call, self._port, self._ending = call, port, stop

    def run(self) -> None:
        while not self._ending.wait(self._call.pause_s):
            body = self._call.body()
            start = time.perf_counter()
            self.errors += not self._succeeds(body)
            self.seconds.append(time.perf_counter() - start)

    def _succeeds(self, body: bytes | None) -> bool:
        # http.client: what is measured must not be the client, and httpx reads certificates for each new one
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=100)
        try:
            headers = {"Content-Type": "application/json", **self._call.headers}
            connection.request(self._call.method, self._call.path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status < 300
        except OSError:
            return False
        finally:
            connection.close()


def probes(stage: Stage, project: dict, stop: threading.Event) -> dict[str, Probe]:
    """One probe for each route that has a limit."""
    uid, config = project["uid"], project["label_config"]
    event = json.dumps({"action": "TASKS_DELETED", "tasks": [], "project": project}).encode()
    count = iter(range(10**9))

    def one_task() -> bytes:
        text = f"Who wrote the book number {next(count) % 50} of the library ?"
        return json.dumps(
            {"tasks": [{"id": 0, "data": {"text": text}}], "project": uid, "label_config": config}
        ).encode()

    secret = {"X-LS-Active-Secret": stage.settings.webhook_token}
    calls = [
        Call("GET", "/health", 0.05),
        Call("POST", "/webhook", 0.1, lambda: event, secret),
        Call("POST", "/predict", 0.3, one_task),
    ]
    return {call.path: Probe(call, stage.port, stop) for call in calls}


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
