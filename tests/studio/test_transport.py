"""Failures become sentences by cause, transient ones are tried again, and nothing is ever pushed twice."""

import json
import pickle
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from backend.errors import NotFound, StudioError
from backend.studio import transport
from backend.studio.client import Studio
from tests.studio.servers import Request, Server, serve

KEY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQ4MDAwMDAwMDAsInRva2VuX3R5cGUiOiJyZWZyZXNoIn0.c2ln"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Something that answers in Label Studio's place, and no waiting between tries."""
    monkeypatch.setattr(transport, "RETRY_AFTER_S", (0, 0, 0))
    with serve(lambda _: (200, {})) as server:
        yield server


def failure(studio: Studio, call: str = "project") -> StudioError | NotFound:
    with pytest.raises((StudioError, NotFound)) as caught:
        studio.push_predictions(1, [{"task": 1}]) if call == "push" else studio.project(1)
    assert KEY not in caught.value.sentence()
    return caught.value


def failing(times: int, status: int, body: Any = "busy") -> Any:
    left = [times]

    def respond(_: Request) -> tuple[int, Any]:
        left[0] -= 1
        return (status, body) if left[0] >= 0 else (200, {"id": 1, "created": 1})

    return respond


@pytest.mark.parametrize(
    ("status", "body"), [(503, "x"), (502, "x"), (429, "x"), (500, {"detail": "database is locked"})]
)
def test_reading_survives_what_passes(fake: Server, status: int, body: Any) -> None:
    fake.answer = failing(3, status, body)
    assert Studio(fake.url, KEY).project(1)["id"] == 1
    assert len(fake.requests) == 4


def test_a_refusal_outlives_the_process_that_met_it(fake: Server) -> None:
    """The job engine keeps the errors of steps."""
    fake.answer = lambda _: (400, {"detail": "no such thing"})
    error = failure(Studio(fake.url, KEY))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.hint, again.answered) == (str(error), error.hint, 400)


def test_a_proxy_that_finds_nothing_is_not_label_studio(fake: Server) -> None:
    """While Label Studio is started anew, say: its projects are not gone."""
    fake.answer = lambda _: (404, "404 page not found")
    fake.kind = "text/plain"
    error = failure(Studio(fake.url, KEY))
    assert isinstance(error, StudioError)
    assert not isinstance(error, NotFound)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_push_is_never_repeated(fake: Server, status: int) -> None:
    fake.answer = failing(1, status, {"detail": "database is locked"})
    failure(Studio(fake.url, KEY), "push")
    assert len(fake.requests) == 1


def test_a_lasting_failure_ends_after_four_tries(fake: Server) -> None:
    fake.answer = failing(99, 503)
    assert "503" in str(failure(Studio(fake.url, KEY)))
    assert len(fake.requests) == 4


@pytest.mark.parametrize(
    ("status", "key", "hint"),
    [
        (401, KEY, "legacy tokens"),
        (401, PERSONAL, "expired"),
        (403, KEY, "owner"),
        (404, KEY, "exist"),
        (500, KEY, "log"),
    ],
)
def test_each_cause_has_its_hint_and_is_asked_once(fake: Server, status: int, key: str, hint: str) -> None:
    fake.answer = lambda r: (200, {"access": PERSONAL}) if "token" in r.path else (status, {"detail": f"no {key}"})
    error = failure(Studio(fake.url, key))
    assert hint in error.hint
    assert key not in error.sentence()
    assert isinstance(error, NotFound) == (status == 404)
    # an access token that looks valid here may have ended, so that one is made anew
    assert sum("projects" in request.path for request in fake.requests) == 1 + ((status, key) == (401, PERSONAL))


def test_a_personal_token_is_exchanged_below_the_path_of_label_studio(fake: Server) -> None:
    fake.answer = lambda r: (200, {"access": PERSONAL} if "token" in r.path else {"id": 1})
    studio = Studio(f"{fake.url}/under/a/path/", PERSONAL)
    studio.project(1)
    assert [r.path for r in fake.requests] == ["/under/a/path/api/token/refresh/", "/under/a/path/api/projects/1/"]
    assert fake.requests[1].headers["Authorization"] == f"Bearer {PERSONAL}"
    assert studio.personal_token


