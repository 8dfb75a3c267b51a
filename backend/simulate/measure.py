"""What is measured of a version: on test items, on the audit tasks, and how well the labels cover the pool."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active.calibration import expected_calibration_error
from backend.active.metrics import accuracy_interval, macro_f1
from backend.problems.schema import Floats

SAMPLE = 2000  # tasks of the pool whose nearest label is looked for


def quality(probs: Floats, classes: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, macro-F1, expected calibration error (15 bins) and negative log-likelihood of ``probs`` (M, K)."""
    said = probs.argmax(axis=1)
    right = np.clip(probs[np.arange(len(classes)), classes], 1e-12, None)
    return {
        "accuracy": float((said == classes).mean()),
        "macro_f1": macro_f1(said, classes),
        "ece": expected_calibration_error(probs, classes),
        "nll": float(-np.log(right).mean()),
    }


def audit(probs: Floats, classes: NDArray[np.int64]) -> dict[str, Any] | None:
    """What a project would be shown: accuracy on the audit tasks (N,) with its interval; None without any."""
    if not len(classes):
        return None
    interval = accuracy_interval(int((probs.argmax(axis=1) == classes).sum()), len(classes))
    return {"n": len(classes), "value": interval.value, "low": interval.low, "high": interval.high}


def coverage(features: Floats, labelled: Sequence[int], classes: NDArray[np.int64]) -> dict[str, Any]:
    """Of features (N, D): classes seen, and the cosine of a task of the pool to its nearest labelled one, on average
    and at the least (1 minus the k-center radius)."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    sample = np.random.default_rng(0).permutation(len(features))[:SAMPLE]
    nearest = (directions[sample] @ directions[list(labelled)].T).max(axis=1)
    return {
        "classes": len(np.unique(classes[list(labelled)])),
        "similarity": float(nearest.mean()),
        "least_similarity": float(nearest.min()),
    }
