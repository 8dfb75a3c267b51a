"""The headless demo's own measurement: of all test tasks, by one version, whatever the time a call has."""

from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest

from backend.demo.formats import Labelled
from backend.demo.measure import measure_accuracy

WRITING = '<View><Text name="text" value="$text"/><TextArea name="answer" toName="text"/></View>'
CHOOSING = """<View><Text name="text" value="$text"/><Choices name="topic" toName="text"><Choice value="a"/>
<Choice value="b"/></Choices></View>"""


class Server:
    """Says of each text what it says; finishes so many new ones in a call. Another version answers from a call on."""

    def __init__(self, control, kind, *, at_once=1000, never=(), new_from=1000):
        self.control, self.kind, self.at_once, self.never, self.new_from = control, kind, at_once, never, new_from
        self.known, self.calls = set(), 0

    def post(self, path, json):
        assert path == "/predict"
        self.calls += 1
        name = "v2" if self.calls >= self.new_from else "v1"
        fresh = [t["data"]["text"] for t in json["tasks"] if t["data"]["text"] not in {*self.known, *self.never}]
        self.known.update(fresh[: self.at_once])
        results = [{"model_version": name, "result": self._result(t["data"]["text"])} for t in json["tasks"]]
        answer = httpx.Response(200, json={"results": results})
        answer.elapsed = timedelta(seconds=1)
        return answer

    def _result(self, text):
        return [region(self.control, self.kind, text)] if text in self.known else []


def region(control, kind, text):
    return {"from_name": control, "to_name": "text", "type": kind, "value": {VALUE[kind]: [text]}}


VALUE = {"textarea": "text", "choices": "choices"}


def measured(server, config, texts):
    items = [Labelled({"text": text}, [region(server.control, server.kind, text)]) for text in texts]
    seconds = []
    found = measure_accuracy(SimpleNamespace(api=server), "2.1", config, items, seconds)
    assert len(seconds) == server.calls
    return found


def test_texts_that_are_not_ready_are_asked_for_until_they_are():
    server = Server("answer", "textarea", at_once=40)
    assert measured(server, WRITING, [f"text {n}" for n in range(130)]) == ("v1", pytest.approx(1.0))
    assert server.calls == 3 + 1


def test_what_is_never_written_counts_as_wrong():
    server = Server("answer", "textarea", never=("text 1", "text 3"))
    assert measured(server, WRITING, [f"text {n}" for n in range(4)]) == ("v1", pytest.approx(0.5))
    assert server.calls == 2


def test_other_controls_are_asked_once():
    server = Server("topic", "choices", never=("b",))
    assert measured(server, CHOOSING, ["a", "b"]) == ("v1", 0.5)
    assert server.calls == 1


def test_all_is_asked_again_when_another_version_takes_over():
    server = Server("topic", "choices", new_from=2)
    assert measured(server, CHOOSING, ["a"] * 150) == ("v2", 1.0)
    assert server.calls == 4
