"""What ``/predict`` costs for 100 tasks, against the bare forward pass of the same texts in the same batches.

    .venv/bin/python -m tests.benchmarks.forward

Both in one process, in turn; the ratio of the medians counts. Needs TREC.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from backend.demo import corpus
from backend.pipeline import predict as predicting
from backend.pipeline.parts import build_parts
from backend.settings import load_settings
from backend.web.app import create_app
from tests.benchmarks.common import DATA, report

ROUNDS = 15
HEADERS = {"Content-Type": "application/json"}


def measure(folder: Path) -> dict:
    questions = corpus.read_corpus(DATA / "trec6" / "test.jsonl")
    tasks = [{"id": n, "data": dict(task.data)} for n, task in enumerate(questions.tasks[:100])]
    parts = build_parts(load_settings(data_dir=folder))
    encoder = parts.host.encoder()
    by_length = sorted((task["data"]["text"] for task in tasks), key=len)
    turns = [by_length[at : at + predicting.TURN] for at in range(0, len(by_length), predicting.TURN)]
    bare, whole = [], []
    with TestClient(create_app(parts, preload=False)) as client:
        body = json.dumps({"tasks": tasks, "label_config": questions.config})
        for _ in range(ROUNDS + 2):
            start = time.perf_counter()
            for turn in turns:
                encoder.embed(turn)
            middle = time.perf_counter()
            assert len(client.post("/predict", content=body, headers=HEADERS).json()["results"]) == 100
            bare.append(middle - start)
            whole.append(time.perf_counter() - middle)
    bare_s, whole_s = statistics.median(bare[2:]), statistics.median(whole[2:])
    return {
        "predict_100_ms": round(whole_s * 1000, 1),
        "forward_ms": round(bare_s * 1000, 1),
        "ratio": round(whole_s / bare_s, 3),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        report(measure(Path(folder)))
