"""What people are shown of a project; reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from backend.pipeline import due
from backend.pipeline.agreement import label_quality
from backend.pipeline.evaluation import advice
from backend.pipeline.parts import Parts
from backend.pipeline.suggestions import report
from backend.registry import versions as records
from backend.registry import workers
from backend.registry.records import Job, Project, VersionRow
from backend.studio.strategy import strategy_of

TOP = 10


def status(parts: Parts, project: Project) -> dict[str, Any]:
    """A project's labels, versions, queue, training and latencies; the README describes the fields."""
    registry = parts.registry
    active = records.active(registry, project.key)
    rows = records.versions(registry, project.key)
    touched = registry.touched(project.key)
    labelled = registry.labelled(project.key)
    from backend.active.audit import is_audit

    audit = [task for task in labelled if is_audit(project.key, task, parts.settings.audit_share)]
    pending = registry.projects_with_events().get(project.key)
    training = _training(parts, project)
    published = _published(parts, project, touched)
    sorting = pending is not None or due.sorting(parts, project)
    settled = not sorting and training["state"] in ("idle", "failed") and published is not None
    return {
        "project": project.id,
        "uid": project.key,
        "title": project.title,
        "problem": project.problem or None,
        "labels": len(labelled),
        "audit_labels": len(audit),
        "new_labels": due.new_labels(parts, project) if project.schema else 0,
        "pending_events": len(registry.waiting_events(project.key)) if pending else 0,
        "strategy": asdict(strategy_of(project.label_config, parts.settings.strategy)),
        "advice": advice(parts, project, len(labelled), len(audit), registry.task_count(project.key) - len(touched)),
        "suggestions": report(parts, project),
        "label_quality": label_quality(parts, project),
        "reconciled_at": project.reconciled_at,
        "worker_alive": workers.alive(registry),
        "active_version": active.version if active else None,
        "published": published,
        "training": training,
        "failed_trainings": records.failed_jobs(registry, project.key),
        "idle": settled,
        "versions": [_version(v, active.version if active else None) for v in rows],
        "latency_ms": latencies(records.timings(registry, project.key)),
    }


def latencies(timings: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Name -> p50, p95, p99, max in milliseconds, and the number n."""
    found = {}
    for name, seconds in timings.items():
        p50, p95, p99 = (float(x) for x in np.percentile(np.array(seconds), (50, 95, 99)) * 1000)
        found[name] = {
            "p50": round(p50, 1),
            "p95": round(p95, 1),
            "p99": round(p99, 1),
            "max": round(max(seconds) * 1000, 1),
            "n": len(seconds),
        }
    return found


def _published(parts: Parts, project: Project, touched: frozenset[int]) -> dict[str, Any] | None:
    active = records.active(parts.registry, project.key)
    if active is None:
        return None
    rows = records.published(parts.registry, project.key, active.name)
    waiting = [(task, score, reason) for task, (score, reason) in rows.items() if task not in touched]
    check = project.queue_check or {"in_order": None, "checked_at": None, "detail": "not checked yet"}
    return {
        "name": active.name,
        "tasks": len(waiting),
        "top": [{"task": task, "score": score, "reason": reason} for task, score, reason in waiting[:TOP]],
        **check,
    }


def _training(parts: Parts, project: Project) -> dict[str, Any]:
    job = records.newest_job(parts.registry, project.key)
    if job is not None and job.state in ("queued", "running"):
        return _job(job)
    if project.schema is not None and due.training(parts, project):
        return {"state": "due", "progress": 0.0, "message": "starts in a moment", "job": None}
    if job is not None and job.state == "failed":
        return _job(job)
    message = job.message if job else ""
    if project.schema is not None and not due.trainable(parts, project):
        message = "TEXT_MODEL is not set: tasks are put in order, nothing is suggested or learned"
    return {"state": "idle", "progress": 0.0, "message": message, "job": job.id if job else None}


def _job(job: Job) -> dict[str, Any]:
    return {"state": job.state, "progress": round(job.progress, 3), "message": job.message, "job": job.id}


def _version(row: VersionRow, active: str | None) -> dict[str, Any]:
    state = "active" if row.name == active else "ready" if row.verdict == "ready" else "rejected"
    return {
        "name": row.name,
        "labels": row.labels,
        "audit": row.audit,
        "evaluation": row.meta.get("evaluation"),
        "state": state,
        "verdict": row.verdict,
        "created_at": datetime.fromtimestamp(row.created_at, UTC).isoformat(timespec="seconds"),
        "seconds": row.meta.get("seconds"),
    }
