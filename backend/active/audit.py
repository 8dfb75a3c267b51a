"""Which tasks are held out to measure accuracy, and when they are labelled.

Both are hashes of the project and the task id, so that they need no table, are the same on every machine, and never
change: an audit task stays one for ever and is never trained on, which keeps the accuracy unbiased.
"""

import hashlib


def is_audit(project: str, task_id: int, share: float) -> bool:
    """Whether a task is held out; true for about ``share`` (in [0, 1]) of all tasks.

    With a larger share the held-out tasks of a smaller one stay held out.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected a number in [0, 1]")
    return _unit("audit", project, task_id) < share


def audit_rank(project: str, task_id: int) -> float:
    """A number in [0, 1) that does not depend on whether the task is held out; ascending is the order of labelling.

    Any order that knows the model would make the measured accuracy a biased one.
    """
    return _unit("rank", project, task_id)


def _unit(use: str, project: str, task_id: int) -> float:
    """A number in [0, 1), uniform over task ids. 53 bits, so that no rounding gives 1."""
    digest = hashlib.sha256(f"{use}:{project}:{task_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
