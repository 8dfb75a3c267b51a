"""What the commands print."""

import pytest

from backend import cli
from backend.cli import _status_text
from backend.errors import NotFound
from backend.pipeline import mirror, retrain
from backend.pipeline.status import status
from backend.registry import versions as records
from tests.fakes import KEY, WordEncoder


def test_status_shows_latencies_and_how_many_trainings_failed(parts, studio):
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    assert "0 trainings failed" in _status_text(status(parts, project))
    for seconds in (0.5, 1.5):
        records.add_timing(parts.registry, KEY, "refresh", seconds)
    records.add_job(parts.registry, "job", KEY, "retrain", 0)
    records.update_job(parts.registry, "job", state="failed", progress=1.0, message="no memory")
    text = _status_text(status(parts, project))
    assert "1 training failed" in text
    (line,) = (line for line in text.splitlines() if "latency" in line)
    assert "refresh" in line
    assert "p50 1.0 s" in line
    assert "max 1.5 s" in line


def test_status_does_not_say_that_nothing_is_learned_where_a_field_is_not_read(parts, studio):
    mirror.reconcile(parts, KEY)
    note = "The labeling interface shows $title, which no control reads."
    text = _status_text({**status(parts, parts.registry.must_project(KEY)), "problem": note})
    assert f"  config     {note}" in text.splitlines()
    assert "not learned:" not in text


def test_a_version_of_another_base_model_is_refused_before_the_worker_knows_of_the_change(parts, studio, monkeypatch):
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    cold = retrain.cold_start(parts, project).name
    records.activate(parts.registry, KEY, cold, cold, "start")
    parts.host._base = None
    monkeypatch.setattr(cli, "_open", lambda _: (parts, project))
    cli.activate(2, cold)
    assert records.wished(parts.registry, KEY) == cold
    records.drop_wish(parts.registry, KEY, cold)
    parts.host._base = None
    monkeypatch.setattr(WordEncoder, "__init__", lambda self: setattr(self, "base_id", "another"))
    with pytest.raises(NotFound, match="another base model"):
        cli.activate(2, cold)
    assert records.wished(parts.registry, KEY) is None
