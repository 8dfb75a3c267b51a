"""Simulated annotators: they ask Label Studio for the next task over its API and answer with the gold label.

Each is a user of their own, signed up through the invite link, with a personal access token. People are slower than a
training on the machine the demo may run on; so by default the annotators wait while an answer has not been seen or a
training that is due has not been published, which gives the queue that a team of people would meet.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backend.demo.feed import Status, StatusFeed, settled
from backend.errors import StudioError
from backend.studio.client import Studio

T = TypeVar("T")

PATIENCE = 5  # failed calls in a row that one annotator bears


def choice(label: str) -> list[dict[str, Any]]:
    """The result of an annotation that chooses one label of the demo's config."""
    return [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


def pull(person: Studio, project: int) -> int | None:
    """The task that Label Studio's label stream gives this person; None when there is none left."""
    task = person.next_task(project)
    return int(task["id"]) if task else None


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
        self,
        people: Iterable[Studio],
        project: int,
        gold: Mapping[int, str],
        labels: int,
        feed: StatusFeed,
        *,
        wait: bool,
    ) -> None:
        """``gold`` maps task ids to labels. With ``wait`` they pause for the model and check the order they are served
        in; without, they run as fast as Label Studio answers."""
        self.work = Work()
        self._people, self._project, self._gold = list(people), project, gold
        self._feed, self._wait = feed, wait
        self._left = labels
        self._held: dict[Studio, int] = {}
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

    def _guarded(self, person: Studio) -> None:
        try:
            self._label(person)
        except Exception as error:
            self._error = self._error or error
            self._stop.set()

    def _label(self, person: Studio) -> None:
        failed = 0
        while not self._stop.is_set() and self._take():
            try:
                task = self._next(person)
                if task is None:
                    return
                self._answer(person, task)
                failed = 0
            except StudioError:
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

    def _next(self, person: Studio) -> int | None:
        if not self._wait:
            return self._timed("next_task", lambda: pull(person, self._project))
        with self._turn:
            before = self._expected(person, self._feed.wait(settled))
            task = self._timed("next_task", lambda: pull(person, self._project))
            if task is not None:
                self._compare(person, task, before)
                with self._lock:
                    self._held[person] = task
        return task

    def _answer(self, person: Studio, task: int) -> None:
        self._timed("submit", lambda: person.annotate(task, choice(self._gold[task])))
        with self._lock:
            self.work.labels += 1
            self._answered.add(task)
            self._held.pop(person, None)

    def _expected(self, person: Studio, status: Status) -> int | None:
        """The first task of the published order that nobody else holds and nobody has answered."""
        with self._lock:
            taken = {task for other, task in self._held.items() if other is not person} | self._answered
        top = [int(entry["task"]) for entry in status["published"]["top"]]
        return next((task for task in top if task not in taken), None)

    def _compare(self, person: Studio, task: int, before: int | None) -> None:
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
