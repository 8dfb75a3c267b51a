"""A simulation of texts that a tiny model writes: what is measured, and on how many tasks."""

import json

import pytest

from backend.errors import UserError
from backend.simulate import run
from backend.simulate.loop import path_of, read_rows
from backend.simulate.plan import plan_of, read_data
from tests.models.tiny import save_tiny_bert, save_tiny_writer

WORDS = {"where": "in the city", "who": "the tall man", "how": "many"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, n in (("train", 40), ("test", 130)):
        rows = [{"source": f"{ask} {at}", "target": text} for at in range(n // 2) for ask, text in WORDS.items()][:n]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "train.jsonl", folder / "test.jsonl"


@pytest.fixture
def settings(settings, tmp_path):
    changes = {
        "base_model": str(save_tiny_bert(tmp_path / "bert")),
        "text_model": str(save_tiny_writer(tmp_path / "llama", "causal")),
        "device": "cpu", "threads": 1, "text_train_steps": 20, "text_learning_rate": 2e-2, "text_max_new_tokens": 5,
    }  # fmt: skip
    return settings.model_copy(update=changes)


def plan(settings, files, **changes):
    options = {"adapter": "lora", "labels": 12, "rounds": [12], "batch": 6, "audit_share": 0.1, "test_tasks": 20}
    return plan_of(settings, *files, **{**options, **changes})


def test_what_is_written_is_measured(settings, files, tmp_path):
    data, out = read_data(*files, 12, test_tasks=20), tmp_path / "out"
    results = run.simulate(plan(settings, files), data, (), 1, out, jobs=1)
    assert (results["metric"], results["test_items"]) == ("chrf", 20)
    assert set(results["strategies"]) == {"default", "random"}
    for found in results["strategies"].values():
        assert all(0 <= found[name]["12"]["mean"] <= 1 for name in ("accuracy", "bleu", "exact_match", "sentence_chrf"))
    assert results["full"]["accuracy"] > 0.3  # of three texts it has learned some
    rows = {name: read_rows(path_of(out, name, 0)) for name in ("default", "random")}
    picks = {name: tuple(p for row in found for p in row["picks"]) for name, found in rows.items()}
    assert len(set(picks.values())) == 2
    assert all(len(set(found)) == 12 for found in picks.values())


def test_a_long_test_file_is_sampled_always_the_same(files):
    data = read_data(*files, 12)
    assert len(data.test) == 100
    assert data.test == read_data(*files, 12).test
    assert len(read_data(*files, 12, test_tasks=7).test) == 7


def test_without_a_text_model_or_an_adapter_it_is_refused(settings, files, tmp_path):
    silent = settings.model_copy(update={"text_model": ""})
    for at, (asked, said) in enumerate(
        [(plan(silent, files), "TEXT_MODEL"), (plan(settings, files, adapter="none"), "lora")]
    ):
        with pytest.raises(UserError) as caught:
            run.simulate(asked, read_data(*files, 12), (), 1, tmp_path / f"{at}", jobs=1)
        assert said in caught.value.sentence()


def test_how_many_test_tasks_there_are_is_part_of_the_plan(settings, files):
    assert plan(settings, files).test != plan(settings, files, test_tasks=0).test
    assert plan(settings, files).to_json()["text"]["max_new_tokens"] == 5
    assert "text" not in plan(settings.model_copy(update={"text_model": ""}), files).to_json()
