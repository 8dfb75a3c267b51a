"""Children end when they are told to, leave nothing behind, and say why they ended by themselves."""

import socket
import sys
import time
from pathlib import Path

import pytest

from backend.demo.processes import Child, ChildFailed, clean_environment, free_port, port_is_free


def python(tmp_path, code: str, **env: str) -> Child:
    command = [sys.executable, "-u", "-c", code]
    return Child("The program", command, clean_environment(**env), tmp_path / "log", tmp_path)


def runs(pid: int) -> bool:
    """Whether the process is alive; one that has ended and that nobody has asked about is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Whether the process ends within five seconds."""
    deadline = time.monotonic() + 5
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not runs(pid)


def test_a_child_that_dies_shows_the_end_of_its_log(tmp_path):
    child = python(tmp_path, "print('first'); print('the reason'); raise SystemExit(3)")
    with pytest.raises(ChildFailed, match=r"exit code 3") as caught:
        child.wait_until(lambda: False, timeout_s=20)
    assert "the reason" in str(caught.value)


def test_a_child_that_never_becomes_ready_is_named(tmp_path):
    child = python(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    try:
        with pytest.raises(ChildFailed, match="not ready after 1 s"):
            child.wait_until(lambda: False, timeout_s=1)
    finally:
        child.stop()
    assert not child.alive()


def test_stop_ends_a_child_that_ignores_it_and_what_it_started(tmp_path):
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
        "time.sleep(60)"
    )
    child = python(tmp_path, code)
    child.wait_until(lambda: child.log_tail() != "", timeout_s=20)
    grandchild = int(child.log_tail())
    assert runs(grandchild)
    assert child.stop(timeout_s=0.3) == -9
    assert gone(grandchild)
    assert child.stop() == -9  # a second time is no error


def test_the_environment_holds_nothing_of_the_shell_but_what_every_program_needs(monkeypatch):
    monkeypatch.setenv("HOST", "http://example.com")
    monkeypatch.setenv("DJANGO_DB", "default")
    env = clean_environment(MINE="1")
    assert env["MINE"] == "1"
    assert "PATH" in env
    assert not {"HOST", "DJANGO_DB"} & set(env)


def test_a_port_is_free_until_somebody_listens():
    port = free_port()
    assert port_is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free(port)
