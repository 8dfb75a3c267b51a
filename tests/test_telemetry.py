"""Every line on stderr is JSON, those of the libraries too, and what a person can mend is a sentence there."""

import io
import json
import logging
import sys
import time

import pytest
from dbos import DBOS

from backend.errors import StudioError
from backend.pipeline import jobs
from backend.pipeline.worker import Worker
from backend.telemetry import configure_logging
from tests.fakes import CONFIG, KEY


@pytest.fixture
def lines(monkeypatch):
    """Gives what was written so far, a dict for each line."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("info")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    monkeypatch.undo()
    configure_logging("error")


def test_an_outage_is_one_warning_for_each_chain_of_attempts(lines, parts, studio, monkeypatch):
    monkeypatch.setitem(jobs.ATTEMPTS, "interval_seconds", 0.01)
    calls = []

    def down(_):
        calls.append(1)
        raise StudioError("Label Studio is down.", "Start it.")

    monkeypatch.setattr(studio, "project", down)
    parts.registry.add_event(KEY, "SETUP", {"project": {"label_config": CONFIG}})
    worker = Worker(parts)
    worker.start()
    try:
        end = time.monotonic() + 60
        while not said(lines) and time.monotonic() < end:
            worker.tick()
            time.sleep(0.05)
    finally:
        DBOS.destroy(workflow_completion_timeout_sec=10)
    failed = said(lines)
    assert len(failed) == len(calls) / jobs.ATTEMPTS["max_attempts"]
    assert failed[0]["level"] == "warning"
    assert "Label Studio is down. Start it." in failed[0]["event"]
    assert "exception" not in failed[0]


def said(lines):
    return [line for line in lines() if line.get("logger") == "dbos"]


def test_a_bug_of_a_job_keeps_its_traceback(lines):
    try:
        raise ZeroDivisionError("inside")
    except ZeroDivisionError as error:
        logging.getLogger("dbos").error("failed", exc_info=error)
    (line,) = lines()
    assert line["level"] == "error"
    assert "ZeroDivisionError: inside" in line["exception"]
