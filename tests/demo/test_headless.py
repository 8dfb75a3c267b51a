"""The whole loop with nothing replaced: Label Studio, both our processes, a real encoder, trainings, two annotators."""

import json
import os
import socket
from importlib.util import find_spec
from itertools import groupby

import pytest

from backend.demo.processes import free_port, port_is_free
from backend.demo.run import run_demo
from backend.demo.stage import OFFLINE_MODEL, write_environment
from backend.demo.studio_server import find_studio
from backend.errors import UserError
from backend.pipeline.parts import build_parts
from backend.pipeline.suggestions import report
from backend.settings import Settings, load_settings
from tests.models.tiny import save_tiny_writer

# the SDK renews personal tokens through a method that pydantic deprecates
SDK_DEPRECATION = "ignore:The `parse_obj` method is deprecated"

LABELS = 14
WORDS = {
    "sports": ["striker", "marathon", "coach", "goal", "referee", "stadium", "tennis", "champion"],
    "cooking": ["oven", "recipe", "onion", "pastry", "sauce", "kitchen", "flour", "dessert"],
    "money": ["bank", "loan", "interest", "shares", "tax", "invoice", "budget", "currency"],
}
TEXTS = [
    {"text": f"The {first} and the {second} were talked about again.", "label": label}
    for label, words in WORDS.items()
    for first in words
    for second in words
    if first < second
]


@pytest.fixture
def files(tmp_path):
    data, test = tmp_path / "data.jsonl", tmp_path / "test.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in TEXTS[::2]))
    test.write_text("\n".join(json.dumps(row) for row in TEXTS[1::2]))
    return data, test


@pytest.fixture
def installed():
    """Skips where there is no Label Studio, or no encoder without a hub."""
    try:
        find_studio()
    except UserError as error:
        pytest.skip(error.sentence())
    if "BASE_MODEL" not in os.environ and find_spec(OFFLINE_MODEL) is None:
        pytest.skip(f"the package {OFFLINE_MODEL} with the encoder is not installed")


@pytest.fixture
def small_trainings(monkeypatch, tmp_path):
    for name in Settings.model_fields:
        if name != "base_model":
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("RETRAIN_AFTER_LABELS", "8")
    monkeypatch.setenv("RETRAIN_MIN_LABELS", "2")
    monkeypatch.setenv("TRAIN_STEPS", "20")
    monkeypatch.setenv("AUDIT_SHARE", "0.3")  # so that a few labels hold some of them
    monkeypatch.setenv("MAX_TOKENS", "32")
    monkeypatch.chdir(tmp_path)  # no .env of this checkout


@pytest.fixture
def demo(installed, small_trainings, tmp_path, capfd):
    """Runs a demo to its end: ``demo(data, test, annotators=1, **ports)`` gives the summary and what was printed.

    Its folder is ``tmp_path / "demo"``.
    """

    def run(data, test=None, *, annotators=1, port=None, studio_port=None):
        summary_file = tmp_path / "summary.json"
        code = run_demo(
            annotators=annotators,
            labels=LABELS,
            json_file=summary_file,
            data=data,
            test=test,
            port=port or free_port(),
            studio_port=studio_port or free_port(),
            folder=tmp_path / "demo",
            seed=1,
            wait=True,
        )
        printed = capfd.readouterr().out
        assert code == 0, printed
        return json.loads(summary_file.read_text()), printed

    return run


@pytest.mark.studio
@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings(SDK_DEPRECATION)
def test_a_headless_demo_learns_in_label_studios_own_order_and_leaves_nothing_running(demo, files, tmp_path):
    port, studio_port = free_port(), free_port()
    summary, printed = demo(*files, annotators=2, port=port, studio_port=studio_port)
    assert summary["labels"] == LABELS
    assert summary["queue_in_order"] is True, summary["order"]
    assert summary["order"]["served"] == LABELS
    names = [version["name"] for version in summary["versions"]]
    assert names[:3] == ["v0", "v1", "v2"], names
    assert summary["versions"][-1]["labels"] == LABELS, "the last training has seen every label"
    assert summary["test_accuracy"] > 0.5, "three topics with words of their own are easily told apart"
    assert set(summary["audit_accuracy"]) >= {"value", "low", "high"}
    assert {"submit", "next_task", "resort", "retrain", "predict_100"} <= set(summary["latency_ms"])
    assert "test accuracy" in printed
    assert port_is_free(port)
    assert port_is_free(studio_port)
    secret = load_settings(_env_file=tmp_path / "demo" / ".env").label_studio_api_key.get_secret_value()
    assert secret
    assert secret not in printed + (tmp_path / "demo" / "server.log").read_text()


