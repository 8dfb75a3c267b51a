"""A folder has one writer."""

import os
import subprocess
import sys

import pytest

from backend.alone import LOCK, alone
from backend.errors import UserError


def test_a_folder_is_held_until_its_holder_is_done(tmp_path):
    folder = tmp_path / "new"
    with alone(folder, ""), pytest.raises(UserError, match=str(folder)) as refused, alone(folder, "Wait for it."):
        pytest.fail("two writers")
    assert refused.value.hint == "Wait for it."
    with pytest.raises(ZeroDivisionError), alone(folder, ""):
        raise ZeroDivisionError
    with alone(folder, ""), alone(tmp_path / "another", ""):
        pass


def test_a_process_that_is_killed_holds_nothing(tmp_path):
    hold = f"import os, pathlib, backend.alone as a; a.alone(pathlib.Path({str(tmp_path)!r}), '').__enter__()"
    assert subprocess.run([sys.executable, "-c", f"{hold}; os._exit(9)"]).returncode == 9
    assert (tmp_path / LOCK).exists()
    with alone(tmp_path, ""):
        pass


def test_a_second_worker_says_what_to_do(tmp_path):
    with alone(tmp_path, ""):
        ended = subprocess.run(
            [sys.executable, "-m", "backend", "worker"],
            env={**os.environ, "DATA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode != 0
    assert "another process is at work" in ended.stderr.lower()
    assert "WORKER_ID" in ended.stderr
    assert "Traceback" not in ended.stderr
