"""Gold answers of a corpus as examples, read as Label Studio's own answers are."""

from backend.demo.corpus import Corpus
from backend.errors import UserError
from backend.problems.examples import learnable
from backend.problems.schema import Example, Schema
from backend.studio.codec import decode, read_item


def examples_of(schema: Schema, corpus: Corpus) -> list[Example]:
    """The tasks whose result says something; the id of one is its position among these."""
    found: list[Example] = []
    for task in corpus.tasks:
        item = read_item(schema, task.data)
        targets = decode(schema, [{"result": task.result}], item)
        if targets:
            found.append(Example(len(found), item, targets))
    return found


def check_learnable(schema: Schema, examples: list[Example]) -> None:
    """Raises UserError where the answers differ in nothing that could be learned."""
    if not learnable(schema, examples):
        raise UserError("All answers of the data are the same.", "There is something to learn where they differ.")
