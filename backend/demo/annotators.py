"""Simulated annotators: they ask Label Studio for the next task over its API and answer with the gold label.

Each is a user of their own, signed up through the invite link, with a personal access token. People are slower than a
training on the machine the demo may run on; so by default the annotators wait while an answer has not been seen or a
training that is due has not been published, which gives the queue that a team of people would meet.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backend.demo.feed import Status, StatusFeed, settled, top_of
from backend.errors import StudioError
from backend.studio.client import Studio

T = TypeVar("T")

PATIENCE = 5  # failed calls in a row that one annotator bears


def pull(person: Studio, project: int) -> int | None:
    """The task that Label Studio's label stream gives this person; None when there is none left."""
    task = person.next_task(project)
    return int(task["id"]) if task else None


@dataclass
class Work:
    """What a team has done so far. Seconds per call.

    Of ``checked`` tasks ``first`` were exactly the first free one of the published order; the others came while the top
    was being re-sorted. ``outside`` are those without a prediction of the published version: outside its window.
    """

    labels: int = 0
    errors: int = 0
    checked: int = 0
    first: int = 0
    outside: list[int] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"next_task": [], "submit": []})


class Team:
    """Annotators that share a number of labels to give; a thread for each."""

    def __init__(
        self,
        people: Iterable[Studio],
        project: int,
        gold: Mapping[int, list[dict[str, Any]]],
        labels: int,
        feed: StatusFeed,
        *,
        wait: bool,
    ) -> None:
        """``gold`` maps task ids to results. With ``wait`` they pause for the model and check the order they are served
        in; without, they run as fast as Label Studio answers."""
        self.work = Work()
        self._people, self._project, self._gold = list(people), project, gold
        self._feed, self._wait = feed, wait
        self._left = labels
        self._held: dict[Studio, int] = {}
        self._answered: set[int] = set()
        self._at_work: set[Studio] = set()
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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody asks for a task meanwhile, and nobody is about to answer one."""
        with self._turn:
            while self._at_work and self._error is None:
                time.sleep(0.02)
            yield

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
                if not self._one(person):
                    return
                failed = 0
            except StudioError:
                # a person would try again: an answer that was stored all the same is not asked for twice
                failed += 1
                self._give_back()
                if failed == PATIENCE:
                    raise
                time.sleep(failed)

    def _one(self, person: Studio) -> bool:
        """Whether there was a task; it is answered then."""
        try:
            task = self._next(person)
            if task is not None:
                self._answer(person, task)
        finally:
            with self._lock:
                self._at_work.discard(person)
        return task is not None

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _give_back(self) -> None:
        with self._lock:
            self._left += 1
            self.work.errors += 1

    def _next(self, person: Studio) -> int | None:
        with self._turn:
            if self._wait:
                status = self._feed.wait(settled)
            with self._lock:
                self._at_work.add(person)
            if self._wait:
                return self._next_checked(person, status)
        return self._timed("next_task", lambda: pull(person, self._project))

    def _next_checked(self, person: Studio, before: Status) -> int | None:
        free = self._free(person, before)
        task = self._timed("next_task", lambda: pull(person, self._project))
        if task is None or not free:
            return task
        first = task == free[0]
        inside = task in free or self._in_window(person, task)
        with self._lock:
            self._held[person] = task
            self.work.checked += 1
            self.work.first += first
            if not inside:
                self.work.outside.append(task)
        return task

    def _answer(self, person: Studio, task: int) -> None:
        self._timed("submit", lambda: person.annotate(task, self._gold[task]))
        with self._lock:
            self.work.labels += 1
            self._answered.add(task)
            self._held.pop(person, None)

    def _in_window(self, person: Studio, task: int) -> bool:
        """Whether Label Studio holds a prediction of the published version for the task."""
        published = self._feed.next()["published"]["name"]
        return bool(person.predictions(self._project, [task], version=published))

    def _free(self, person: Studio, status: Status) -> list[int]:
        """The top of the published order without the tasks that others hold or that have been answered."""
        with self._lock:
            taken = {task for other, task in self._held.items() if other is not person} | self._answered
        return [task for task in top_of(status) if task not in taken]

    def _timed(self, name: str, call: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = call()
        with self._lock:
            self.work.seconds[name].append(time.perf_counter() - start)
        return result
