"""Request bodies. Unknown fields are ignored, missing ones have a meaning, bad ones give 422 with a sentence."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """A JSON object of which we read some keys."""

    model_config = ConfigDict(extra="ignore")


class Task(Message):
    """A task as Label Studio sends it; old annotations and predictions inside are not read."""

    id: int | None = Field(None, ge=-(2**63), lt=2**63)
    data: dict[str, Any] = Field(default_factory=dict)


class PredictParams(Message):
    """The context of an interactive annotation, and ours: ``suggest_above`` in [0, 1]; 0 leaves no task blank."""

    context: dict[str, Any] | None = None
    suggest_above: float | None = Field(None, ge=0, le=1)

    @property
    def regions(self) -> list[dict[str, Any]]:
        """What the annotator has made so far; none outside an interactive annotation."""
        return regions_of(self.context)


def regions_of(context: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The regions in the context of an interactive annotation."""
    result = (context or {}).get("result")
    return [region for region in result if isinstance(region, dict)] if isinstance(result, list) else []


class Predict(Message):
    """``POST /predict``."""

    tasks: list[Task]
    project: str | int | None = None
    label_config: str | None = None
    params: PredictParams | None = None


class Setup(Message):
    """``POST /setup``; the access token that Label Studio sends along is not read."""

    project: str | int
    label_config: str = Field("", alias="schema")


class ValidateConfig(Message):
    """``POST /validate``."""

    config: str | None = None
    label_config: str | None = None


class Webhook(Message):
    """``POST /webhook``. Lists hold objects; what they are depends on ``action``."""

    action: str
    project: dict[str, Any] = Field(default_factory=dict)
    annotation: dict[str, Any] | list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    task: dict[str, Any] | list[dict[str, Any]] | None = None
    tasks: list[dict[str, Any]] | None = None


class ProjectOnly(Message):
    """``POST /train``, ``/delete`` and the like, where only the project matters."""

    project: str | int | None = None


class JobStatus(Message):
    """``POST /job_status``."""

    job: str


class Activate(Message):
    """``POST /api/projects/{project}/activate``."""

    version: str
