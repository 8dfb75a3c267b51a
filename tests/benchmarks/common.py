"""What the benchmarks share: a real Label Studio with our server and labelled tasks in it."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.demo import corpus, formats
from backend.demo.feed import settled
from backend.demo.stage import Stage

DATA = Path(os.environ.get("LS_ACTIVE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the maximum in milliseconds, and how many there were."""
    import numpy as np

    p50, p95, p99 = np.percentile(np.array(seconds), (50, 95, 99)) * 1000
    return {
        "p50": round(float(p50), 1),
        "p95": round(float(p95), 1),
        "p99": round(float(p99), 1),
        "max": round(max(seconds) * 1000, 1),
        "n": len(seconds),
    }


@contextmanager
def stage_with(
    folder: Path, tasks: corpus.Corpus, **settings: object
) -> Iterator[tuple[Stage, int, dict[int, formats.Result]]]:
    """(stage, project, gold result by task) with ``tasks``, connected, the first queue published.

    ``settings`` are environment variables of our server.
    """
    former = dict(os.environ)
    os.environ.update({name.upper(): str(value) for name, value in settings.items()})
    try:
        with Stage(folder, port=0, studio_port=0, seed=0) as stage:
            project, ids = stage.create_project("Benchmark", tasks)
            stage.connect(project)
            with stage.feed(project) as feed:
                feed.wait(settled, timeout_s=600)
            yield stage, project, dict(zip(ids, (task.result for task in tasks.tasks), strict=True))
    finally:
        os.environ.clear()
        os.environ.update(former)


def trec() -> corpus.Corpus:
    """TREC's 5,452 training questions in a random order."""
    return corpus.read_corpus(DATA / "trec6" / "train.jsonl").shuffled(0)


def label(stage: Stage, gold: dict[int, formats.Result], n: int) -> list[int]:
    """Answer ``n`` tasks with their gold labels, by one user."""
    tasks = list(gold)[:n]
    for task in tasks:
        stage.studio.annotate(task, gold[task])
    return tasks


def report(figures: dict[str, Any]) -> None:
    """Print the figures."""
    print(json.dumps(figures, indent=1))
