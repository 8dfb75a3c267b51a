"""A version in memory: an encoder with its adapter merged in, and a head for each control."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.active.head import LinearHead
from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.problems.base import problem_for
from backend.problems.schema import Floats, Output, Schema

META, HEADS = "version.json", "heads.safetensors"


@dataclass(frozen=True)
class Version:
    """What predicts. Immutable, so that threads may share it. ``meta`` is the content of ``version.json``."""

    encoder: Encoder
    heads: Mapping[str, LinearHead]
    schema: Schema
    meta: Mapping[str, Any]

    def embed(self, texts: Sequence[str]) -> Floats:
        """Features (N, D) of texts."""
        return self.encoder.embed(texts)

    def outputs(self, features: Floats) -> dict[str, list[Output]]:
        """What is said of features (N, D), for each control by name."""
        return {c.name: problem_for(c).outputs(self.heads[c.name], features) for c in self.schema.controls}

    def predict(self, texts: Sequence[str]) -> dict[str, list[Output]]:
        """What is said of texts, for each control by name, in order."""
        return self.outputs(self.embed(texts))


def cold_version(encoder: Encoder, schema: Schema) -> Version:
    """The version before any label: frozen encoder, heads from what the labels are called."""
    heads = {c.name: problem_for(c).zero_shot_head(c, encoder.embed) for c in schema.controls}
    return Version(encoder, heads, schema, {"kind": "cold", "schema": schema.to_json()})


def load_version(directory: Path, encoder: Encoder) -> Version:
    """The version stored in ``directory``, on the encoder that it was trained on.

    Raises ModelError for a version that is not there, damaged, or made for another base model.
    """
    try:
        meta = json.loads((directory / META).read_text())
        schema = Schema.from_json(meta["schema"])
        base_id, name = meta["base"]["id"], meta["base"]["name"]
        heads = load_heads(directory / HEADS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The version in {directory} cannot be read: {error}", "Train again.") from error
    if base_id != encoder.base_id:
        raise ModelError(
            f"The version in {directory} was trained on {name} ({base_id}), not on {encoder.spec.name} "
            f"({encoder.base_id}).",
            "Set BASE_MODEL, TEXT_PREFIX and MAX_TOKENS back to what they were, or train again.",
        )
    return Version(encoder.adapted(directory), heads, schema, meta)


def save_heads(heads: Mapping[str, LinearHead], path: Path) -> None:
    """Write all heads into one safetensors file."""
    from safetensors.numpy import save_file

    arrays = {f"{name}/{key}": np.ascontiguousarray(a) for name, h in heads.items() for key, a in h.to_arrays().items()}
    save_file(arrays, str(path))


def load_heads(path: Path) -> dict[str, LinearHead]:
    """The heads of :func:`save_heads` by control name."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(path))
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from error
    by_name: dict[str, dict[str, Floats]] = {}
    for key, array in arrays.items():
        name, part = key.rsplit("/", 1)
        by_name.setdefault(name, {})[part] = array
    return {name: LinearHead.from_arrays(parts) for name, parts in by_name.items()}
