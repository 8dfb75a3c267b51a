"""Which tasks share what they ask about."""

import numpy as np

from backend.problems.base import context_of, contexts
from backend.problems.schema import Content, Control, Item, Schema
from backend.simulate.measure import characters
from tests.problems.test_question import CONTROL

TOPIC = Control("topic", "choices", "title", "title", ("a", "b"), ("a", "b"))
SCHEMA = Schema((TOPIC, CONTROL))


def asked(question: str, context: str) -> Item:
    return Item({"question": Content((question,)), "context": Content((context,)), "title": Content(("t",))})


def test_questions_about_one_text_have_one_number() -> None:
    items = [asked("who?", "x"), asked("when?", "y"), asked("where?", "x"), Item.of("lacks both", "title")]
    assert contexts(SCHEMA, items).tolist() == [0, 1, 0, 2]
    assert contexts(SCHEMA, items).dtype == np.int64
    assert context_of(SCHEMA, items[1]) == "y"


def test_where_nothing_is_shared_there_are_none() -> None:
    assert contexts(SCHEMA, [asked("who?", "x"), asked("who?", "y")]) is None
    assert contexts(Schema((TOPIC,)), [Item.of("x", "title")] * 3) is None
    assert contexts(SCHEMA, []) is None


def test_a_shared_text_is_read_once_in_a_batch() -> None:
    batch = [asked("who?", "x" * 50), asked("when?", "x" * 50), asked("why?", "y" * 30)]
    alone = [len(item.text) for item in batch]
    assert characters(SCHEMA, batch) == sum(alone) - 50
    assert characters(Schema((TOPIC,)), batch) == sum(alone)
    assert characters(SCHEMA, []) == 0
