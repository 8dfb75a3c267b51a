"""Audit tasks: stable, of the wanted share, independent of the order of labelling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.audit import audit_rank, is_audit

PROJECT = "2.1795548626"
HELD_OUT = [2, 12, 39]
RANK = 0.710181860082


def test_held_out_tasks_never_change() -> None:
    # written down: a change of the hash would let former audit tasks be trained on
    assert [i for i in range(1, 60) if is_audit(PROJECT, i, 0.1)] == HELD_OUT
    assert audit_rank(PROJECT, 1) == pytest.approx(RANK)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_share_is_kept(share: float) -> None:
    held_out = np.mean([is_audit(PROJECT, i, share) for i in range(20_000)])
    assert held_out == pytest.approx(share, abs=0.01)


@given(st.integers(0, 10**9), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds(task: int, a: float, b: float) -> None:
    if is_audit(PROJECT, task, min(a, b)):
        assert is_audit(PROJECT, task, max(a, b))


def test_projects_hold_out_different_tasks() -> None:
    one, other = ({i for i in range(2000) if is_audit(p, i, 0.1)} for p in ("1.1", "2.1"))
    assert len(one & other) < 50


def test_rank_is_uniform_among_audit_tasks() -> None:
    ranks = np.array([audit_rank(PROJECT, i) for i in range(40_000) if is_audit(PROJECT, i, 0.1)])
    assert np.histogram(ranks, 4, (0, 1))[0] == pytest.approx(len(ranks) / 4, rel=0.1)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        is_audit(PROJECT, 1, share)
