"""Simulated annotators: they ask Label Studio for the next task over its API and answer with the gold label.

Each is a user of their own, signed up through the invite link, with a personal access token. People are slower than a
training on the machine the demo may run on; so by default the annotators wait while an answer has not been seen or a
training that is due has not been published, which gives the queue that a team of people would meet.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from backend.demo.feed import Status, StatusFeed, settled
from backend.errors import StudioError

T = TypeVar("T")

ACCESS_SECONDS = 240  # Label Studio's access tokens live 300 s
PATIENCE = 5  # failed calls in a row that one annotator bears


class PersonalToken(httpx.Auth):
    """Sends the short-lived access token that a personal access token (a JWT refresh token) is exchanged for."""

    requires_response_body = True

    def __init__(self, url: str, token: str) -> None:
        self._refresh = httpx.URL(f"{url}/api/token/refresh/")
        self._token, self._access, self._expires = token, "", 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if time.monotonic() > self._expires:
            answer = yield httpx.Request("POST", self._refresh, json={"refresh": self._token})
            if answer.is_success:
                self._access, self._expires = answer.json()["access"], time.monotonic() + ACCESS_SECONDS
        request.headers["Authorization"] = f"Bearer {self._access}"
        yield request


class Person:
    """One user of Label Studio who labels one project."""

    def __init__(self, url: str, token: str, project: int) -> None:
        auth = PersonalToken(url, token)
        self._http = httpx.Client(base_url=url, auth=auth, timeout=120, trust_env=False)
        self._project = project

    def next_task(self) -> int | None:
        """The id of the task Label Studio's label stream gives; None when there is none left. Raises StudioError."""
        query: dict[str, str | int] = {"id": "next_task", "project": self._project}
        answer = self._http.post("/api/dm/actions", params=query, json={"project": str(self._project)})
        if answer.status_code == 404:
            return None
        return int(_ok(answer).json()["id"])

    def submit(self, task: int, result: list[dict[str, Any]]) -> None:
        """Stores an annotation. Raises StudioError."""
        _ok(self._http.post(f"/api/tasks/{task}/annotations/", json={"result": result, "lead_time": 1.0}))

    def close(self) -> None:
        """Gives the connection back."""
        self._http.close()


def _ok(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise StudioError(f"Label Studio answered {answer.status_code} to {answer.request.url.path}.")
    return answer


def choice(label: str) -> list[dict[str, Any]]:
    """The result of an annotation that chooses one label of the demo's config."""
    return [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


@dataclass
class Work:
    """What a team has done so far. Seconds per call; ``unexpected`` are tasks served against the published order."""

    labels: int = 0
    errors: int = 0
    checked: int = 0
    unexpected: list[tuple[int, int]] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"next_task": [], "submit": []})


class Team:
    """Annotators that share a number of labels to give; a thread for each."""

    def __init__(
        self, people: Iterable[Person], gold: Mapping[int, str], labels: int, feed: StatusFeed, *, wait: bool
    ) -> None:
        """``gold`` maps task ids to labels. With ``wait`` they pause for the model and check the order they are served
        in; without, they run as fast as Label Studio answers."""
        self.work = Work()
        self._people, self._gold, self._feed, self._wait = list(people), gold, feed, wait
        self._left = labels
        self._held: dict[Person, int] = {}
        self._answered: set[int] = set()
        self._lock = threading.Lock()  # guards all of the above
        self._turn = threading.Lock()  # one at a time asks for a task, so that what is expected is known
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(person,), name=f"annotator-{at}", daemon=True)
            for at, person in enumerate(self._people, 1)
        ]

    def start(self) -> None:
        """Lets them begin."""
        for thread in self._threads:
            thread.start()

    def busy(self) -> bool:
        """Whether anybody still labels. Raises what ended one of them before time."""
        if self._error is not None:
            raise self._error
        return any(thread.is_alive() for thread in self._threads)

    def held(self) -> set[int]:
        """Tasks that somebody was given and has not answered."""
        with self._lock:
            return set(self._held.values())

    def stop(self) -> None:
        """Ends the work after the current answers."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for person in self._people:
            person.close()

    def _guarded(self, person: Person) -> None:
        try:
            self._label(person)
        except Exception as error:
            self._error = self._error or error
            self._stop.set()

    def _label(self, person: Person) -> None:
        failed = 0
        while not self._stop.is_set() and self._take():
            try:
                task = self._next(person)
                if task is None:
                    return
                self._answer(person, task)
                failed = 0
            except (StudioError, httpx.TransportError):
                # a person would try again: an answer that was stored all the same is not asked for twice
                failed += 1
                self._give_back()
                if failed == PATIENCE:
                    raise
                time.sleep(failed)

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _give_back(self) -> None:
        with self._lock:
            self._left += 1
            self.work.errors += 1

    def _next(self, person: Person) -> int | None:
        if not self._wait:
            return self._timed("next_task", person.next_task)
        with self._turn:
            before = self._expected(person, self._feed.wait(settled))
            task = self._timed("next_task", person.next_task)
            if task is not None:
                self._compare(person, task, before)
                with self._lock:
                    self._held[person] = task
        return task

    def _answer(self, person: Person, task: int) -> None:
        self._timed("submit", lambda: person.submit(task, choice(self._gold[task])))
        with self._lock:
            self.work.labels += 1
            self._answered.add(task)
            self._held.pop(person, None)

    def _expected(self, person: Person, status: Status) -> int | None:
        """The first task of the published order that nobody else holds and nobody has answered."""
        with self._lock:
            taken = {task for other, task in self._held.items() if other is not person} | self._answered
        top = [int(entry["task"]) for entry in status["published"]["top"]]
        return next((task for task in top if task not in taken), None)

    def _compare(self, person: Person, task: int, before: int | None) -> None:
        """Notes whether the task is the one expected before the call or, had the order just changed, after it."""
        if before is None:
            return
        right = task == before or task == self._expected(person, self._feed.wait(settled))
        with self._lock:
            self.work.checked += 1
            if not right:
                self.work.unexpected.append((task, before))

    def _timed(self, name: str, call: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = call()
        with self._lock:
            self.work.seconds[name].append(time.perf_counter() - start)
        return result
