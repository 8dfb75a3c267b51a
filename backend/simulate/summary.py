"""From the rounds of all runs to ``results.json``: curves, areas, labels saved, and what is beyond noise."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.simulate.loop import NEXT
from backend.simulate.measure import metric
from backend.simulate.plan import BEFORE, FULL, RANDOM, Data, Plan

Rows = Sequence[Mapping[str, Any]]
TARGETS = (0.90, 0.95, 0.99)  # shares of the full-data accuracy
LEVEL = 0.95
ENDS = (BEFORE, FULL)
MEASURES = ("accuracy", "macro_f1", "ece")
GAINED = {"real": "quality", "real_rest_of_pool": "rest"}


def summarise(plan: Plan, data: Data, rows: Mapping[tuple[str, int], Rows]) -> dict[str, Any]:
    """The content of ``results.json``; ``rows`` by (strategy, seed), all with the plan's rounds."""
    before, full = (next((r[0] for (name, _), r in rows.items() if name == wanted and r), None) for wanted in ENDS)
    names = list(dict.fromkeys(name for name, _ in rows if name not in ENDS))
    runs = {name: [r for (n, _), r in sorted(rows.items()) if n == name] for name in names}
    curves = {name: _curves(plan, found) for name, found in runs.items()}
    return {
        "plan": plan.to_json(),
        "tasks": len(data.pool),
        "test_items": len(data.test),
        "classes": sum(len(control.labels) for control in data.schema.controls),
        "metric": metric(data.schema),
        "seeds": max(map(len, runs.values())),
        "before": None if before is None else {k: before[k] for k in MEASURES if k in before},
        "full": None if full is None else {k: full[k] for k in ("labels", *MEASURES) if k in full},
        "strategies": {
            name: {
                **_strategy(plan, runs[name], curves[name], None if full is None else full["accuracy"]),
                "against_random": _against(plan, curves[name], curves[RANDOM]),
            }
            for name in names
        },
    }


