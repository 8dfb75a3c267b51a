"""Simulated annotators give exactly the labels asked for, each the gold one, and notice an order that is not ours."""

import threading

import pytest

from backend.demo.annotators import PATIENCE, Team
from backend.demo.formats import Labelled
from backend.errors import StudioError

OUTSIDE = 30  # the task that no publication holds
GOLD = {n: Labelled.choice(str(n), "even" if n % 2 == 0 else "odd").result for n in range(1, 31)}


class Queue:
    """A Label Studio that serves the tasks in ``order`` to whoever asks; each is held by one."""

    def __init__(self, order):
        self.order, self.answers, self.lock = list(order), {}, threading.Lock()

    def user(self, failures=0):
        return User(self, failures)

    def status(self):
        with self.lock:
            top = [{"task": task} for task in sorted(GOLD) if task not in self.answers][:10]
        return {"idle": True, "published": {"name": "v3", "top": top}}


class User:
    def __init__(self, queue, failures):
        self.queue, self.failures, self.holds, self.closed = queue, failures, None, False

    def next_task(self, project):
        assert project == 7
        with self.queue.lock:
            if self.holds is None and self.queue.order:
                self.holds = self.queue.order.pop(0)
            return {"id": self.holds} if self.holds is not None else None

    def predictions(self, project, tasks, *, version):
        assert (project, version) == (7, "v3")
        return [{"task": task} for task in tasks if task != OUTSIDE]

    def annotate(self, task, result):
        if self.failures > 0:
            self.failures -= 1
            raise StudioError("busy")
        with self.queue.lock:
            self.queue.answers[task] = result
        self.holds = None

    def close(self):
        self.closed = True


class Feed:
    def next(self):
        return self.queue.status()

    def __init__(self, queue):
        self.queue = queue

    def wait(self, wanted, **_):
        status = self.queue.status()
        assert wanted(status)
        return status


def run(queue, users, labels, *, wait=True):
    team = Team(users, 7, GOLD, labels, Feed(queue), wait=wait)
    team.start()
    try:
        while team.busy():
            threading.Event().wait(0.01)
    finally:
        team.stop()
    return team.work


@pytest.mark.parametrize("wait", [True, False])
def test_a_team_gives_exactly_the_labels_asked_for_and_each_is_right(wait):
    queue = Queue(sorted(GOLD))
    users = [queue.user(), queue.user(), queue.user()]
    work = run(queue, users, 20, wait=wait)
    assert work.labels == len(queue.answers) == 20
    assert all(answer == GOLD[task] for task, answer in queue.answers.items())
    assert work.outside == []
    assert work.checked == work.first == (20 if wait else 0)
    assert all(user.closed for user in users)


def test_a_team_ends_when_no_task_is_left():
    queue = Queue(sorted(GOLD))
    assert run(queue, [queue.user(), queue.user()], 1000).labels == len(GOLD)


def test_tasks_against_the_published_order_are_noticed():
    queue = Queue([1, 3, 29, OUTSIDE, 2, 4])
    work = run(queue, [queue.user()], 6)
    assert work.checked == 6
    assert work.first == 3  # 3 came before 2, and two from far behind before all
    assert work.outside == [OUTSIDE]


def test_nobody_asks_or_answers_during_a_pause():
    queue = Queue(sorted(GOLD))
    users = [queue.user(), queue.user()]
    team = Team(users, 7, GOLD, 30, Feed(queue), wait=True)
    team.start()
    for _ in range(5):
        with team.paused():
            before = len(queue.answers)
            assert team.held() == set()
            threading.Event().wait(0.02)
            assert len(queue.answers) == before
    while team.busy():
        threading.Event().wait(0.01)
    team.stop()
    assert len(queue.answers) == 30


def test_an_answer_that_failed_is_given_again_and_counted():
    queue = Queue(sorted(GOLD))
    work = run(queue, [queue.user(failures=1)], 3)
    assert work.labels == len(queue.answers) == 3
    assert work.errors == 1


def test_who_fails_all_the_time_ends_the_run_with_the_reason(monkeypatch):
    monkeypatch.setattr("backend.demo.annotators.time.sleep", lambda _: None)
    queue = Queue(sorted(GOLD))
    with pytest.raises(StudioError, match="busy"):
        run(queue, [queue.user(failures=PATIENCE)], 3)
