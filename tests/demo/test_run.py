"""What the demo says of wrong options before it starts anything, and of its results at the end."""

import os

import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.demo.command import check_file
from backend.demo.run import _finish
from backend.errors import UserError

SUMMARY = {
    "labels": 5, "audit_labels": 1, "audit_accuracy": None, "test_accuracy": 0.5, "queue_in_order": True,
    "order": {"checks": 1, "problems": []}, "latency_ms": {}, "failed_trainings": 0, "seconds": 1.0,
}  # fmt: skip


def demo(*options):
    return CliRunner().invoke(app, ["demo", "--data", "missing.jsonl", *options], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--port", "--studio-port"])
@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_refused(option, port):
    refused = demo(option, port)
    assert refused.exit_code == 2
    assert "Invalid value" in refused.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--folder", "/proc/x"], "Nothing can be written to /proc/x"),
        (["--folder", "file"], "Nothing can be written to file"),
        (["--json", "folder"], "folder cannot be written"),
        (["--json", "missing/summary.json"], "cannot be written: No such file"),
        (["--json", "/proc/summary.json"], "/proc/summary.json cannot be written"),
        (["--json", "/proc/version"], "/proc/version cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_data_is_read(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=said):
        demo(*options)


def test_to_try_a_file_changes_nothing(tmp_path):
    there, target, pipe = (tmp_path / name for name in ("there.json", "target.json", "pipe"))
    there.write_text("{}")
    (tmp_path / "link.json").symlink_to(target)
    os.mkfifo(pipe)  # whose reader would see the end
    before = sorted(tmp_path.iterdir())
    for file in (there, tmp_path / "link.json", tmp_path / "new.json", pipe):
        check_file(file, "--json")
    assert there.read_text() == "{}"
    assert sorted(tmp_path.iterdir()) == before


def test_a_summary_is_printed_also_where_it_cannot_be_written(tmp_path, capsys):
    with pytest.raises(UserError, match="cannot be written"):
        _finish(SUMMARY, tmp_path)
    assert "test accuracy     50.0%" in capsys.readouterr().out
