"""The processes say in JSON why they cannot run, and end."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from backend import server
from backend.alone import alone
from backend.demo.processes import free_port


def run(role, tmp_path, **env):
    """(exit code, the lines of stderr as dicts)."""
    ended = subprocess.run(
        [sys.executable, "-m", "backend", role],
        env={**os.environ, "DATA_DIR": str(tmp_path / "data"), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.returncode, [json.loads(line) for line in ended.stderr.splitlines()]


@pytest.mark.parametrize("role", ["serve", "web"])
def test_a_port_that_is_taken_ends_it(role, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, lines = run(role, tmp_path, HOST="127.0.0.1", PORT=port)
    assert code == 1
    assert port in str(lines[-1])
    assert role == "web" or "PORT" in lines[-1]["reason"]


def test_a_host_that_is_not_this_machines_ends_it(tmp_path):
    code, lines = run("serve", tmp_path, HOST="192.0.2.1")
    assert code == 1
    assert "HOST" in lines[-1]["reason"]


def test_a_folder_that_is_held_is_said(tmp_path):
    with alone(tmp_path / "data", ""):
        code, lines = run("worker", tmp_path)
    assert code == 1
    assert "WORKER_ID" in lines[-1]["reason"]


@pytest.mark.parametrize("role", ["serve", "web", "worker"])
def test_a_storage_that_cannot_be_used_ends_it(role, tmp_path):
    code, lines = run(role, tmp_path, STORAGE_URL="bucket://versions", HOST="127.0.0.1", PORT=str(free_port()))
    assert code in (1, 4)
    assert any("STORAGE_URL" in line.get("reason", "") for line in lines)


@pytest.mark.parametrize("role", ["serve", "web"])
def test_a_secret_that_cannot_be_read_ends_it(role, tmp_path):
    (tmp_path / "data" / "webhook.secret").mkdir(parents=True)
    code, lines = run(role, tmp_path, HOST="127.0.0.1", PORT=str(free_port()))
    assert code == 1
    assert "webhook.secret" in lines[-1]["reason"]


def test_a_process_that_could_not_be_started_is_tried_again(monkeypatch):
    stop, tried = threading.Event(), []

    def spawn(_):
        tried.append(1)
        if len(tried) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        stop.set()
        return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    monkeypatch.setattr(server._Keeper, "_spawn", spawn)
    keeper = server._Keeper("worker", stop)
    keeper.start()
    keeper.join(30)
    assert not keeper.is_alive()
    assert len(tried) == 2
