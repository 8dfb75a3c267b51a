"""What people ask for, by web or command line: written down here, done by the worker."""

import uuid

from backend.errors import NotFound
from backend.pipeline.parts import Parts
from backend.registry import versions as records
from backend.registry.records import Project


def request_training(parts: Parts, key: str) -> str:
    """The job of a training of this project: the one that is queued or running, else a new one."""
    running = records.active_jobs(parts.registry, key)
    if running:
        return running[-1].id
    job_id = f"retrain-{key}-{uuid.uuid4().hex[:8]}"
    records.add_job(parts.registry, job_id, key, "retrain", parts.registry.newest_change(key)[0])
    parts.registry.add_event(key, "TRAIN", {"job": job_id})
    return job_id


def request_activation(parts: Parts, project: Project, version: str) -> None:
    """Make a version the active one as soon as the worker gets to it. Raises NotFound for one that does not fit, and
    ModelError for one whose files are gone."""
    row = records.version(parts.registry, project.key, version)
    if row is None:
        raise NotFound(f"Project {project.id} has no version {version!r}.", "`ls-active versions` lists them.")
    if row.schema_hash != project.asks().hash:
        raise NotFound(
            f"Version {version} was trained for another label config.", "Change the labels back, or train a new one."
        )
    if not parts.host.fits(row):
        raise NotFound(f"Version {version} was made for another base model.", "Set that back, or train a new version.")
    if row.location is not None:
        parts.storage.must_have(row.location)
    records.wish(parts.registry, project.key, version)
