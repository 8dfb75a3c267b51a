"""A real Label Studio on SQLite in a folder of its own: start, sign people up, stop.

Decisions: password and token are made at random for each folder and kept in it (mode 0600), because Label Studio allows
cross-origin calls and a well-known token would open it to any web page. A ``template`` folder keeps the migrated empty
database, so that a further start takes seconds instead of half a minute. The shell's settings are not inherited.
"""

import json
import os
import re
import secrets
import shutil
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import httpx

from backend.demo.processes import Child, clean_environment, free_port, port_is_free
from backend.errors import StudioError, UserError

DATABASE = "label_studio.sqlite3"
QUIET = {"COLLECT_ANALYTICS": "False", "LATEST_VERSION_CHECK": "False", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
# Label Studio refuses loopback and private addresses, so every backend on the same machine, unless told otherwise.
OPEN_TO_LOCAL = {"ML_BLOCK_LOCAL_IP": "False", "SSRF_PROTECTION_ENABLED": "False"}
LEGACY_TOKENS = {"LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "True"}


@dataclass(frozen=True)
class Credentials:
    """The first user's login and legacy token."""

    user: str
    password: str
    token: str


def find_studio() -> str:
    """Path of the ``label-studio`` program: LS_BIN, else ``.venv-studio`` of this checkout, else the search path.

    Raises UserError when there is none.
    """
    root = Path(__file__).resolve().parents[2]
    candidates = [os.environ.get("LS_BIN"), str(root / ".venv-studio/bin/label-studio"), shutil.which("label-studio")]
    for candidate in filter(None, candidates):
        if os.access(candidate, os.X_OK):
            return candidate
    raise UserError("No Label Studio is installed.", "Run `make .venv-studio`, or set LS_BIN to its program.")


class StudioServer:
    """One Label Studio on 127.0.0.1, as a context manager or with ``start`` and ``stop``.

    ``url`` is known at once, ``credentials`` and ``token`` (the first user's legacy token) after ``start``. With
    ``strict`` Label Studio keeps its own defaults: legacy tokens refused, local addresses refused.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, binary: str = "", template: Path | None = None, strict: bool = False
    ) -> None:
        """``port`` 0 takes a free one; ``template`` is a folder that keeps a migrated database, made when missing."""
        self.folder, self.template, self.strict = folder.resolve(), template, strict
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.binary = binary or find_studio()
        self._child: Child | None = None

    def __enter__(self) -> "StudioServer":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def token(self) -> str:
        """The first user's legacy token."""
        return self.credentials.token

    @property
    def child(self) -> Child:
        """The running process; raises UserError before ``start``."""
        if self._child is None:
            raise UserError("Label Studio is not running.")
        return self._child

    def start(self, timeout_s: float = 240) -> "StudioServer":
        """This server, answering. Raises UserError when the port is taken or the program does not come up."""
        if not port_is_free(self.port):
            # Label Studio would silently listen on the next port
            raise UserError(f"Port {self.port} is in use.", "Choose another one for Label Studio.")
        fresh = self._prepare_folder()
        self._child = Child("Label Studio", self._command(), self._environment(), self._log, self.folder)
        try:
            self._child.wait_until(self._healthy, timeout_s)
            if fresh and self.template and not self.template.exists():
                self._keep_template(self.template)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the process; the folder stays."""
        if self._child is not None:
            self._child.stop()

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of Label Studio's log."""
        return self.child.log_tail(lines)

    def add_annotator(self, email: str, password: str = "") -> str:
        """A personal access token of a new user, who signs up through the invite link as people do."""
        with self._client() as admin:
            admin.headers["Authorization"] = f"Token {self.token}"
            path = httpx.URL(_ok(admin.get("/api/invite")).json()["invite_url"]).raw_path.decode()
        with self._client() as browser:
            form = {"email": email, "password": password or secrets.token_urlsafe(12), "allow_newsletters": "false"}
            _submit(browser, path, form)
            return _new_token(browser)

    def admin_token(self) -> str:
        """A new personal access token of the first user."""
        with self._client() as browser:
            form = {"email": self.credentials.user, "password": self.credentials.password, "persist_session": "on"}
            _submit(browser, "/user/login/", form)
            return _new_token(browser)

    # ---------------------------------------------------------------- folder and process

    @property
    def _log(self) -> Path:
        return self.folder / "label-studio.log"

    def _prepare_folder(self) -> bool:
        """Whether the database is yet to be made; sets ``credentials``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.template and self.template.exists() and not (self.folder / DATABASE).exists():
            shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
        self.credentials = _credentials(self.folder / "credentials.json")
        return not (self.folder / DATABASE).exists()

    def _command(self) -> list[str]:
        who = self.credentials
        return [
            self.binary, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(self.port),
            "--data-dir", str(self.folder), "--username", who.user, "--password", who.password,
            "--user-token", who.token, "--log-level", "WARNING",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        relaxed = {} if self.strict else OPEN_TO_LOCAL | LEGACY_TOKENS
        return clean_environment(LABEL_STUDIO_BASE_DATA_DIR=str(self.folder), **QUIET, **relaxed)

    def _healthy(self) -> bool:
        try:
            with self._client() as client:
                return client.get("/health", timeout=3).is_success
        except httpx.TransportError:
            return False

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def _keep_template(self, template: Path) -> None:
        """Copies the migrated database, Django's key and the credentials aside, all or nothing."""
        part = template.with_name(f"{template.name}.{os.getpid()}.part")
        part.mkdir(parents=True)
        with sqlite3.connect(self.folder / DATABASE) as source, sqlite3.connect(part / DATABASE) as copy:
            source.backup(copy)
        source.close()
        copy.close()
        for name in (".env", "credentials.json"):
            if (self.folder / name).exists():
                shutil.copy2(self.folder / name, part / name)
        try:
            part.rename(template)
        except OSError:  # another process was first
            shutil.rmtree(part)


def _credentials(path: Path) -> Credentials:
    """The ones kept in ``path``, made at random when there are none: digits and letters, safe on a command line."""
    if not path.exists():
        made = Credentials("demo@example.com", secrets.token_hex(8), secrets.token_hex(20))
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(asdict(made), file)
    return Credentials(**json.loads(path.read_text()))


def _submit(browser: httpx.Client, path: str, form: dict[str, str]) -> None:
    """Sends a form of Label Studio's pages with its hidden field; raises StudioError when it is not accepted."""
    page = _ok(browser.get(path))
    hidden = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    fields = form | {"csrfmiddlewaretoken": hidden.group(1) if hidden else ""}
    answer = browser.post(path, data=fields, headers={"Referer": str(page.url)})
    if answer.status_code != 302:
        raise StudioError(f"Label Studio did not accept the form {path.split('?')[0]} (HTTP {answer.status_code}).")


def _new_token(browser: httpx.Client) -> str:
    """A personal access token of the user who is logged in; an existing one is revoked, since there can be only one."""
    browser.headers.update({"X-CSRFToken": browser.cookies.get("csrftoken") or "", "Referer": str(browser.base_url)})
    answer = browser.post("/api/token/", json={})
    if answer.status_code == 409:
        for old in _ok(browser.get("/api/token/")).json():
            _ok(browser.post("/api/token/blacklist/", json={"refresh": old["token"]}))
        answer = browser.post("/api/token/", json={})
    return str(_ok(answer).json()["token"])


def _ok(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise StudioError(f"Label Studio answered {answer.status_code} to {answer.request.url.path}.")
    return answer
