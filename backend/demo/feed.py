"""A project's status as our server tells it, asked for by one thread on behalf of all who wait for something."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from backend.errors import UserError

Status = dict[str, Any]
PATIENCE_S = 60  # a web process that was killed is back by then


class StatusFeed:
    """The newest status, and the way to wait for one with a property; a context manager."""

    def __init__(self, api: httpx.Client, project: int, *, period_s: float = 0.2) -> None:
        self._api, self._path, self._period_s = api, f"/api/projects/{project}/status", period_s
        self._news = threading.Condition()
        self._asked_at = 0.0
        self._status: Status | None = None
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> "StatusFeed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._thread.join()

    def close(self) -> None:
        """Ends the thread; whoever waits gets a UserError."""
        self._stop.set()
        with self._news:
            self._error = self._error or UserError("The demo is ending.")
            self._news.notify_all()

    def wait(self, wanted: Callable[[Status], bool], *, timeout_s: float = 3600) -> Status:
        """The first status asked for after this call of which ``wanted`` is true.

        Raises UserError when there is none within ``timeout_s``, or when the server cannot be asked any more.
        """
        called_at = time.monotonic()
        with self._news:
            while True:
                if self._error is not None:
                    raise self._error
                if self._status is not None and self._asked_at >= called_at and wanted(self._status):
                    return self._status
                if not self._news.wait(max(0.0, called_at + timeout_s - time.monotonic())):
                    raise UserError(f"What the demo waits for did not happen within {timeout_s:.0f} s.", self._last())

    def next(self) -> Status:
        """A status asked for after this call."""
        return self.wait(lambda _: True)

    def _last(self) -> str:
        if self._status is None:
            return "Our server does not know the project."
        return (
            f"The last status was { ({k: v for k, v in self._status.items() if k not in ('published', 'versions')}) }."
        )

    def _run(self) -> None:
        last_answer = time.monotonic()
        while not self._stop.wait(self._period_s):
            asked_at = time.monotonic()
            try:
                answer = self._api.get(self._path)
                status = None if answer.status_code == 404 else answer.raise_for_status().json()
                last_answer = time.monotonic()
            except (httpx.HTTPError, ValueError) as error:
                if time.monotonic() - last_answer > PATIENCE_S:
                    self._tell(asked_at, None, UserError(f"Our server gives no status: {error}."))
                    return
                continue
            self._tell(asked_at, status, None)

    def _tell(self, asked_at: float, status: Status | None, error: Exception | None) -> None:
        with self._news:
            self._asked_at, self._status = asked_at, status
            self._error = self._error or error
            self._news.notify_all()


def settled(status: Status) -> bool:
    """Whether nothing is on its way: every answer seen, no training due or running, a queue published."""
    return bool(status["idle"])


def top_of(status: Status) -> list[int]:
    """Ids of the tasks at the top of the published order, best first."""
    return [int(entry["task"]) for entry in status["published"]["top"]]