@pytest.mark.studio
@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings(SDK_DEPRECATION)
def test_texts_are_suggested_learned_and_ordered_in_the_same_loop(demo, tmp_path, monkeypatch):
    answers = {"where": "in the city", "who": "the tall man", "how": "many"}
    for name, numbers in (("data", range(20)), ("test", range(20, 24))):
        rows = [{"source": f"{word} {n}", "target": text} for n in numbers for word, text in answers.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    writer = save_tiny_writer(tmp_path / "writer", "causal")
    for name, value in {
        "TEXT_MODEL": writer, "TEXT_TRAIN_STEPS": 60, "TEXT_LEARNING_RATE": 0.02, "TEXT_MAX_NEW_TOKENS": 5,
        "TEXT_SUGGESTIONS": 4, "SUGGEST_ABOVE": 0,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    summary, printed = demo(tmp_path / "data.jsonl", tmp_path / "test.jsonl")
    assert summary["queue_in_order"] is True, summary["order"]
    assert [version["name"] for version in summary["versions"]][:3] == ["v0", "v1", "v2"]
    assert summary["test_accuracy"] > 0.5, "there are three texts to learn"
    parts = build_parts(load_settings(_env_file=tmp_path / "demo" / ".env"))
    shown = report(parts, parts.registry.projects()[0])
    parts.registry.close()
    assert shown["blank"] < LABELS / 2, "texts are written for the first of each publication, and for who comes there"
    assert shown["kept"] > 0, f"{shown}\n{printed}"


@pytest.mark.studio
@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings(SDK_DEPRECATION)
def test_the_questions_about_a_text_are_asked_before_the_next_text(demo, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAIN_STEPS", "5")  # nothing is asked about what is learned
    monkeypatch.setenv("TRAIN_BATCH_SIZE", "4")
    rooms, things = ["kitchen", "garage", "attic", "cellar", "bathroom", "garden"], ["lamp", "ladder", "clock", "radio"]
    rows = []
    for floor in range(1, 4):
        for room in rooms:
            context = f"In the {room} of floor {floor} " + " and ".join(f"a {t} stands by {t[::-1]}" for t in things)
            for thing in things:
                start = context.index(thing[::-1])
                answer = {"text": thing[::-1], "start": start, "end": start + len(thing)}
                rows.append({"question": f"what does the {thing} stand by?", "context": context, "answer": answer})
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    summary, printed = demo(tmp_path / "data.jsonl")
    assert summary["queue_in_order"] is True, printed
    parts = build_parts(load_settings(_env_file=tmp_path / "demo" / ".env"))
    project = parts.registry.projects()[0]
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    given = sorted(parts.registry.annotations(project.key), key=lambda annotation: annotation.annotation_id)
    at = [table.position[annotation.task_id] for annotation in given]
    parts.registry.close()
    chosen = [int(table.contexts[p]) for p in at if not table.audit[p]]
    texts = [context for context, _ in groupby(chosen)]
    left = table.contexts[~table.audit].tolist()
    assert len(chosen) > len(things), "so that there was more than one text"
    assert len(texts) == len(set(texts)), f"a text was left and taken up again: {chosen}"
    assert all(chosen.count(text) == left.count(text) for text in texts[:-1]), f"a text was not finished: {chosen}"


@pytest.mark.studio
def test_a_port_in_use_is_said_before_anything_starts(installed, files, small_trainings, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="in use"):
        run_demo(
            annotators=0, labels=1, json_file=None, data=files[0], test=None, port=taken.getsockname()[1],
            studio_port=0, folder=tmp_path / "demo", seed=0, wait=True,
        )  # fmt: skip


def test_the_settings_of_a_demo_come_back_from_its_file(small_trainings, tmp_path, monkeypatch):
    monkeypatch.delenv("BASE_MODEL", raising=False)
    given = load_settings(
        label_studio_api_key='it\'s \\ "quoted" $HOME #1', text_prefix="query: ", port=7, base_model=OFFLINE_MODEL
    )
    write_environment(tmp_path / "file.env", given)
    assert load_settings(_env_file=tmp_path / "file.env") == given
    assert (tmp_path / "file.env").stat().st_mode & 0o077 == 0
