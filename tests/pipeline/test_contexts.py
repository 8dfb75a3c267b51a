"""The queue of a project with several questions about each text."""

from itertools import groupby
from pathlib import Path

import pytest

from backend.pipeline import mirror, retrain
from backend.pipeline.encode import encode_pool
from backend.pipeline.ranking import rank, view
from tests.fakes import KEY, FakeStudio

CONFIG = (Path(__file__).parents[1] / "configs" / "question.xml").read_text()
TEXTS, EACH = 12, 5


@pytest.fixture
def studio():
    fake = FakeStudio(config=CONFIG)
    fake.tasks = {
        1 + at: {"context": f"goal number {at % TEXTS} of the match", "question": f"who saw goal {at}?"}
        for at in range(TEXTS * EACH)
    }
    return fake


def asked(parts, n):
    """The contexts of the first tasks of the queue, without those that measure."""
    mirror.reconcile(parts, KEY)
    project = parts.registry.must_project(KEY)
    version = retrain.cold_start(parts, project)
    encode_pool(parts, KEY, version.name, lambda *_: None)
    ranking = rank(parts, view(parts, project, parts.host.cold(project.asks())), n, refit=False)
    picks = [pick for pick in ranking.picks if pick.reason["measure"] != "audit"]
    assert all(1 <= pick.reason["context_size"] <= EACH and pick.reason["context_labelled"] == 0 for pick in picks)
    return [(pick.task_id - 1) % TEXTS for pick in picks]


def test_a_text_is_finished_before_the_next_is_begun(parts):
    runs = [text for text, _ in groupby(asked(parts, TEXTS * EACH))]
    assert sorted(runs) == list(range(TEXTS))


def test_the_label_config_may_keep_the_questions_about_a_text_apart(parts, studio):
    studio.config = CONFIG.replace("<View>", '<View strategy="random-diverse">', 1)
    assert studio.config != CONFIG
    texts = asked(parts, 2 * TEXTS)
    assert len(set(texts[:TEXTS])) == TEXTS
    assert max(map(texts.count, texts)) <= 2
