"""Interactive annotation: a smart selection of spans goes through ``/predict`` with what was drawn as its context."""

from pathlib import Path

import pytest

from backend.models.encoder import Encoder
from backend.models.spec import ModelSpec
from backend.problems.version import cold_version
from tests.models.tiny import save_tiny_bert

CONFIG = (Path(__file__).parents[1] / "configs" / "labels.xml").read_text()
TEXT = "the man in the city, a man"
DRAWN = {
    "from_name": "entity",
    "to_name": "text",
    "type": "labels",
    "value": {"start": 5, "end": 6, "labels": ["person"]},
}


@pytest.fixture
def ask(client, parts, monkeypatch, tmp_path):
    encoder = Encoder.load(ModelSpec(str(save_tiny_bert(tmp_path / "tiny")), device="cpu", threads=1))
    monkeypatch.setattr(parts.host, "cold", lambda schema: cold_version(encoder, schema))

    def post(*tasks: str, result=None):
        body = {"tasks": [{"id": n, "data": {"text": text}} for n, text in enumerate(tasks)], "label_config": CONFIG}
        answer = client.post("/predict", json={**body, "params": {"context": {"result": result}}})
        assert answer.status_code == 200, answer.text
        return [[(r["value"]["text"], r["value"]["start"]) for r in p["result"]] for p in answer.json()["results"]]

    return post


def test_a_selection_becomes_whole_words_and_is_found_elsewhere(ask):
    assert ask(TEXT, result=[DRAWN]) == [[("man", 4), ("man", 23)]]


@pytest.mark.parametrize("result", [None, [], "no", [3], [{}], [{**DRAWN, "value": {"start": 99, "end": 100}}]])
def test_without_a_place_in_the_text_it_is_a_prediction_like_any_other(ask, result):
    assert ask(TEXT, result=result) == [[]]


def test_of_several_tasks_none_is_the_one_that_was_drawn_in(ask):
    assert ask(TEXT, TEXT, result=[DRAWN]) == [[], []]


def test_a_task_without_text_has_no_selection(ask):
    assert ask(" ", result=[DRAWN]) == [[]]
