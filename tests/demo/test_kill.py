"""The real thing, killed at random moments: no annotation is lost, no version half visible, the run ends."""

import pytest

from backend.demo.corpus import Corpus
from backend.demo.formats import Labelled, choices_config
from tests.benchmarks.kill import measure
from tests.fakes import LABELS, text_of
from tests.models.tiny import save_tiny_bert

pytestmark = [pytest.mark.studio, pytest.mark.timeout(600)]


def test_nothing_is_lost_when_web_and_worker_are_killed(tmp_path):
    tasks = [Labelled.choice(*text_of(number)) for number in range(80)]
    figures = measure(
        tmp_path / "stage",
        Corpus(choices_config(LABELS), tuple(tasks)),
        labels=40,
        kills=4,
        seed=1,
        within_s=30,
        base_model=save_tiny_bert(tmp_path / "model"),
        retrain_after_labels=10,
        train_steps=20,
        window=30,
    )
    assert figures["problems"] == []
    assert len(figures["kills"]) == 4
    # an answer that was stored although the annotator saw an error counts as not given
    assert figures["annotations"] >= figures["labels_given"] >= 35
    assert len(figures["versions"]) >= 2