def aulc(labels: Sequence[int], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under curves (S, R) over ``labels`` (R,), divided by the range of labels, (S,): the mean height.

    Trapezoids; with a single round its value.
    """
    if len(labels) == 1:
        return np.asarray(values[:, 0])
    return np.asarray(np.trapezoid(values, labels, axis=1) / (labels[-1] - labels[0]))


def labels_to(labels: Sequence[int], curve: NDArray[np.float64], goal: float) -> float | None:
    """Labels at which a curve (R,) first reaches ``goal``, linear between two rounds; None where it never does, or
    nothing is to be reached (0)."""
    above = np.flatnonzero(curve >= goal)
    if not len(above) or goal <= 0:
        return None
    at = int(above[0])
    if at == 0:
        return float(labels[0])
    share = (goal - curve[at - 1]) / (curve[at] - curve[at - 1])
    return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))


def paired(differences: NDArray[np.float64]) -> dict[str, Any]:
    """Mean of paired differences (S,) with its 95 % t interval, and Wilcoxon's signed-rank p.

    ``beyond_noise`` where the interval leaves out 0. With fewer than two pairs there is no interval.
    """
    from scipy.special import stdtrit
    from scipy.stats import wilcoxon

    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return {"mean": mean, "low": None, "high": None, "p_wilcoxon": None, "beyond_noise": None}
    if not differences.any():
        return {"mean": 0.0, "low": 0.0, "high": 0.0, "p_wilcoxon": 1.0, "beyond_noise": False}
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * differences.std(ddof=1) / n**0.5)
    low, high = mean - half, mean + half
    p = float(wilcoxon(differences).pvalue)
    return {"mean": mean, "low": low, "high": high, "p_wilcoxon": p, "beyond_noise": low > 0 or high < 0}


def _curves(plan: Plan, runs: Sequence[Rows]) -> dict[str, NDArray[np.float64]]:
    """Measure -> values (seeds, rounds), NaN where a version has none: before anything was learned, say."""
    n = len(plan.rounds)
    rows = [row for run in runs for row in run[:n]]
    keys = dict.fromkeys(("accuracy", *(k for row in rows for k, v in row.items() if isinstance(v, float))))
    return {
        key: np.array([[row.get(key, np.nan) for row in run[:n]] for run in runs], float)
        for key in keys
        if key != "rest"
    }


def _strategy(
    plan: Plan, runs: Sequence[Rows], curves: Mapping[str, NDArray[np.float64]], full: float | None
) -> dict[str, Any]:
    area = aulc(plan.rounds, curves["accuracy"])
    mean = curves["accuracy"].mean(axis=0)
    return {
        "aulc": {"mean": float(area.mean()), "seeds": area.tolist()},
        "accuracy": _by_labels(plan, curves["accuracy"]),
        **{name: _by_labels(plan, values) for name, values in curves.items() if name != "accuracy"},
        "characters": _by_round(plan, runs, "characters"),
        "labels_to": {f"{t:.0%}": None if full is None else labels_to(plan.rounds, mean, t * full) for t in TARGETS},
        "coverage": {
            key: float(np.mean([run[-1]["coverage"][key] for run in runs]))
            for key in ("classes", "similarity", "least_similarity")
        },
        "rest": _by_round(plan, runs, "rest"),
        "by_default": float(np.mean([sum(row.get("by_default", 0) for row in run) for run in runs])),
        "audit_interval_holds": _audit_holds(runs),
        "predicted_gain": _gains(plan, runs),
        "seconds_per_round": {
            part: float(np.mean([row["seconds"][part] for run in runs for row in run]))
            for part in ("choose", "learn", "measure")
        },
    }


def _by_labels(plan: Plan, values: NDArray[np.float64]) -> dict[str, Any]:
    found = {}
    for at, labels in enumerate(plan.rounds):
        seeds = [None if np.isnan(value) else float(value) for value in values[:, at]]
        there = [value for value in seeds if value is not None]
        found[str(labels)] = {"mean": float(np.mean(there)) if there else None, "seeds": seeds}
    return found


def _by_round(plan: Plan, runs: Sequence[Rows], key: str) -> dict[str, float | None]:
    """Labels -> mean over the seeds that have this measure; None where none has."""
    found = {}
    for at, labels in enumerate(plan.rounds):
        values = [run[at][key] for run in runs if run[at].get(key) is not None]
        found[str(labels)] = float(np.mean(values)) if values else None
    return found


def _audit_holds(runs: Sequence[Rows]) -> dict[str, float | None]:
    """In what share of all rounds the audit interval held the quality on the rest of the pool, and on the test file.

    Audit tasks are drawn from the pool, so the first is what they are to tell; a test file may have another mixture.
    None without audit tasks, or where nothing was measured.
    """
    measures = {"rest_of_pool": "rest", "test_file": "quality"}
    audited = [row for run in runs for row in run if row["audit"]]
    found: dict[str, float | None] = {}
    for name, key in measures.items():
        held = [row["audit"]["low"] <= row[key] <= row["audit"]["high"] for row in audited if row.get(key) is not None]
        found[name] = float(np.mean(held)) if held else None
    return found


def _gains(plan: Plan, runs: Sequence[Rows]) -> list[dict[str, Any]]:
    """Each prediction of what the next 100 labels add, beside what they added where a later round tells: ``real`` on
    the test file, ``real_rest_of_pool`` on tasks of the pool that have no label (None where that was not measured)."""
    found = []
    for seed, run in enumerate(runs):
        for row in run:
            if row.get("predicted_gain") and row["labels"] + NEXT <= plan.rounds[-1]:
                added = {name: _added(plan, run, row, key) for name, key in GAINED.items()}
                found.append({"seed": seed, "labels": row["labels"], **row["predicted_gain"], **added})
    return found


def _added(plan: Plan, run: Rows, row: Mapping[str, Any], key: str) -> float | None:
    """What the 100 labels after a round added to a measure, linear between two rounds."""
    values = [r[key] for r in run[: len(plan.rounds)] if r.get(key) is not None]
    if len(values) < len(plan.rounds):
        return None
    return float(np.interp(row["labels"] + NEXT, plan.rounds, values)) - float(row[key])


def _against(
    plan: Plan, ours: Mapping[str, NDArray[np.float64]], random: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """AULC and final accuracy minus random order's, seed by seed."""
    area = aulc(plan.rounds, ours["accuracy"]) - aulc(plan.rounds, random["accuracy"])
    last = ours["accuracy"][:, -1] - random["accuracy"][:, -1]
    return {"aulc": paired(area), "last": paired(last)}
