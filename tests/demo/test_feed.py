"""Whoever waits gets a status that was asked for after the call, or hears why there is none."""

import threading

import httpx
import pytest

from backend.demo.feed import StatusFeed
from backend.errors import UserError


class Server:
    """Answers status requests with a counter."""

    def __init__(self) -> None:
        self.count = 0
        self.known = True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/projects/7/status"
        self.count += 1
        return httpx.Response(200, json={"count": self.count}) if self.known else httpx.Response(404)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def feed(server):
    api = httpx.Client(transport=httpx.MockTransport(server), base_url="http://server")
    with api, StatusFeed(api, 7, period_s=0.01) as feed:
        yield feed


def test_a_status_is_never_older_than_the_call(server, feed):
    for _ in range(20):
        seen = server.count
        assert feed.next()["count"] > seen


def test_many_wait_at_once_and_each_gets_what_it_waits_for(feed):
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append((n, feed.wait(lambda s: s["count"] >= n)["count"])))
        for n in (5, 15, 25)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 3
    assert all(count >= n for n, count in found)


def test_a_project_that_is_not_known_yet_is_waited_for(server, feed):
    server.known = False
    with pytest.raises(UserError, match=r"did not happen within 0 s|does not know"):
        feed.wait(lambda _: True, timeout_s=0.1)
    server.known = True
    assert feed.next()["count"] > 0


def test_closing_ends_every_wait(feed):
    errors = []

    def wait():
        try:
            feed.wait(lambda _: False)
        except UserError as error:
            errors.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    feed.close()
    thread.join(5)
    assert errors == ["The demo is ending."]
