"""Frozen features of a labelled file, for comparisons in environments without torch.

    BASE_MODEL=… .venv/bin/python -m tests.benchmarks.features --data train.jsonl --test test.jsonl --out FILE.npz

What the file holds is said in ``tests/benchmarks/libraries.py``.
"""

import argparse
from pathlib import Path

import numpy as np

from backend.demo.corpus import read_pair
from backend.demo.formats import labels_of
from backend.models.encoder import Encoder
from backend.models.spec import ModelSpec
from backend.settings import load_settings


def label(task) -> str:
    return task.result[0]["value"]["choices"][0]


def write(data: Path, test: Path, out: Path) -> None:
    items, held_back = (corpus.tasks for corpus in read_pair(data, test))
    labels = sorted(labels_of(items))
    place = {label: at for at, label in enumerate(labels)}
    encoder = Encoder.load(ModelSpec.from_settings(load_settings()))
    np.savez(
        out,
        train=encoder.embed([task.data["text"] for task in items]),
        test=encoder.embed([task.data["text"] for task in held_back]),
        y=np.array([place[label(task)] for task in items]),
        yt=np.array([place[label(task)] for task in held_back]),
        labels=np.array(labels),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--test", "--out"):
        parser.add_argument(name, type=Path, required=True)
    write(**vars(parser.parse_args()))
