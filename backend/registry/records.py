"""Rows as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import UserError
from backend.problems.schema import Schema

JOB_ACTIVE = ("queued", "running")


@dataclass(frozen=True)
class Project:
    """A Label Studio project. ``schema`` is None where the label config is unsupported; ``problem`` then says why.

    ``tasks_stamp`` grows whenever a task of the mirror is added, changed or deleted; ``sorted_for`` is the state of
    the mirror that the queue was last sorted for.
    """

    key: str
    id: int
    title: str
    label_config: str
    schema: Schema | None
    problem: str
    reconciled_at: float
    queue_check: Mapping[str, Any] | None
    tasks_stamp: int
    sorted_for: str

    def asks(self) -> Schema:
        """The schema. Raises UserError, with the reason, for a project whose config cannot be learned."""
        if self.schema is None:
            raise UserError(self.problem, "Change the project's labeling interface.")
        return self.schema


@dataclass(frozen=True)
class Annotation:
    """One annotator's answer, as Label Studio stores it. ``shown`` is what the annotator was shown, if anything."""

    annotation_id: int
    task_id: int
    annotator: int | None
    result: list[dict[str, Any]]
    cancelled: bool
    updated_at: str
    shown: Mapping[str, Any] | None = None

    def to_studio(self) -> dict[str, Any]:
        """The keys of Label Studio's JSON that a codec reads."""
        return {
            "id": self.annotation_id,
            "task": self.task_id,
            "completed_by": self.annotator,
            "result": self.result,
            "was_cancelled": self.cancelled,
            "updated_at": self.updated_at,
        }


@dataclass(frozen=True)
class Event:
    """A call of Label Studio's webhook, or a request of our own API; ``applied`` once the mirror holds it."""

    id: int
    project: str
    action: str
    payload: Mapping[str, Any]
    received_at: float


@dataclass(frozen=True)
class VersionRow:
    """An immutable version. ``seen`` is the newest change it was trained on; ``audit`` its result on held-out tasks:
    ``{"n", "correct", "value", "low", "high"}`` or None; ``verdict`` is ``ready`` or why the gate kept it back;
    ``activation`` the id of the project's newest :class:`Activation` when it was registered, 0 where there was none."""

    project: str
    name: str
    number: int
    schema_hash: str
    snapshot: str
    seen: int
    labels: int
    location: str | None
    audit: Mapping[str, Any] | None
    meta: Mapping[str, Any]
    verdict: str
    created_at: float
    activation: int


@dataclass(frozen=True)
class Activation:
    """Which version a project uses and under which ``name`` Label Studio knows its predictions; ids grow."""

    id: int
    project: str
    version: str
    name: str
    reason: str
    created_at: float


@dataclass(frozen=True)
class Job:
    """A training as people see it; ``progress`` in [0, 1]; ``activation`` as a :class:`VersionRow` has it."""

    id: str
    project: str
    kind: str
    state: str
    progress: float
    message: str
    seen: int
    created_at: float
    updated_at: float
    activation: int
