"""Starting a Label Studio: with a small program in its place that writes down how it was called."""

import json
import socket
import sqlite3
import stat
import sys

import pytest

from backend.demo.processes import ChildFailed, free_port
from backend.demo.studio_server import StudioServer, find_studio
from backend.errors import UserError

PROGRAM = """#!{python}
import json, os, sqlite3, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

option = dict(zip(sys.argv[2::1], sys.argv[3::1]))
folder = option["--data-dir"]
with open(folder + "/call.json", "w") as file:
    json.dump({{"arguments": sys.argv[1:], "env": dict(os.environ)}}, file)
database = sqlite3.connect(folder + "/label_studio.sqlite3")
with database:
    database.execute("CREATE TABLE IF NOT EXISTS starts (n)")
    database.execute("INSERT INTO starts VALUES (1)")
database.close()
{end}

class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{{}}")

HTTPServer(("127.0.0.1", int(option["--port"])), Health).serve_forever()
"""


@pytest.fixture
def program(tmp_path):
    def write(end: str = "") -> str:
        path = tmp_path / "label-studio"
        path.write_text(PROGRAM.format(python=sys.executable, end=end))
        path.chmod(0o700)
        return str(path)

    return write


def starts(folder) -> int:
    database = sqlite3.connect(folder / "label_studio.sqlite3")
    try:
        return database.execute("SELECT COUNT(*) FROM starts").fetchone()[0]
    finally:
        database.close()


def test_secrets_are_kept_private_and_serve_every_start(program, tmp_path, monkeypatch):
    monkeypatch.setenv("HOST", "http://elsewhere.example.com")
    folder = tmp_path / "studio"
    with StudioServer(folder, binary=program()) as first:
        pass
    with StudioServer(folder, binary=program()) as second:
        assert second.credentials == first.credentials
    assert stat.S_IMODE((folder / "credentials.json").stat().st_mode) == 0o600
    assert first.credentials.password.isalnum(), "or a command line takes it for an option"
    call = json.loads((folder / "call.json").read_text())
    assert first.token in call["arguments"]
    assert call["env"]["LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"] == "True"
    assert "HOST" not in call["env"], "Label Studio takes it for its public name"


def test_a_template_saves_the_migration_and_holds_nothing_of_later_work(program, tmp_path):
    template = tmp_path / "templates" / "empty"
    with StudioServer(tmp_path / "one", binary=program(), template=template) as one:
        assert starts(template) == 1
    with StudioServer(tmp_path / "two", binary=program(), template=template) as two:
        assert starts(two.folder) == 2  # the template's and its own
        assert two.credentials == one.credentials
    assert starts(template) == 1


def test_strict_keeps_label_studios_own_defaults(program, tmp_path):
    with StudioServer(tmp_path / "studio", binary=program(), strict=True):
        pass
    env = json.loads((tmp_path / "studio" / "call.json").read_text())["env"]
    assert not {"LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN", "SSRF_PROTECTION_ENABLED"} & set(env)


def test_a_taken_port_is_refused_because_label_studio_would_take_the_next(program, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="in use"):
        StudioServer(tmp_path / "studio", port=taken.getsockname()[1], binary=program()).start()


def test_a_start_that_fails_shows_the_log_and_leaves_no_template(program, tmp_path):
    binary = program(end="raise SystemExit('the disk is full')")
    server = StudioServer(tmp_path / "studio", port=free_port(), binary=binary, template=tmp_path / "template")
    with pytest.raises(ChildFailed, match="the disk is full"):
        server.start()
    assert not (tmp_path / "template").exists()


def test_the_program_is_the_one_named_or_the_message_says_how_to_get_one(program, monkeypatch):
    monkeypatch.setenv("LS_BIN", program())
    assert find_studio() == program()
    monkeypatch.setenv("LS_BIN", "/nowhere")
    monkeypatch.setattr("backend.demo.studio_server.os.access", lambda *_: False)
    with pytest.raises(UserError) as caught:
        find_studio()
    assert "make .venv-studio" in caught.value.sentence()
