"""Which tasks come next, as a pure function of arrays: head -> uncertainty -> selection, with the audit share dealt in.

Nothing here knows ids, Label Studio or the database; the live queue and the simulation both decide here. Positions are
rows of the :class:`Field`, everywhere in this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.active import selection
from backend.active.head import LinearHead
from backend.problems.base import problem_for
from backend.problems.schema import Control, Floats, Output

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Policy:
    """How to choose: a strategy of :mod:`backend.active.selection`, the share of labels that measure, and the seed."""

    strategy: str
    audit_share: float
    seed: int


@dataclass(frozen=True)
class Field:
    """N tasks with features. ``features`` (N, D) of one encoder; ``open`` (N,): may be chosen; ``audit`` (N,): held out
    for measuring; ``audit_rank`` (N,) in [0, 1): the random order in which those are labelled; ``targets``: position ->
    target of the labelled ones; ``clusters`` (N,): numbers of :func:`selection.cluster`; ``texts`` (N,);
    either may be None.
    """

    features: Floats
    open: NDArray[np.bool_]
    audit: NDArray[np.bool_]
    audit_rank: NDArray[np.float64]
    targets: Mapping[int, Floats]
    clusters: NDArray[np.int64] | None = None
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        n = len(self.features)
        for name in ("open", "audit", "audit_rank", "clusters"):
            values = getattr(self, name)
            if values is not None and values.shape != (n,):
                raise ValueError(f"{name} has shape {values.shape}, expected ({n},)")

    def trained(self) -> Positions:
        """Labelled tasks that may be trained on, ascending."""
        return np.array(sorted(at for at in self.targets if not self.audit[at]), np.int64)

    def held_out(self) -> Positions:
        """Labelled tasks that only measure, ascending."""
        return np.array(sorted(at for at in self.targets if self.audit[at]), np.int64)

    def choosable(self) -> Positions:
        """Open tasks that a strategy chooses among, ascending."""
        return np.flatnonzero(self.open & ~self.audit)

    def audits(self) -> Positions:
        """Open tasks that are held out, in the order in which they are to be labelled."""
        at = np.flatnonzero(self.open & self.audit)
        return at[np.argsort(self.audit_rank[at], kind="stable")]


@dataclass(frozen=True)
class Choice:
    """A task to be labelled: its position, what the head says of it, and a machine-readable reason."""

    position: int
    output: Output
    reason: Mapping[str, Any]


def fresh_head(control: Control, field: Field, head: LinearHead, seed: int) -> LinearHead:
    """A calibrated head fitted to all labels that may be trained on; ``head`` where they are too few to learn from."""
    problem = problem_for(control)
    train, held_out = (
        (field.features[at], [field.targets[int(p)] for p in at]) for at in (field.trained(), field.held_out())
    )
    if not problem.can_fit(control, train[1]):
        return head
    return problem.fit_calibrated(control, train, held_out, seed=seed)


def decide(
    control: Control, field: Field, head: LinearHead, n: int, policy: Policy, *, judge: LinearHead | None = None
) -> list[Choice]:
    """The ``n`` tasks to label next, best first; fewer where fewer are open.

    ``head`` says what is uncertain. ``judge`` (default: the same) speaks for audit tasks: a head that was fitted after
    the version was made must not change what that version is measured by.
    """
    chosen = _chosen(control, field, head, n, policy)
    audits = _audits(control, field, judge or head, n)
    labelled_audit = int(sum(bool(field.audit[at]) for at in field.targets))
    return deal_audit(chosen, audits, policy.audit_share, len(field.targets), labelled_audit)[:n]


def _chosen(control: Control, field: Field, head: LinearHead, n: int, policy: Policy) -> list[Choice]:
    problem = problem_for(control)
    at, trained = field.choosable(), field.trained()
    features = field.features[at]
    pool = selection.Pool(
        features=features,
        probs=head.probs(features),
        labelled_features=field.features[trained],
        labelled_classes=np.array([problem.hard_class(field.targets[int(p)]) for p in trained], np.int64),
        clusters=None if field.clusters is None else field.clusters[at],
        head=head,
        texts=None if field.texts is None else [field.texts[p] for p in at],
    )
    order = selection.choose(policy.strategy, pool, n, seed=policy.seed + len(trained))
    outputs = problem.outputs(head, field.features[at[order]])
    worth = problem.uncertainty(outputs)
    around = selection.surroundings(policy.strategy, pool, order)
    labelled = [field.targets[int(p)] for p in trained]
    return [
        Choice(
            int(at[o]),
            output,
            {**problem.reason(control, output, float(w), pool_size=len(at), labelled=labelled), **near},
        )
        for o, output, w, near in zip(order, outputs, worth, around, strict=True)
    ]


def _audits(control: Control, field: Field, judge: LinearHead, n: int) -> list[Choice]:
    at = field.audits()[:n]
    outputs = problem_for(control).outputs(judge, field.features[at])
    return [Choice(int(p), output, {"measure": "audit"}) for p, output in zip(at, outputs, strict=True)]


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
