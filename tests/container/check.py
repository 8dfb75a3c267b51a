"""Are the containers a working system? Exit code 0 if so; each finding is printed.

    python tests/container/check.py --up   builds and starts docker-compose.yml first, and removes all of it at the end
    python tests/container/check.py        examines what runs, as `docker compose` finds it (COMPOSE_FILE and so on)

Not merely "the containers are up": a project is made through Label Studio's API and connected by the one-shot service;
Label Studio must call the backend connected, hold predictions of ours, serve the task with the lowest score, and an
answer given in Label Studio must arrive. Standard library only.
"""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
CONFIG = (ROOT / "label_config.xml").read_text(encoding="utf-8")
TEXTS = {
    "business": ["The bank raised its profit forecast", "Shares fell after the merger", "Oil prices hit a new high"],
    "sports": ["The striker scored twice in the cup final", "She won the marathon", "The coach named his squad"],
    "tech": ["A new phone with a faster chip", "The browser got a security update", "Broadband reaches the village"],
    "politics": ["The minister lost the vote", "Parliament debates the budget", "The party chose a leader"],
    "entertainment": ["The film won three awards", "The band tours in May", "A novel becomes a series"],
}
PATIENCE_S = 600  # the base model may have to be fetched first


def compose(*arguments: str) -> str:
    """What ``docker compose`` prints; raises CalledProcessError."""
    print(f"+ docker compose {' '.join(arguments)}", flush=True)
    return subprocess.run(["docker", "compose", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


class Site:
    """Label Studio and our server as the compose file publishes them."""

    def __init__(self) -> None:
        services = json.loads(compose("config", "--format", "json"))["services"]
        self.studio = f"http://127.0.0.1:{_port(services, 'label-studio')}"
        self.ours = f"http://127.0.0.1:{_port(services, 'ls-active')}"
        self.token = services["label-studio"]["environment"]["LABEL_STUDIO_USER_TOKEN"]

    def call(self, method: str, url: str, body: Any = None) -> Any:
        """The answer's JSON; raises HTTPError for 4xx and 5xx."""
        headers = {"Content-Type": "application/json"}
        if url.startswith(self.studio):
            headers["Authorization"] = f"Token {self.token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def ask_studio(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """A call to Label Studio's API."""
        return self.call(method, f"{self.studio}/api/{path}?{urllib.parse.urlencode(query)}", body)


def _port(services: dict[str, Any], name: str) -> int:
    service = services.get(name) or services[f"{name}-gpu"]
    return int(service["ports"][0]["published"])


def await_true(what: str, get: Callable[[], T]) -> T:
    """The first true answer of ``get``; exits with ``what`` when there is none in time."""
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE_S:
        found = get()
        if found:
            print(f"ok    {what} ({time.monotonic() - start:.0f} s)", flush=True)
            return found
        time.sleep(1)
    raise SystemExit(f"FAIL  {what}: not within {PATIENCE_S} s")


def check(condition: bool, what: str) -> None:
    """Prints ``what``; exits when it is not so."""
    if not condition:
        raise SystemExit(f"FAIL  {what}")
    print(f"ok    {what}", flush=True)


def examine(site: Site) -> None:
    """Makes a project, connects it, and follows a prediction and an answer through both systems."""
    project = site.ask_studio("POST", "projects/", {"title": "Container check", "label_config": CONFIG})["id"]
    tasks = [{"data": {"text": text}} for texts in TEXTS.values() for text in texts]
    site.ask_studio("POST", f"projects/{project}/import", tasks)
    address = "http://ls-active.internal:9090"
    print(compose("run", "--rm", "-T", "connect", "connect", str(project), "--backend-url", address))
    (backend,) = site.ask_studio("GET", "ml", project=project)
    check(backend["state"] == "CO", f"Label Studio calls the backend {backend['readable_state']}")

    def stored() -> list[dict[str, Any]]:
        version = site.ask_studio("GET", f"projects/{project}/")["model_version"]
        rows: list[dict[str, Any]] = site.ask_studio("GET", "predictions/", project=project)
        return [row for row in rows if row["model_version"] == version]

    rows = await_true("predictions of the project's version are stored in Label Studio", stored)
    shown = {row["result"][0]["value"]["choices"][0] for row in rows if row["result"]}  # the others are left blank
    check(shown <= set(TEXTS), "they hold labels of the config")
    first = min(rows, key=lambda row: row["score"])["task"]
    served = site.ask_studio("POST", "dm/actions", {"project": str(project)}, id="next_task", project=project)["id"]
    check(served == first, "Label Studio serves the task with the lowest score")
    answer = [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["tech"]}}]
    site.ask_studio("POST", f"tasks/{served}/annotations/", {"result": answer})
    status = f"{site.ours}/api/projects/{project}/status"
    await_true("an answer given in Label Studio has arrived", lambda: site.call("GET", status)["labels"] == 1)


def main() -> None:
    """Examines; with ``--up`` between a start and an end of everything."""
    if "--up" not in sys.argv[1:]:
        examine(Site())
        return
    try:
        compose("up", "--build", "--wait", "--quiet-pull")
        examine(Site())
    except (SystemExit, subprocess.CalledProcessError):
        subprocess.run(["docker", "compose", "logs", "--tail", "60"], check=False)
        raise
    finally:
        compose("down", "--volumes", "--timeout", "60")


if __name__ == "__main__":
    main()
