"""What is due in a project, derived from the database alone: nothing has to be remembered between two looks."""

from backend.pipeline.parts import Parts
from backend.problems.base import readers
from backend.registry import versions as records
from backend.registry.database import now
from backend.registry.records import Project, VersionRow

START = "start"  # why a project's first version, or that after a change of what it asks, became active


def reconciliation(parts: Parts, project: Project) -> bool:
    """Whether the last comparison with Label Studio is too old, or of a clock that was set back since."""
    return abs(parts.registry.time() - project.reconciled_at) > parts.settings.reconcile_seconds


def usable(parts: Parts, project: Project, row: VersionRow) -> bool:
    """Whether a version answers what the project asks now, and was made for the models that there are now."""
    return row.schema_hash == project.asks().hash and parts.host.fits(row)


def usable_versions(parts: Parts, project: Project) -> list[VersionRow]:
    """The :func:`usable` versions of a project, oldest first."""
    return [row for row in records.versions(parts.registry, project.key) if usable(parts, project, row)]


def newest_ready(parts: Parts, project: Project) -> VersionRow | None:
    """The newest of the :func:`usable` versions that passed the gate."""
    return next((row for row in reversed(usable_versions(parts, project)) if row.verdict == "ready"), None)


def active_version(parts: Parts, project: Project) -> VersionRow | None:
    """The active version, None where there is none that is :func:`usable`."""
    current = records.active(parts.registry, project.key)
    row = records.version(parts.registry, project.key, current.version) if current else None
    return row if row is not None and usable(parts, project, row) else None


def needs_cold_start(parts: Parts, project: Project) -> bool:
    """Whether the project has tasks, but no active version for what it asks now."""
    return active_version(parts, project) is None and parts.registry.has_tasks(project.key)


def sorting(parts: Parts, project: Project) -> bool:
    """Whether tasks or answers changed since the queue was last sorted; never without a published queue."""
    if project.schema is None or active_version(parts, project) is None:
        return False
    return project.sorted_for != parts.registry.state(project.key)


def unpublished(parts: Parts, project: Project) -> str | None:
    """A version that passed the gate and was never made active, because Label Studio could not be reached; or None.

    A version older than the last activation is not meant: somebody chose another one since.
    """
    newest = newest_ready(parts, project)
    active = records.active(parts.registry, project.key)
    if newest is None or active is None or records.active_jobs(parts.registry, project.key):
        return None
    waits = newest.name != active.version and newest.activation >= active.id
    return newest.name if waits else None


def wished(parts: Parts, project: Project) -> str | None:
    """The version that somebody asked for, as long as it answers what the project asks."""
    name = records.wished(parts.registry, project.key)
    row = None if name is None else records.version(parts.registry, project.key, name)
    return name if row is not None and usable(parts, project, row) else None


def new_labels(parts: Parts, project: Project) -> int:
    """Tasks whose answer is newer than what the newest version learned from."""
    seen = max((v.seen for v in usable_versions(parts, project)), default=0)
    return parts.registry.changed_since(project.key, seen)


def trainable(parts: Parts, project: Project) -> bool:
    """Whether there is a model that labels of the project can teach."""
    return readers(project.asks()) != {"generator"} or bool(parts.settings.text_model)


def _begun(parts: Parts, project: Project) -> int:
    """The activation with which the project last began, with what it asks and the models that there are now; what was
    trained before was for something else."""
    begins = [a.id for a in records.activations(parts.registry, project.key) if a.reason == START]
    return max(begins, default=0)


def training(parts: Parts, project: Project) -> str | None:
    """The id of the training that is due, or None.

    Enough new labels (a tenth of all, so that trainings become rarer as the project grows), or a few and quiet. A
    training that failed is not repeated for the same labels unless somebody asks.
    """
    done = records.job_count(parts.registry, project.key)  # first: two workers that look at once name the same job
    newest, at = parts.registry.newest_change(project.key)
    if not newest or not trainable(parts, project):
        return None
    if records.active_jobs(parts.registry, project.key):
        return None
    if records.was_tried(parts.registry, project.key, newest, _begun(parts, project)):
        return None
    fresh = new_labels(parts, project)
    settings = parts.settings
    enough = max(settings.retrain_after_labels, parts.registry.labelled_count(project.key) // 10)
    quiet = now() - at >= settings.retrain_after_seconds
    if fresh >= enough or (quiet and fresh >= settings.retrain_min_labels):
        return f"retrain-{project.key}-{newest}-{done}"
    return None
