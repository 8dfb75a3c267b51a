"""What versions said of tasks whose labels came later: each label that is learned from has tried the version before.

That is honest without being held out (Dawid, Statistical Theory: The Prequential Approach, 1984), and there are many
more such answers than held-out ones, which are a tenth. They are of earlier versions, which is why only those count
that had learned from much of what the next one learns from: one of half as many labels errs more by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.problems.base import problem_for
from backend.problems.schema import Control, Example, Floats, Schema
from backend.problems.version import Version, load_version
from backend.telemetry import logger

log = logger("trials")

TRIALS = "trials.safetensors"
LEARNED = "learned"
LEAST_SHARE = 0.6  # of the labels of a training that a version knew whose trials count
NEWEST = 300  # trials of a control that count at most


@dataclass(frozen=True)
class Trial:
    """A task with its target, the logits (K,) that a version had for it before, and how many labels that one knew."""

    example: Example
    logits: Floats
    knew: int


def tried(before: Path, base: Encoder, schema: Schema, train: Sequence[Example], seed: int) -> dict[str, list[Trial]]:
    """The trials that count in a training, of each control that makes use of them, in the order in which labels came.

    ``before``: the folder of a former version, the active one. Those of ``train`` that it did not learn from try it,
    and are added to what the folder has on record. A label that has changed since counts as it is now, one that is gone
    not at all. A version that cannot be read, or has another schema or base model, leaves none. ``seed`` draws those
    that try it where more than :data:`NEWEST` could.
    """
    given = {e.task_id: e for e in train if e.weight == 1}
    asked = [c for c in schema.controls if problem_for(c).tried]
    if not asked:
        return {}
    try:
        version, (learned, record) = load_version(before, base), _read(before / TRIALS)
    except (ModelError, OSError, ValueError, KeyError) as error:
        log.warning("nothing tries the version before", folder=str(before), reason=str(error))
        return {}
    if version.schema != schema:
        return {}
    new = [e for task_id, e in given.items() if task_id not in learned]
    found = {}
    for control in asked:
        said = _new(version, control, new, len(given), seed)
        said = {task: trial for task, trial in record.get(control.name, {}).items() if task not in said} | said
        counting = [
            Trial(given[task], logits, knew)
            for task, (logits, knew) in said.items()
            if task in given and control.name in given[task].targets and knew >= LEAST_SHARE * len(given)
        ]
        if counting:
            found[control.name] = counting[-NEWEST:]
    return found


def save_trials(path: Path, train: Sequence[Example], trials: Mapping[str, Sequence[Trial]]) -> None:
    """Write down what a version learned from, guesses as well, and the trials before it."""
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[Any]] = {LEARNED: np.array([e.task_id for e in train], np.int64)}
    for name, known in trials.items():
        arrays[f"{name}/tasks"] = np.array([t.example.task_id for t in known], np.int64)
        arrays[f"{name}/logits"] = np.stack([t.logits for t in known])
        arrays[f"{name}/knew"] = np.array([t.knew for t in known], np.int64)
    save_file(arrays, str(path))


Said = dict[int, tuple[Floats, int]]  # logits (K,) by task id, and how many labels the version knew


def _read(path: Path) -> tuple[frozenset[int], dict[str, Said]]:
    """What :func:`save_trials` wrote: the ids of what was learned from, and of each control what was said, in order."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(path))
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from error
    record: dict[str, Said] = {}
    for name in (key.removesuffix("/tasks") for key in arrays if key.endswith("/tasks")):
        rows = zip(arrays[f"{name}/logits"], arrays[f"{name}/knew"].tolist(), strict=True)
        record[name] = dict(zip(arrays[f"{name}/tasks"].tolist(), rows, strict=True))
    return frozenset(arrays[LEARNED].tolist()), record


def _new(version: Version, control: Control, examples: Sequence[Example], labels: int, seed: int) -> Said:
    """What the version says of these tasks, of a sample where they are more than count; of none where it knew too few
    of the ``labels``."""
    knew, asked = int(version.meta["examples"]), [e for e in examples if control.name in e.targets]
    if not asked or knew < LEAST_SHARE * labels:
        return {}
    chosen = np.random.default_rng(seed).permutation(len(asked))[:NEWEST]
    asked = [asked[at] for at in sorted(chosen.tolist())]
    head = version.heads[control.name]
    logits = problem_for(control).logits(control, head, version.encoder, [e.item for e in asked])
    return {e.task_id: (row, knew) for e, row in zip(asked, logits, strict=True)}
