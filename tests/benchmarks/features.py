"""Frozen features of a labelled file, for comparisons in environments without torch.

    BASE_MODEL=… .venv/bin/python -m tests.benchmarks.features --data train.jsonl --test test.jsonl --out FILE.npz

What the file holds is said in ``tests/benchmarks/libraries.py``.
"""

import argparse
from pathlib import Path

import numpy as np

from backend.demo.corpus import labels_of, read_jsonl
from backend.models.encoder import Encoder
from backend.models.spec import ModelSpec
from backend.settings import load_settings


def write(data: Path, test: Path, out: Path) -> None:
    items, held_back = read_jsonl(data), read_jsonl(test)
    labels = labels_of(items)
    place = {label: at for at, label in enumerate(labels)}
    encoder = Encoder.load(ModelSpec.from_settings(load_settings()))
    np.savez(
        out,
        train=encoder.embed([item.text for item in items]),
        test=encoder.embed([item.text for item in held_back]),
        y=np.array([place[item.label] for item in items]),
        yt=np.array([place.get(item.label, -1) for item in held_back]),
        labels=np.array(labels),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--test", "--out"):
        parser.add_argument(name, type=Path, required=True)
    write(**vars(parser.parse_args()))
