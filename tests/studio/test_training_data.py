"""What annotators leave behind, whatever the control: drafts, skips, kept suggestions, deleted regions, old labels."""

from pathlib import Path
from typing import Any

import pytest

from backend.pipeline.mirror import annotation_of
from backend.studio.codec import decode, read_item
from backend.studio.schema import parse_schema

CONFIGS = Path(__file__).parents[1] / "configs"
TEXT = "Ann lives in Rome"
DATA = {"text": TEXT, "context": TEXT, "question": "Where?", "left": "a", "right": "b", "source": TEXT}


def span(start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}


# config, control, and for each of two answers the regions' values; then a value of a label that is no longer asked for
KINDS = {
    "choices-multiple": ("topic", "choices", [{"choices": ["sport", "food"]}], {"choices": ["tennis"]}),
    "taxonomy": ("topic", "taxonomy", [{"taxonomy": [["sport"]]}], {"taxonomy": [["tennis"]]}),
    "labels": ("entity", "labels", [span(0, 3, "person"), span(13, 17, "place")], span(0, 3, "planet")),
    "question": ("answer", "labels", [span(13, 17, "Answer")], span(13, 17, "Reply")),
    "rating": ("rating", "rating", [{"rating": 4}], {"rating": 99}),
    "number": ("number", "number", [{"number": 25}], {"number": "many"}),
    "pairwise": ("preferred", "pairwise", [{"selected": "left"}], {"selected": "middle"}),
    "textarea": ("answer", "textarea", [{"text": ["a text"]}], {"text": [" "]}),
}


@pytest.fixture(params=KINDS)
def case(request):
    asked = parse_schema((CONFIGS / f"{request.param}.xml").read_text())
    _, kind, values, old = KINDS[request.param]
    (control,) = asked.controls
    about = {"from_name": control.name, "to_name": control.to_name, "type": kind}
    data = {field: DATA.get(field, TEXT) for field in control.fields}
    item = read_item(asked, data)
    return asked, item, [{**about, "value": value} for value in values], {**about, "value": old}


def target(case, *annotations: dict[str, Any]):
    asked, item = case[:2]
    kept = [annotation_of({"id": n, "completed_by": 1, **a}, 7).to_studio() for n, a in enumerate(annotations, 1)]
    found = decode(asked, kept, item)
    return None if found is None else repr(found)


def test_an_answer_teaches_and_a_skip_does_not(case):
    assert target(case, {"result": case[2]}) is not None
    assert target(case, {"result": case[2], "was_cancelled": True}) is None
    assert target(case, {"result": [], "was_cancelled": True}) is None


def test_a_suggestion_that_was_accepted_unchanged_teaches_as_what_was_typed(case):
    shown = {"id": 3, "model_version": "v1", "score": 0.5, "result": case[2]}
    accepted = [{**region, "id": f"r{n}", "origin": "prediction", "score": 0.5} for n, region in enumerate(case[2])]
    assert target(case, {"result": accepted, "prediction": shown}) == target(case, {"result": case[2]})


def test_of_an_answer_that_was_changed_the_newest_form_counts(case):
    first = {"result": case[2], "updated_at": "2026-01-01T00:00:00Z"}
    fewer = {"result": case[2][:1], "updated_at": "2026-01-02T00:00:00Z"}
    assert target(case, fewer, first) == target(case, fewer)


def test_a_draft_is_no_answer(case):
    draft = {"id": 1, "result": case[2], "was_postponed": False}
    assert target(case, {"result": [], "was_cancelled": True, "draft": draft, "drafts": [draft]}) is None


def test_a_label_that_is_asked_for_no_more_teaches_nothing_not_even_that_there_is_none(case):
    assert target(case, {"result": [case[3]]}) is None
