"""What a GPU is worth: one LoRA training on 200 TREC labels and the encoding of the pool, on the CPU and on the GPU.

    .venv/bin/python -m tests.benchmarks.devices [threads of the CPU]

The same updates on each device, in one process, in turn; the ratio counts. Needs TREC and a CUDA device.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from backend.demo.corpus import read_corpus
from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec
from backend.problems.training import train_version
from backend.problems.version import load_version
from backend.settings import load_settings
from backend.studio.schema import parse_schema
from tests.benchmarks.common import DATA, report

LABELS = 200


def measure(device: str, threads: int, folder: Path) -> dict[str, float]:
    settings = load_settings(device=device, threads=threads)
    base = Encoder.load(ModelSpec.from_settings(settings))
    train, test = (read_corpus(DATA / "trec6" / f"{name}.jsonl") for name in ("train", "test"))
    schema = parse_schema(train.config)
    pool, held_out = train.examples(schema), test.examples(schema)
    chosen = [pool[at] for at in np.random.default_rng(0).permutation(len(pool))[:LABELS]]
    base.embed(["warm up"] * 8)
    started = time.perf_counter()
    recipe = replace(Recipe.from_settings(settings), plateau=0.0)
    train_version(base, schema, chosen, [], recipe, folder / device, lambda *_: None)
    trained = time.perf_counter()
    version = load_version(folder / device, base)
    version.predict([example.item for example in pool])
    encoded = time.perf_counter()
    answers = version.predict([example.item for example in held_out])["label"]
    right = [o.probs.argmax() == e.targets["label"].argmax() for o, e in zip(answers, held_out, strict=True)]
    return {
        "train_s": round(trained - started, 1),
        "pool_s": round(encoded - trained, 1),
        "accuracy": round(float(np.mean(right)), 3),
    }


if __name__ == "__main__":
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    with tempfile.TemporaryDirectory() as folder:
        cpu, cuda = (measure(device, threads, Path(folder)) for device in ("cpu", "cuda"))
    ratios = {name: round(cpu[name] / cuda[name], 1) for name in ("train_s", "pool_s")}
    report({"card": torch.cuda.get_device_name(), "threads": threads, "cpu": cpu, "cuda": cuda, "ratio": ratios})