def renewing(first: tuple[int, Any], times: int) -> Any:
    """``first`` for the first renewals of the access token, then all is well."""
    left = [times]

    def respond(request: Request) -> tuple[int, Any]:
        if "token" not in request.path:
            return 200, {"id": 1, "created": 1}
        left[0] -= 1
        return first if left[0] >= 0 else (200, {"access": PERSONAL})

    return respond


TRANSIENT = [(502, "<html>"), (503, {"detail": "busy"}), (429, {}), (500, {"detail": "database is locked"})]


@pytest.mark.parametrize("call", ["project", "push"])
@pytest.mark.parametrize("answer", TRANSIENT)
def test_the_renewal_of_an_access_token_survives_what_passes(fake: Server, answer: Any, call: str) -> None:
    """It is due every five minutes; a push too has not begun when it fails."""
    fake.answer = renewing(answer, 3)
    studio = Studio(fake.url, PERSONAL)
    assert studio.push_predictions(1, [{"task": 1}]) == 1 if call == "push" else studio.project(1)["id"] == 1
    assert len(fake.requests) == 5


@pytest.mark.parametrize(("breaks", "requests"), [("token", 2), ("predictions", 1)])
def test_a_push_is_repeated_only_where_it_was_the_renewal_whose_connection_broke(
    fake: Server, monkeypatch: pytest.MonkeyPatch, breaks: str, requests: int
) -> None:
    ask, broken = httpx.HTTPTransport.handle_request, []

    def once(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if breaks in request.url.path and not broken:
            broken.append(request)
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return ask(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", once)
    fake.answer = renewing((200, {}), 0)
    studio = Studio(fake.url, PERSONAL)
    if breaks == "token":
        assert studio.push_predictions(1, [{"task": 1}]) == 1
    else:
        assert "cannot be reached" in str(failure(studio, "push"))
    assert len(broken) == 1
    assert len(fake.requests) == requests


@pytest.mark.parametrize("answer", [*TRANSIENT, (500, "<html>")])
def test_a_renewal_that_fails_for_good_is_told_as_what_it_is(fake: Server, answer: Any) -> None:
    fake.answer = renewing(answer, 99)
    error = failure(Studio(fake.url, PERSONAL))
    assert f"Label Studio answered {answer[0]} to POST api/token/refresh/" in str(error)
    assert "LABEL_STUDIO_URL" not in error.hint
    assert len(fake.requests) == (1 if answer[1] == "<html>" and answer[0] == 500 else 4)


@pytest.mark.parametrize("answer", [(404, {"error": "not found"}), (404, "<html>"), (200, "<html>")])
def test_who_renews_no_tokens_is_not_label_studio(fake: Server, answer: Any) -> None:
    """And nothing that was asked for is gone, which a 404 of Label Studio's would say."""
    fake.answer = renewing(answer, 99)
    error = failure(Studio(fake.url, PERSONAL))
    assert "is not Label Studio" in str(error)
    assert not isinstance(error, NotFound)


@pytest.mark.parametrize("call", ["project", "push"])
def test_an_access_token_that_ended_before_its_time_is_made_anew(fake: Server, call: str) -> None:
    """Clocks differ, or the call waited: it looks valid here. Who is refused so has done nothing yet."""
    given = failing(1, 401, {"detail": "Given token not valid for any token type"})
    fake.answer = lambda r: (200, {"access": PERSONAL}) if "token" in r.path else given(r)
    studio = Studio(fake.url, PERSONAL)
    assert studio.push_predictions(1, [{"task": 1}]) == 1 if call == "push" else studio.project(1)["id"] == 1
    assert ["token" in request.path for request in fake.requests] == [True, False, True, False]


@pytest.mark.parametrize("body", ["<html>Log in</html>", "", "{"])
def test_what_is_not_label_studio_is_said(fake: Server, body: str) -> None:
    fake.answer = lambda _: (200, body)
    assert "Label Studio" in str(failure(Studio(fake.url, KEY)))
    assert "Label Studio" in str(failure(Studio(fake.url, PERSONAL)))


def test_an_error_page_is_not_repeated_to_people(fake: Server) -> None:
    fake.answer = lambda _: (500, "<html><pre>Traceback (most recent call last)</pre></html>")
    assert "Traceback" not in failure(Studio(fake.url, KEY)).sentence()


def test_no_server_and_no_key_say_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RETRY_AFTER_S", (0,))
    nobody = failure(Studio("http://user:hidden@127.0.0.1:9", KEY))
    assert "LABEL_STUDIO_URL" in nobody.hint
    assert "hidden" not in nobody.sentence()
    assert "LABEL_STUDIO_API_KEY" in failure(Studio("http://127.0.0.1:9", " ")).hint


@pytest.mark.parametrize("key", [KEY, PERSONAL])
@pytest.mark.parametrize("call", ["project", "push"])
def test_a_redirect_is_not_followed_but_told(fake: Server, call: str, key: str) -> None:
    """On the way a POST would become a GET, and do nothing."""
    fake.answer = lambda r: (301, f"https://studio.example{r.path}?next=x") if r.path[:3] != "/x/" else (200, {"id": 1})
    error = failure(Studio(fake.url, key), call)
    assert "https://studio.example/api/" in str(error)
    assert "LABEL_STUDIO_URL" in error.hint
    assert len(fake.requests) == 1


def test_a_key_from_a_file_may_end_in_a_line_break(fake: Server) -> None:
    fake.answer = lambda _: (200, {"id": 1})
    Studio(fake.url, f"{KEY}\n").project(1)
    assert fake.requests[0].headers["Authorization"] == f"Token {KEY}"


@pytest.mark.parametrize("key", ["…", "abc\ndef"])
def test_a_key_that_cannot_be_one_is_not_sent_or_shown(fake: Server, key: str) -> None:
    error = failure(Studio(fake.url, key))
    assert "LABEL_STUDIO_API_KEY" in error.hint
    assert key not in error.sentence()
    assert not fake.requests


def test_dropped_predictions_are_not_passed_over(fake: Server) -> None:
    fake.answer = lambda _: (201, {"created": 1})
    with pytest.raises(StudioError, match="1 of 2"):
        Studio(fake.url, KEY).push_predictions(1, [{"task": 1}, {"task": 2}])


@pytest.mark.parametrize("told", [True, False])
def test_all_tasks_are_listed_where_label_studio_cuts_its_pages(fake: Server, told: bool) -> None:
    """With TASK_API_PAGE_SIZE_MAX it sends fewer than were asked for, and says so only by the total."""

    def respond(request: Request) -> tuple[int, Any]:
        query = json.loads(parse_qs(urlsplit(request.path).query)["query"][0])
        (last,) = [f["value"] for f in query["filters"]["items"] if f["filter"] == "filter:tasks:id"]
        left = [{"id": number} for number in range(last + 1, 251)]
        return 200, {"tasks": left[:100], **({"total": len(left)} if told else {})}

    fake.answer = respond
    assert [task["id"] for task in Studio(fake.url, KEY).all_tasks(1)] == [*range(1, 251)]
    assert len(fake.requests) == (3 if told else 4)


@pytest.mark.parametrize(("n", "told", "calls"), [(16, True, 2), (30, True, 3), (30, False, 4), (10, False, 1)])
def test_the_head_of_the_queue_is_whole_where_label_studio_cuts_its_pages(
    fake: Server, n: int, told: bool, calls: int
) -> None:
    scored = [{"id": number, "predictions_score": number / 100} for number in range(1, 26)]

    def respond(request: Request) -> tuple[int, Any]:
        first = 10 * (int(parse_qs(urlsplit(request.path).query)["page"][0]) - 1)
        return 200, {"tasks": scored[first : first + 10], **({"total": len(scored)} if told else {})}

    fake.answer = respond
    assert [task for task, _ in Studio(fake.url, KEY).queue(1, n)] == [*range(1, min(n, 25) + 1)]
    assert len(fake.requests) == calls


def test_an_address_with_a_path_too_many_is_said(fake: Server) -> None:
    """Copied from the browser: Label Studio has a page that says 404."""
    fake.answer, fake.kind = lambda _: (404, "<html>"), "text/html"
    assert "LABEL_STUDIO_URL" in failure(Studio(f"{fake.url}/projects/1", KEY)).hint


def test_a_limit_of_calls_is_said(fake: Server) -> None:
    fake.answer = lambda _: (429, {"detail": "Request was throttled."})
    assert "later" in failure(Studio(fake.url, KEY)).hint


def test_a_certificate_that_is_not_trusted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")

    monkeypatch.setattr(transport, "RETRY_AFTER_S", ())
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)
    assert "SSL_CERT_FILE" in failure(Studio("https://127.0.0.1:9", KEY)).hint
