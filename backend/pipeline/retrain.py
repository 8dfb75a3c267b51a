"""A training from its snapshot to the registered version, and where a project begins that has none yet.

Each function is one step of the durable workflow; what is trained or registered already is not made once more.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from backend.errors import UserError
from backend.pipeline import audit, due
from backend.pipeline.evaluation import earlier_one, evaluate
from backend.pipeline.parts import Parts
from backend.pipeline.publish import load_or_none
from backend.problems.examples import example_from
from backend.problems.schema import Schema
from backend.problems.version import Version, load_version
from backend.registry import versions as records
from backend.registry.database import now
from backend.registry.records import Project, VersionRow
from backend.serving.host import data_folder
from backend.telemetry import logger

log = logger("retrain")

Progress = Callable[[float, str], None]
BAR = "training {percentage:3.0f}%|{bar}|{postfix}"


def starting_version(parts: Parts, project: Project) -> str:
    """Where a project begins that has no active version for what it asks: with the last one that answered this and is
    not lost, else with :func:`cold_start`."""
    fitting = {v.name for v in due.usable_versions(parts, project)}
    before = [a.version for a in reversed(records.activations(parts.registry, project.key)) if a.version in fitting]
    there = (name for name in dict.fromkeys(before) if load_or_none(parts, project, name))
    return next(there, None) or cold_start(parts, project).name


def cold_start(parts: Parts, project: Project) -> VersionRow:
    """The version before any training: the frozen base model with a head made of the label names."""
    schema, base, writer = project.asks(), parts.host.encoder(), parts.host.generator(project.asks())
    models: dict[str, Any] = {"base": base} if writer is None else {"base": base, "text_base": writer}
    ids = {name: {"id": model.base_id} for name, model in models.items()}
    return records.add_version(
        parts.registry,
        project.key,
        schema_hash=schema.hash,
        snapshot="-".join(["cold", schema.hash, *(model["id"] for model in ids.values())]),
        seen=0,
        labels=0,
        location=None,
        audit=None,
        meta={"kind": "cold", **ids},
        verdict="ready",
        first_number=0,
    )


def train(parts: Parts, key: str, snapshot: Mapping[str, Any], on_progress: Progress) -> str:
    """Train in a process of its own and store the result; its key in the storage. Done already: returned at once.

    Raises UserError with the last line of the training's log where it failed, or what to do where it was killed.
    """
    location = f"{key}/{snapshot['hash']}"
    if parts.storage.has(location):
        return location
    folder = Path(snapshot["path"]).parent
    out = folder / "version"
    log_file = folder / "training.log"
    before = _before(parts, snapshot)
    command = [sys.executable, "-m", "backend.pipeline.train_job", snapshot["path"], str(out), before]
    with (
        open(log_file, "w") as errors,
        tqdm(total=1.0, bar_format=BAR, leave=False, disable=None, miniters=0) as bar,  # only on a terminal
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.PIPE,
            text=True,
            # Ctrl-C is the worker's, whose end ends the training through its stdin; not a session of its own, within
            # which Linux would not heed its niceness
            process_group=0,
        ) as job,
    ):
        assert job.stdout is not None
        for line in job.stdout:
            _report(line, on_progress, bar)
    if job.returncode == -signal.SIGKILL:
        raise UserError(
            "The training process was killed: memory ran out, most likely.",
            "Give it more, lower TRAIN_TOKENS, MAX_TOKENS or TEXT_MAX_TOKENS, or choose a smaller model.",
        )
    if job.returncode != 0:
        lines = log_file.read_text().strip().splitlines()
        last = lines[-1] if lines else f"exit code {job.returncode}"
        raise UserError(f"The training process failed: {last}", f"Its log: {log_file}")
    parts.storage.put(out, location)
    return location


def _before(parts: Parts, snapshot: Mapping[str, Any]) -> str:
    """The folder of the version before, empty without one: its loss is not to end learning."""
    key = snapshot.get("before")
    try:
        return str(parts.storage.get(key)) if key else ""
    except (UserError, OSError) as error:
        log.warning("the version before cannot be read", version=key, reason=str(error))
        return ""


def _report(line: str, on_progress: Progress, bar: Any) -> None:
    try:
        value = json.loads(line)
        progress, message = float(value["progress"]), str(value["message"])
        on_progress(progress, message)
        bar.set_postfix_str(message, refresh=False)
        bar.update(progress - bar.n)
    except (ValueError, KeyError, TypeError):
        log.info("training says", line=line.strip()[:500])


def register(parts: Parts, key: str, snapshot: Mapping[str, Any], location: str) -> dict[str, Any]:
    """Evaluate on the held-out tasks and register: ``{"version", "activate", "message"}``.

    The gate keeps a version back only if it is worse than the active one beyond noise on the same held-out tasks. A
    version that is there already is not made active once more: somebody may have chosen another one since.
    """
    if known := records.seen_again(parts.registry, key, snapshot["hash"], snapshot["seen"]):
        message = f"{known.name} has learned from these labels already"
        return {"version": known.name, "activate": False, "message": message}
    project = parts.registry.must_project(key)
    schema = project.asks()
    content = json.loads(Path(snapshot["path"]).read_text())
    meta = json.loads((parts.storage.get(location) / "version.json").read_text())
    trained_schema = Schema.from_json(content["schema"])
    held_out = [example_from(trained_schema, e) for e in content["held_out"]]
    generator = parts.host.generator(trained_schema)
    version = load_version(parts.storage.get(location), parts.host.encoder(), generator)
    outputs = version.outputs_apart(held_out)
    meta = {**meta, "features": version.base_id, "audit_share": content["audit_share"]}
    verdict = "ready"
    if schema.hash == trained_schema.hash:  # else the active version is asked something else
        verdict = audit.verdict(parts, project, held_out, version)
        meta = {**meta, "evaluation": _evaluation(parts, project, content, version)}
    row = records.add_version(
        parts.registry,
        key,
        schema_hash=trained_schema.hash,
        snapshot=snapshot["hash"],
        seen=snapshot["seen"],
        labels=snapshot["labels"],
        location=location,
        audit=audit.audit_result(trained_schema, held_out, outputs, parts.settings),
        meta=meta,
        verdict=verdict,
    )
    if schema.hash != trained_schema.hash:
        return {"version": row.name, "activate": False, "message": "the label config changed during the training"}
    message = _message(row)
    log.info("version registered", project=key, version=row.name, verdict=row.verdict, audit=row.audit)
    return {"version": row.name, "activate": row.verdict == "ready", "message": message}


def _evaluation(parts: Parts, project: Project, content: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """See :func:`evaluate`; compared with the newest version of the same schema, and the newest of far fewer labels."""
    schema = project.asks()
    train = [example_from(schema, e) for e in content["train"]]
    rows = due.usable_versions(parts, project)
    previous = load_or_none(parts, project, rows[-1].name) if rows else None
    known = [(r.meta["evaluation"]["labels"], r.name) for r in rows if r.meta.get("evaluation")]
    fewer = earlier_one(schema, known, len(train))
    before = None if fewer is None else load_or_none(parts, project, fewer[1])
    earlier = None if fewer is None or before is None else (fewer[0], before)
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    return evaluate(parts, schema, train, table, version, previous, earlier)


def _message(row: VersionRow) -> str:
    on = (
        f"{audit.right_answers(row.audit['correct'])} of {row.audit['n']} held-out tasks right"
        if row.audit
        else "no held-out task yet"
    )
    return f"{row.name} learned from {row.labels} labels, {on}" + (
        "" if row.verdict == "ready" else f"; not activated: {row.verdict}"
    )


def sweep(parts: Parts, older_s: float) -> None:
    """Delete the working folders of trainings that came to nothing so long ago; their logs were there until then."""
    if records.active_jobs(parts.registry):
        return
    for folder in data_folder(parts.settings, "work").iterdir():
        if now() - folder.stat().st_mtime > older_s:
            shutil.rmtree(folder, ignore_errors=True)


def discard(parts: Parts, snapshot: Mapping[str, Any]) -> None:
    """Delete the working folder of a training that is registered."""
    shutil.rmtree(Path(snapshot["path"]).parent, ignore_errors=True)
