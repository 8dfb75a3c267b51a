"""What a training is told of the active version, which its labels try and which it may start near."""

import json
import shutil
from pathlib import Path

import pytest

from backend.pipeline import mirror, retrain
from backend.pipeline.snapshot import take_snapshot
from backend.registry import versions as records
from tests.fakes import KEY, text_of

FITS = {"recipe": {"lora_rank": 8}, "base": {"id": "words"}}


@pytest.fixture
def labelled(parts, studio):
    mirror.reconcile(parts, KEY)
    for task in range(1, 21):
        studio.annotate(task, text_of(task)[1])
    mirror.reconcile(parts, KEY)
    parts.settings = parts.settings.model_copy(update={"warm_start": 0.5})
    return parts


def activated(parts, meta, location="words-v1", schema_hash=None, snapshot="one"):
    row = records.add_version(
        parts.registry,
        KEY,
        schema_hash=schema_hash or parts.registry.must_project(KEY).asks().hash,
        snapshot=snapshot,
        seen=1,
        labels=1,
        location=location,
        audit=None,
        meta=meta,
        verdict="ready",
    )
    records.activate(parts.registry, KEY, row.name, row.name, "test")


def test_the_active_version_is_part_of_the_snapshot(labelled, monkeypatch):
    scratch = take_snapshot(labelled, KEY)
    activated(labelled, FITS)
    assert take_snapshot(labelled, KEY)["before"] is None, "its weights are not there"
    monkeypatch.setattr(labelled.storage, "has", lambda key: key == "words-v1")
    near = take_snapshot(labelled, KEY)
    assert (scratch["before"], near["before"]) == (None, "words-v1")
    assert scratch["hash"] != near["hash"]
    assert json.loads(Path(near["path"]).read_text())["start"] == "words-v1"


@pytest.mark.parametrize("other", [{"location": None}, {"schema_hash": "former"}])
def test_a_version_that_does_not_fit_is_not_the_one_before(labelled, monkeypatch, other):
    monkeypatch.setattr(labelled.storage, "has", lambda key: True)
    activated(labelled, FITS, **other)
    assert take_snapshot(labelled, KEY)["before"] is None


@pytest.fixture
def instead(monkeypatch, tmp_path):
    """Put a line of Python in the place of the training."""

    def put(line: str) -> None:
        stand_in = tmp_path / "python"
        stand_in.write_text(f"#!{retrain.sys.executable}\n{line}\n")
        stand_in.chmod(0o755)
        monkeypatch.setattr(retrain.sys, "executable", str(stand_in))

    return put


def test_the_training_process_is_told_the_folder(labelled, instead, tmp_path):
    activated(labelled, FITS)
    folder = Path(labelled.settings.storage) / "words-v1"
    folder.mkdir(parents=True)
    (folder / "version.json").write_text("{}")
    told = tmp_path / "told"
    snapshot = take_snapshot(labelled, KEY)
    instead(f"import json, sys; open({str(told)!r}, 'w').write(json.dumps(sys.argv[-1])); sys.exit(1)")
    with pytest.raises(retrain.UserError, match="failed"):
        retrain.train(labelled, KEY, snapshot, lambda *_: None)
    assert json.loads(told.read_text()) == str(folder)
    shutil.rmtree(folder)
    with pytest.raises(retrain.UserError, match="failed"):
        retrain.train(labelled, KEY, snapshot, lambda *_: None)
    assert json.loads(told.read_text()) == "", "what is lost does not end learning"


def test_the_active_version_comes_before_and_does_not_make_the_same_labels_other_work(labelled, monkeypatch):
    labelled.settings = labelled.settings.model_copy(update={"warm_start": 0.0})
    monkeypatch.setattr(labelled.storage, "has", lambda key: key != "lost")
    first = take_snapshot(labelled, KEY)
    activated(labelled, FITS)
    second = take_snapshot(labelled, KEY)
    activated(labelled, FITS, location="words-v2", snapshot="two")
    records.activate(labelled.registry, KEY, "v1", "v1-r2", "rollback")
    third = take_snapshot(labelled, KEY)
    activated(labelled, FITS, location="lost", snapshot="three")
    fourth = take_snapshot(labelled, KEY)
    assert [s["before"] for s in (first, second, third, fourth)] == [None, "words-v1", "words-v1", None]
    assert first["hash"] == second["hash"] == third["hash"] == fourth["hash"]


def test_the_training_process_hands_on_what_it_is_told(labelled, monkeypatch, tmp_path):
    from backend.pipeline import train_job
    from backend.problems import training

    seen = []
    monkeypatch.setattr(training, "train_version", lambda *given: seen.append(given[7]))
    monkeypatch.setattr(train_job, "_end_with_parent", lambda: None)
    monkeypatch.setattr(train_job.os, "nice", lambda _: 0)
    path = take_snapshot(labelled, KEY)["path"]
    for folders in ([], [""], ["/v1"]):
        train_job.main(path, str(tmp_path / "out"), *folders)
    assert seen == [None, None, Path("/v1")]


@pytest.mark.parametrize("terminal", [True, False])
def test_why_a_training_failed_is_said_and_kept_on_a_terminal_too(labelled, instead, monkeypatch, capsys, terminal):
    monkeypatch.setattr(retrain.sys.stderr, "isatty", lambda: terminal)
    told = []
    says = """print('{"progress": 0.5, "message": "step 1 of 2"}', flush=True)"""
    instead(f"import time; time.sleep(0.2); {says}; raise ValueError('no such layer')")
    with pytest.raises(retrain.UserError, match="no such layer") as caught:
        retrain.train(labelled, KEY, take_snapshot(labelled, KEY), lambda *report: told.append(report))
    assert "no such layer" in Path(caught.value.hint.removeprefix("Its log: ")).read_text()
    assert told == [(0.5, "step 1 of 2")]
    assert ("step 1 of 2" in capsys.readouterr().err) == terminal


def test_a_training_that_the_system_killed_says_what_to_lower(labelled, instead):
    snapshot = take_snapshot(labelled, KEY)
    instead("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(retrain.UserError, match="memory") as caught:
        retrain.train(labelled, KEY, snapshot, lambda *_: None)
    assert "TRAIN_TOKENS" in caught.value.hint
    assert not labelled.storage.has(f"{KEY}/{snapshot['hash']}")
