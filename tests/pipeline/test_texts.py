"""Texts that a model writes, in a project: never more than asked for, never while somebody waits."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backend.errors import UserError
from backend.models.generator import Written
from backend.pipeline import due, mirror, publish, retrain, texts
from backend.pipeline.encode import encode_pool
from backend.pipeline.predict import predict
from backend.pipeline.snapshot import measurable, take_snapshot
from backend.pipeline.status import status
from backend.problems.schema import Example, Item, Schema
from backend.registry import versions as records
from backend.studio.schema import parse_schema
from backend.studio.textarea import KIND
from tests.fakes import KEY, FakeStudio

CONFIG = '<View><Text name="text" value="$text"/><TextArea name="answer" toName="text"/></View>'


@dataclass
class Said:
    text: str
    logp: float


class Scribe:
    """A generator that repeats, remembers, and counts what it writes; one that may not write any more does not."""

    template, base_id = "", "scribe"

    def __init__(self) -> None:
        self.memory: dict[str, list[Written]] = {}
        self.written: list[str] = []
        self.seconds: list[float] = []
        self.allowed = True

    def with_draft(self, prompt: str, draft: str) -> str:
        return f"{prompt}\n\n{draft}"

    def within(self, seconds: float) -> "Scribe":
        other = Scribe()
        other.memory, other.written, other.seconds, other.allowed = self.memory, self.written, self.seconds, seconds > 0
        self.seconds.append(seconds)
        return other

    def write(self, prompts):
        for prompt in prompts:
            if self.allowed and prompt not in self.memory:
                self.written.append(prompt)
                self.memory[prompt] = [Written(f"re: {prompt}", -0.1)]
        return [self.memory.get(prompt) for prompt in prompts]


@pytest.fixture
def studio():
    return FakeStudio(config=CONFIG)


@pytest.fixture
def scribe(parts):
    """What writes in these parts."""
    parts.settings = parts.settings.model_copy(update={"text_model": "scribe", "text_suggestions": 6})
    parts.host._settings = parts.settings
    parts.host._generator = Scribe()
    return parts.host._generator


def first_queue(parts):
    mirror.reconcile(parts, KEY)
    version = retrain.cold_start(parts, parts.registry.must_project(KEY)).name
    publish_as(parts, version, "v0")
    return version


def published(parts):
    """The publication of a version where there is a queue already."""
    publish_as(parts, first_queue(parts), "v0.2")


def publish_as(parts, version, name):
    encode_pool(parts, KEY, version, lambda *_: None)
    publish.plan(parts, KEY, version, name)
    publish.push(parts, KEY, version, name)
    publish.switch(parts, KEY, version, name, "test")
    publish.clean_up(parts, KEY, pause_s=0)


def shown(studio):
    """Tasks in the order in which they are served, with what is suggested for each."""
    by_task = {row["task"]: row["result"] for row in studio.rows.values()}
    return {task: [r["value"]["text"] for r in by_task[task]] for task in studio.served()}


def test_a_publication_suggests_for_the_first_tasks_and_writes_for_no_other(parts, studio, scribe):
    published(parts)
    texts = list(shown(studio).items())
    assert len(texts) == parts.settings.window
    assert [text for _, text in texts[:6]] == [[[f"re: {studio.tasks[task]['text']}"]] for task, _ in texts[:6]]
    assert all(not text for _, text in texts[6:])
    assert len(scribe.written) == 6
    assert scribe.seconds  # and all else was only remembered
    assert set(scribe.seconds) == {0}


def test_the_first_queue_does_not_wait_for_texts_and_gets_them_later(parts, studio, scribe):
    first_queue(parts)
    before = studio.served()
    assert scribe.written == []
    assert texts.without_text(parts, KEY) == before[:6]
    assert texts.write_more(parts, KEY) == 6
    assert studio.served() == before
    assert [bool(text) for text in shown(studio).values()] == [True] * 6 + [False] * (len(before) - 6)


def test_tasks_that_come_to_the_top_get_a_text_later_and_keep_their_place(parts, studio, scribe):
    published(parts)
    assert texts.without_text(parts, KEY) == []
    for task in list(studio.served())[:3]:
        given = studio.annotate(task, "x")
        given["result"] = [{"from_name": "answer", "to_name": "text", "type": KIND, "value": {"text": ["mine"]}}]
    mirror.reconcile(parts, KEY)
    publish.resort(parts, KEY)
    before, written = studio.served(), len(scribe.written)
    waiting = texts.without_text(parts, KEY)
    assert waiting == [task for task, text in list(shown(studio).items())[:6] if not text]
    assert waiting
    assert len(scribe.written) == written
    assert texts.write_more(parts, KEY) == len(waiting)
    assert studio.served() == before
    assert all(text for text in list(shown(studio).values())[:6])
    assert len(scribe.written) == written + len(waiting)
    assert texts.without_text(parts, KEY) == []
    assert texts.write_more(parts, KEY) == 0


def test_the_window_is_filled_up_without_waiting_for_texts(parts, studio, scribe):
    published(parts)
    written = len(scribe.written)
    for task in list(studio.served())[:18]:
        studio.annotate(task, None)
    mirror.reconcile(parts, KEY)
    publish.resort(parts, KEY)
    assert len(studio.served()) > 2
    assert len(scribe.written) == written


def test_an_opened_task_gets_a_text_in_the_time_that_there_is(parts, studio, scribe):
    published(parts)
    project = parts.registry.must_project(KEY)
    schema, task = project.asks(), (None, {"text": "unheard of"})
    (said,) = predict(parts, project, schema, [task])
    assert said["result"][0]["value"] == {"text": ["re: unheard of"]}
    assert scribe.seconds[-1] == parts.settings.text_seconds
    parts.settings = parts.settings.model_copy(update={"text_seconds": 0.0})
    blank, again = predict(parts, project, schema, [(None, {"text": "and this"}), task])
    assert blank["result"] == []
    assert again["result"] == said["result"]


def test_without_a_text_model_the_queue_is_kept_and_nothing_is_trained(parts, studio):
    published(parts)
    assert len(studio.served()) == parts.settings.window
    assert not any(shown(studio).values())
    for task in range(1, 31):
        studio.annotate(task, "x")["result"] = [
            {"from_name": "answer", "to_name": "text", "type": KIND, "value": {"text": ["mine"]}}
        ]
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    assert publish.resort(parts, KEY)
    assert due.training(parts, project) is None
    state = status(parts, project)
    assert "TEXT_MODEL is not set" in state["training"]["message"]
    with pytest.raises(UserError, match="TEXT_MODEL"):
        take_snapshot(parts, KEY)
    assert texts.without_text(parts, KEY) == []
    parts.settings = parts.settings.model_copy(update={"text_model": "scribe"})
    assert due.training(parts, project)
    snapshot = json.loads(Path(take_snapshot(parts, KEY)["path"]).read_text())
    assert snapshot["text_model"]["name"] == "scribe"
    assert all(e["targets"] == {"answer": ["mine"]} for e in snapshot["train"])


def test_few_texts_are_measured_and_all_choices(monkeypatch):
    monkeypatch.setattr("backend.pipeline.snapshot.TEXTS_MEASURED", 2)
    text = CONFIG.replace("</View>", '<Choices name="c" toName="text"><Choice value="a"/></Choices></View>')
    schema = parse_schema(text)
    both = [Example(n, Item.of("t"), {"answer": ("x",), "c": 1}) for n in range(4)]
    kept = measurable(schema, [replace(both[0], targets={"c": 1}), *both])
    assert [sorted(e.targets) for e in kept] == [["c"], ["answer", "c"], ["answer", "c"], ["c"], ["c"]]
    alone = [replace(e, targets={"answer": ("x",)}) for e in both]
    assert [e.task_id for e in measurable(Schema(schema.controls[:1]), alone)] == [0, 1]


def test_versions_that_write_do_not_tell_annotators_to_stop(parts, studio, scribe):
    published(parts)
    project = parts.registry.must_project(KEY)
    row = records.versions(parts.registry, KEY)[0]
    version = parts.host.version(KEY, row.name, project.asks())
    from backend.pipeline.evaluation import evaluate

    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    written = len(scribe.written)
    found = evaluate(parts, project.asks(), [], table, version, version)
    assert (found["kappa"], found["uncertainty"]) == (None, None)
    assert len(scribe.written) == written


def test_a_draft_is_rewritten_for_the_annotator_who_asks(parts, studio, scribe):
    published(parts)
    project = parts.registry.must_project(KEY)
    draft = [{"from_name": "answer", "to_name": "text", "type": "textarea", "value": {"text": ["so far"]}}]
    task = (None, {"text": "a new task"})
    (said,) = predict(parts, project, project.asks(), [task], context=draft, above=1.0)
    assert [region["value"]["text"] for region in said["result"]] == [["re: a new task\n\nso far"]]
    scribe.allowed, parts.settings = False, parts.settings.model_copy(update={"text_seconds": 0})
    (late,) = predict(parts, project, project.asks(), [(None, {"text": "another"})], context=draft)
    assert late["result"] == []
