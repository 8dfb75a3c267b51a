"""Which tasks come next, as a pure function of arrays: head -> uncertainty -> selection, with the audit share dealt in.

Nothing here knows ids, Label Studio or the database; the live queue and the simulation both decide here. Positions are
rows of the :class:`Field`, everywhere in this module.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active import selection
from backend.problems.base import problem_for
from backend.problems.judge import Judge
from backend.problems.schema import Floats

Positions = NDArray[np.int64]
Targets = Mapping[str, Any]  # by control


@dataclass(frozen=True)
class Policy:
    """How to choose: a strategy of :mod:`backend.active.selection`, the share of labels that measure, and the seed."""

    strategy: str
    audit_share: float
    seed: int


@dataclass(frozen=True)
class Field:
    """N tasks with rows. ``rows`` (N, W) of one version; ``open`` (N,): may be chosen; ``audit`` (N,): held out for
    measuring; ``audit_rank`` (N,) in [0, 1): the random order in which those are labelled; ``targets``: position ->
    targets of the labelled ones; ``clusters`` (N,): numbers of :func:`selection.cluster`; ``texts`` (N,); ``contexts``
    (N,): numbers of :func:`backend.problems.base.contexts`; each of these three may be None.
    """

    rows: Floats
    open: NDArray[np.bool_]
    audit: NDArray[np.bool_]
    audit_rank: NDArray[np.float64]
    targets: Mapping[int, Targets]
    clusters: NDArray[np.int64] | None = None
    texts: Sequence[str] | None = None
    contexts: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.rows)
        for name in ("open", "audit", "audit_rank", "clusters", "contexts"):
            values = getattr(self, name)
            if values is not None and values.shape != (n,):
                raise ValueError(f"{name} has shape {values.shape}, expected ({n},)")

    def trained(self, control: str | None = None) -> Positions:
        """Labelled tasks that may be trained on, ascending; of one control those with a target."""
        return self._labelled(control, held_out=False)

    def held_out(self, control: str | None = None) -> Positions:
        """Labelled tasks that only measure, ascending; of one control those with a target."""
        return self._labelled(control, held_out=True)

    def _labelled(self, control: str | None, *, held_out: bool) -> Positions:
        wanted = (at for at, given in self.targets.items() if control is None or control in given)
        return np.array(sorted(at for at in wanted if bool(self.audit[at]) == held_out), np.int64)

    def choosable(self) -> Positions:
        """Open tasks that a strategy chooses among, ascending."""
        return np.flatnonzero(self.open & ~self.audit)

    def audits(self) -> Positions:
        """Open tasks that are held out, in the order in which they are to be labelled."""
        at = np.flatnonzero(self.open & self.audit)
        return at[np.argsort(self.audit_rank[at], kind="stable")]


@dataclass(frozen=True)
class Choice:
    """A task to be labelled: its position, and a machine-readable reason."""

    position: int
    reason: Mapping[str, Any]


def fresh_judge(judge: Judge, field: Field, seed: int) -> Judge:
    """The judge with calibrated heads fitted to all labels that may be trained on, where a head is fitted fast and the
    labels are enough to learn from; the others stay."""
    heads = {}
    for control in judge.schema.controls:
        problem, name = problem_for(control), control.name
        if not problem.fast:
            continue
        train, held_out = (
            (judge.columns(name, field.rows[at]), [field.targets[int(p)][name] for p in at])
            for at in (field.trained(name), field.held_out(name))
        )
        if problem.can_fit(control, train[1]):
            heads[name] = problem.fit_calibrated(control, train, held_out, seed=seed)
    return judge.with_heads(heads) if heads else judge


def decide(judge: Judge, field: Field, n: int, policy: Policy) -> list[Choice]:
    """The ``n`` tasks to label next, best first; fewer where fewer are open. ``judge`` says what is uncertain."""
    chosen = _chosen(judge, field, n, policy)
    audits = [Choice(int(p), {"measure": "audit"}) for p in field.audits()[:n]]
    labelled_audit = int(sum(bool(field.audit[at]) for at in field.targets))
    return deal_audit(chosen, audits, policy.audit_share, len(field.targets), labelled_audit)[:n]


def decide_by_first(
    judge: Judge, field: Field, n: int, policies: Sequence[Policy], unable: Callable[[str, ValueError], None]
) -> list[Choice]:
    """What the first of these policies decides that can: another library's strategy may not be able to choose from
    what there is now, such as labels of one class. ``unable`` is told its name, and why. Raises what the last raises.
    """
    *others, last = policies
    for policy in others:
        try:
            return decide(judge, field, n, policy)
        except ValueError as error:
            unable(policy.strategy, error)
    return decide(judge, field, n, last)


def strategy_for(judge: Judge, wanted: str) -> str:
    """The strategy that is used where ``wanted`` is set: ``auto`` is what suits the controls, and takes the place of
    one that samples from a head where there is no such head."""
    name, *modifiers = wanted.split("@")
    if name == "auto":
        return "@".join(dict.fromkeys([*judge.auto.split("@"), *modifiers]))
    return judge.auto if selection.needs_head(wanted) and judge.mc_head() is None else wanted


def _chosen(judge: Judge, field: Field, n: int, policy: Policy) -> list[Choice]:
    at, trained = field.choosable(), field.trained()
    labelled = [field.targets[int(p)] for p in trained]
    pool = selection.Pool(
        features=judge.features(field.rows[at]),
        probs=judge.profile(field.rows[at]),
        labelled_features=judge.features(field.rows[trained]),
        labelled_classes=np.array([judge.hard_class(targets) for targets in labelled], np.int64),
        clusters=None if field.clusters is None else field.clusters[at],
        head=judge.mc_head(),
        texts=None if field.texts is None else [field.texts[p] for p in at],
        classes=judge.classes(),
        contexts=None if field.contexts is None else field.contexts[at],
        labelled_contexts=None if field.contexts is None else field.contexts[trained],
    )
    strategy = strategy_for(judge, policy.strategy)
    order = selection.choose(strategy, pool, n, seed=policy.seed + len(trained))
    around = selection.surroundings(strategy, pool, order)
    beside = selection.companions(pool, order)
    reasons = _reasons(judge, field.rows[at[order]], len(at), labelled)
    return [
        Choice(int(at[o]), {**reason, **near, **shared})
        for o, reason, near, shared in zip(order, reasons, around, beside, strict=True)
    ]


def _reasons(judge: Judge, rows: Floats, pool_size: int, labelled: Sequence[Targets]) -> list[Mapping[str, Any]]:
    """Why each of these rows was chosen."""
    worth, worths = judge.worth(rows), judge.worths(rows)
    if len(worths) > 1:
        return [
            {
                "measure": "combined",
                "value": round(float(whole), 4),
                "pool": pool_size,
                "controls": {name: round(float(part[at]), 4) for name, part in worths.items()},
            }
            for at, whole in enumerate(worth)
        ]
    (control,) = judge.schema.controls
    given = [targets[control.name] for targets in labelled if control.name in targets]
    problem, columns = problem_for(control), judge.columns(control.name, rows)
    doubts = problem.doubts(control, judge.heads[control.name], columns, labelled=given)
    return [
        {**problem.reason(control, profile, float(w), pool_size=pool_size, labelled=given), **doubt}
        for profile, w, doubt in zip(judge.profile(rows), worth, doubts, strict=True)
    ]


def deal_audit(
    chosen: Sequence[Choice], audits: Sequence[Choice], share: float, labelled: int, labelled_audit: int
) -> list[Choice]:
    """``chosen`` with audit tasks dealt in: of all labels, the given ones counted, ``share`` are audit labels."""
    mixed: list[Choice] = []
    first_choice, random = iter(chosen), iter(audits)
    while len(mixed) < len(chosen) + len(audits):
        due = labelled_audit < share * (labelled + 1)
        first, second = (random, first_choice) if due else (first_choice, random)
        choice = next(first, None) or next(second, None)
        if choice is None:
            break
        labelled += 1
        labelled_audit += choice.reason.get("measure") == "audit"
        mixed.append(choice)
    return mixed
