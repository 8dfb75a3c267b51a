"""The API for people and programs: status, versions, activation, metrics."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from backend import telemetry
from backend.pipeline.requests import request_activation, request_training
from backend.pipeline.status import status
from backend.registry import versions as records
from backend.web import messages
from backend.web.protocol import Wired, must_find

router = APIRouter(prefix="/api")


@router.get("/projects")
def projects(parts: Wired) -> list[dict[str, Any]]:
    """Every project that is known here."""
    return [{"project": p.id, "uid": p.key, "title": p.title} for p in parts.registry.projects()]


@router.get("/projects/{project}/status")
def project_status(project: str, parts: Wired) -> dict[str, Any]:
    """Labels, versions, queue with reasons, training and latencies."""
    return status(parts, must_find(parts, project))


@router.get("/projects/{project}/versions")
def project_versions(project: str, parts: Wired) -> list[dict[str, Any]]:
    """All versions of a project, oldest first."""
    found: list[dict[str, Any]] = status(parts, must_find(parts, project))["versions"]
    return found


@router.post("/projects/{project}/train", status_code=201)
def project_train(project: str, parts: Wired) -> dict[str, str]:
    """Ask for a training now; the id of its job."""
    return {"job": request_training(parts, must_find(parts, project).key)}


@router.post("/projects/{project}/activate", status_code=202)
def project_activate(project: str, body: messages.Activate, parts: Wired) -> dict[str, str]:
    """Make a version the active one, forwards or back; the queue follows within seconds."""
    found = must_find(parts, project)
    request_activation(parts, found, body.version)
    return {"status": "accepted", "version": body.version}


@router.get("/metrics")
def metrics(parts: Wired) -> Response:
    """Prometheus metrics: what this process counted, and labels and accuracy of each project."""
    newest = {p.id: p.key for p in parts.registry.projects()}  # numbers are given out again
    labels = {number: parts.registry.labelled_count(key) for number, key in newest.items()}
    accuracy = {}
    for number, key in newest.items():
        active = records.active(parts.registry, key)
        row = records.version(parts.registry, key, active.version) if active else None
        if row is not None and row.audit:
            accuracy[number] = row.audit["value"]
    return Response(telemetry.metrics(labels, accuracy), media_type=CONTENT_TYPE_LATEST)
