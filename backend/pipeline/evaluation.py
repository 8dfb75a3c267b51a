"""How a new version stands beside its predecessors, written once into the version; and what follows from it."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from backend.active.curve import Change, Point, effective_classes, predicted_gain
from backend.active.metrics import Interval
from backend.active.stopping import advise, is_vague, kappa
from backend.pipeline import due
from backend.pipeline.parts import Parts
from backend.pipeline.pool import TaskTable
from backend.problems.base import problem_for, said
from backend.problems.schema import Example, Floats, Item, Schema
from backend.problems.validation import change_of_heads, countable, cross_validate
from backend.problems.version import Version
from backend.registry.records import Project, VersionRow

STOP_SET = 500  # tasks
NEXT = 100  # labels that the gain is predicted for
# Times a version's labels: an earlier version that knew more of them differs from it by chance more than by what it
# did not know yet.
APART = 0.55

Answers = Sequence[Hashable]  # to the stop set
T = TypeVar("T")


def evaluate(
    parts: Parts,
    schema: Schema,
    train: Sequence[Example],
    table: TaskTable,
    version: Version,
    previous: Version | None,
    earlier: tuple[int, Version] | None = None,
) -> dict[str, Any]:
    """``{"labels", "classes", "cross_validation": [{"labels", "accuracy", "n"}], "change": {"before", "labels",
    "share"}, "kappa", "uncertainty"}``.

    ``classes``: how many equally frequent ones are as diverse as the labels, 1 where these have none; ``change``: see
    :func:`rise`, from the ``earlier`` version, with the number of examples that it learned from, None without one;
    ``kappa``: agreement with the ``previous`` version, None without one; ``uncertainty``: mean in [0, 1]; both on the
    stop set, whose features the publication needs anyway.
    """
    items = [table.items[at] for at in stop_set(table.audit, table.audit_rank)]
    answers, worth = _judged(parts, version, items)
    before = _judged(parts, previous, items)[0] if previous is not None else []
    compared = None if earlier is None else (earlier[0], _judged(parts, earlier[1], items)[0])
    columns = partial(_frozen_columns, parts, schema, items)
    points, change = rise(schema, train, answers, compared, columns, seed=parts.settings.seed)
    return {
        "labels": len(train),
        "classes": round(diversity(schema, train), 2),
        "cross_validation": [{"labels": p.labels, "accuracy": round(p.accuracy, 4), "n": p.n} for p in points],
        "change": {**asdict(change), "share": round(change.share, 4)} if change else None,
        "kappa": round(_agreement(before, answers), 4) if before and answers else None,
        "uncertainty": round(float(np.mean(worth)), 4) if len(worth) else None,
    }


def comparable(schema: Schema) -> bool:
    """Whether answers that change from version to version tell what accuracy gains: those of one control, which are
    right or wrong."""
    control, *more = schema.controls
    return not more and countable(problem_for(control))


def earlier_one(schema: Schema, known: Sequence[tuple[int, T]], labels: int) -> tuple[int, T] | None:
    """With which of ``known``, oldest first, each with the number of its examples, a version of ``labels`` examples is
    compared: the newest of far fewer. None without one, and where the schema is not :func:`comparable`."""
    fewer = [one for one in known if 1 <= one[0] <= APART * labels]
    return fewer[-1] if fewer and comparable(schema) else None


def rise(
    schema: Schema,
    train: Sequence[Example],
    answers: Answers,
    earlier: tuple[int, Answers] | None,
    columns: Callable[[Sequence[Example]], tuple[Floats, Floats]],
    *,
    seed: int,
) -> tuple[list[Point], Change | None]:
    """What tells how steep the learning curve of a version still is, for a single control.

    ``answers`` of the version, and of the :func:`earlier_one` with the number of its examples: how many changed.
    Without that, cross-validated points of heads, and how many answers change between heads; ``columns`` gives those of
    N examples, (N, W), and of the stop set, (M, W), on features of the frozen base model. Of several controls nothing,
    since only points of one can be beside audited ones.
    """
    control, *more = schema.controls
    problem = problem_for(control)
    taught = [e for e in train if control.name in e.targets]
    if more or not taught:
        return [], None
    if earlier is not None and answers:
        changed = [one != other for one, other in zip(earlier[1], answers, strict=True)]
        return [], Change(earlier[0], len(train), float(np.mean(changed)))
    if not problem.fast:
        return [], None
    own, others = columns(taught)
    targets = [e.targets[control.name] for e in taught]
    points = cross_validate(problem, control, own, targets, seed=seed)
    return points, change_of_heads(problem, control, own, targets, others, seed=seed)


def _frozen_columns(
    parts: Parts, schema: Schema, asked: Sequence[Item], taught: Sequence[Example]
) -> tuple[Floats, Floats]:
    """Columns of examples, and of the stop set's items, ``asked``, on features of the frozen base model."""
    frozen = parts.host.cold(schema)
    store = parts.features.of(frozen)
    items = [e.item for e in taught]
    store.fill(frozen, [*items, *asked])
    name = schema.controls[0].name
    return frozen.judge.columns(name, store.get(items)), frozen.judge.columns(name, store.get(asked))


