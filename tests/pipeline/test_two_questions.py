"""A project with two questions about different fields, from the mirror to a published queue."""

import pytest

from backend.pipeline import mirror, publish, retrain
from backend.pipeline.encode import encode_pool
from backend.pipeline.pool import read_labels
from backend.pipeline.predict import predict
from backend.pipeline.snapshot import split
from backend.problems.examples import example_from, example_json
from backend.problems.schema import Item
from tests.fakes import KEY, FakeStudio, text_of

CONFIG = """<View><Text name="text" value="$text"/><Text name="title" value="$title"/>
<Choices name="topic" toName="text"><Choice value="sport"/><Choice value="food"/><Choice value="music"/></Choices>
<Choices name="mood" toName="title"><Choice value="glad"/><Choice value="sad"/></Choices></View>"""


@pytest.fixture
def studio():
    fake = FakeStudio(config=CONFIG)
    fake.tasks = {n: {**data, "title": f"glad {n}" if n % 2 else f"sad {n}"} for n, data in fake.tasks.items()}
    del fake.tasks[7]["title"]
    return fake


def answer(studio, task, topic, mood):
    given = studio.annotate(task, topic)
    if mood:
        given["result"].append(
            {"from_name": "mood", "to_name": "title", "type": "choices", "value": {"choices": [mood]}}
        )


def test_each_answer_teaches_its_question_and_one_queue_is_published(parts, studio):
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    version = retrain.cold_start(parts, project).name
    encode_pool(parts, KEY, version, lambda *_: None)
    publish.plan(parts, KEY, version, "v0")
    publish.push(parts, KEY, version, "v0")
    publish.switch(parts, KEY, version, "v0", "test")
    rows = list(studio.rows.values())
    assert len(rows) == parts.settings.window
    for row in rows:
        names = {region["from_name"] for region in row["result"]}
        assert names == ({"topic"} if row["task"] == 7 else {"topic", "mood"})
    for task in range(20, 50):
        answer(studio, task, text_of(task)[1], ("glad" if task % 2 else "sad") if task < 40 else None)
    mirror.reconcile(parts, KEY)
    assert publish.resort(parts, KEY)
    top = studio.served()[: parts.settings.fast_top]
    assert not set(top) & set(range(20, 50))
    said = predict(
        parts, project, project.asks(), [(None, {"text": "goal match", "title": "x"}), (None, {"title": "y"})]
    )
    assert [{r["from_name"] for r in p["result"]} for p in said] == [{"topic", "mood"}, {"mood"}]


def test_examples_with_one_answer_of_two_survive_the_snapshot(parts, studio):
    answer(studio, 3, "food", None)
    answer(studio, 4, "food", "sad")
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    table = parts.pools.table(parts.registry, project, 0.0)
    train, _ = split(table, read_labels(parts.registry, project, table))
    assert [set(e.targets) for e in train] == [{"topic"}, {"topic", "mood"}]
    again = [example_from(project.asks(), example_json(project.asks(), e)) for e in train]
    assert [e.item for e in again] == [e.item for e in train]
    assert [e.targets["topic"].tolist() for e in again] == [[0, 1, 0]] * 2


def test_a_snapshot_of_a_former_build_is_still_read(parts):
    mirror.reconcile(parts, KEY)
    schema = parts.registry.must_project(KEY).asks()
    old = {"task": 5, "text": "goal match", "targets": {"topic": [1.0, 0.0, 0.0]}}
    example = example_from(schema, old)
    assert (example.task_id, example.item, example.weight) == (5, Item.of("goal match"), 1.0)
    assert example.targets["topic"].tolist() == [1, 0, 0]
