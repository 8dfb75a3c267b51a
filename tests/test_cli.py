"""What the commands print."""

from backend.cli import _status_text
from backend.pipeline import mirror
from backend.pipeline.status import status
from backend.registry import versions as records
from tests.fakes import KEY


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