def diversity(schema: Schema, train: Sequence[Example]) -> float:
    """The :func:`effective_classes` of the labels of a single control; 1 where there are more, or no classes."""
    control, *more = schema.controls
    problem = problem_for(control)
    taught = [] if more else [e.targets[control.name] for e in train if control.name in e.targets]
    return effective_classes([problem.hard_class(target) for target in taught])


def stop_set(audit: NDArray[np.bool_], audit_rank: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions of the tasks on which versions are compared, 500 at most: the same ones for ever, and never trained on.

    Those held out as ``audit`` (N,), labelled or not, in the order of ``audit_rank`` (N,); where none are, any tasks.
    """
    rank = np.argsort(audit_rank, kind="stable")
    return np.asarray((rank[audit[rank]] if audit.any() else rank)[:STOP_SET])


def _judged(
    parts: Parts, version: Version, items: Sequence[Item]
) -> tuple[list[tuple[Hashable, ...]], NDArray[np.float64]]:
    """What a version answers to items, one word for each control, and what a label of each is worth (N,).

    Texts are not among the answers, since to write them takes minutes; none of both where there are only such.
    """
    quick = [c for c in version.schema.controls if problem_for(c).reads != "generator"]
    if not items or not quick:
        return [], np.zeros(0)
    store = parts.features.of(version)
    store.fill(version, items)
    rows = store.get(items)
    outputs = version.within(0).outputs(items, rows)
    words = [[said(problem_for(c), output) for output in outputs[c.name]] for c in quick]
    return list(zip(*words, strict=True)), version.judge.worth(rows)


def _agreement(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    numbers = {word: at for at, word in enumerate(dict.fromkeys([*one, *other]))}
    return kappa([numbers[word] for word in one], [numbers[word] for word in other])


def advice(parts: Parts, project: Project, labels: int, audit_labels: int, left: int) -> dict[str, Any]:
    """``{"sentence", "action", "gain": {"labels", "value", "low", "high"}, "kappas", "uncertainty"}``.

    The gain is drawn from what the newest version changed, or from cross-validation, and all versions' held-out
    accuracies; the share of audit labels teaches nothing and is not counted. Its ``value`` is None where it
    :func:`is_vague`.
    """
    rows = [] if project.schema is None else [r for r in due.usable_versions(parts, project) if r.location]
    evaluated: list[Mapping[str, Any]] = [r.meta["evaluation"] for r in rows if r.meta.get("evaluation")]
    more, classes = NEXT * (1 - parts.settings.audit_share), evaluated[-1].get("classes", 1.0) if evaluated else 1.0
    changes = [Change(**e["change"]) for e in evaluated[-1:] if e.get("change")]
    gain = predicted_gain(_points(rows), labels - audit_labels, more, changes=changes, classes=classes)
    kappas = [e["kappa"] for e in evaluated[-3:] if e["kappa"] is not None]
    uncertainty = evaluated[-1]["uncertainty"] if evaluated else None
    trained = bool(rows)
    said = advise(gain, more=NEXT, kappas=kappas, uncertainty=uncertainty, trained=trained, labels=labels, left=left)
    told = {"labels": NEXT, **interval_json(gain), **({"value": None} if is_vague(gain) else {})}
    return {**asdict(said), "gain": told, "kappas": kappas, "uncertainty": uncertainty}


def _points(rows: Sequence[VersionRow]) -> list[Point]:
    evaluated = [row.meta["evaluation"] for row in rows if row.meta.get("evaluation")]
    points = [Point(**p) for p in evaluated[-1]["cross_validation"]] if evaluated else []
    for row in rows:
        trained = row.labels - row.audit["n"] if row.audit else 0
        if row.audit and trained > 0:
            points.append(Point(trained, row.audit["value"], row.audit["n"], audit=True))
    return points


def interval_json(interval: Interval) -> dict[str, float]:
    """``{"value", "low", "high"}``, rounded."""
    return {name: round(value, 4) for name, value in asdict(interval).items()}
