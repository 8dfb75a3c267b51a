"""What the tests of this folder start: a real Label Studio, and small servers that stand for what it talks to."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend.demo.studio_server import StudioServer, find_studio
from backend.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """<View>
  <Text name="text" value="$text"/>
  <Choices name="topic" toName="text" choice="single">
    <Choice value="sport"/><Choice value="tech"/><Choice value="art"/>
  </Choices>
</View>"""


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Server:
    """A server whose ``answer`` a test sets: request -> status and body. It remembers the requests."""

    url: str
    answer: Callable[[Request], tuple[int, Any]]
    requests: list[Request] = field(default_factory=list)
    kind: str = "application/json"


@contextmanager
def serve(answer: Callable[[Request], tuple[int, Any]]) -> Iterator[Server]:
    """A server on a free port of 127.0.0.1. A ``str`` is sent as it is, everything else as JSON; with
    301 and its like it is where to go on."""

    class Handler(BaseHTTPRequestHandler):
        def _go(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), json.loads(raw) if raw else None)
            server.requests.append(request)
            status, body = server.answer(request)
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", server.kind)
            if status in (301, 302, 307, 308):
                self.send_header("Location", body)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _go

        def log_message(self, *_: Any) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_address[1]}", answer)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    http.shutdown()
    http.server_close()
    thread.join()


def ml_backend(_: Request) -> tuple[int, Any]:
    """What every route of a healthy ML backend may answer."""
    return 200, {"status": "UP", "model_version": "v0", "results": []}


@contextmanager
def label_studio(*, strict: bool = False) -> Iterator[StudioServer]:
    """A running Label Studio in a throw-away folder, on a RAM disk if there is one; its migrated database is kept."""
    try:
        find_studio()
    except UserError as error:
        pytest.skip(error.sentence())
    ram = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="label-studio-", dir=ram))
    try:
        with StudioServer(folder, template=ROOT / ".cache/label-studio", strict=strict) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answer(label: str) -> list[dict[str, Any]]:
    """A result with one choice, as an annotator's click makes it."""
    return [{"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]
