"""What the demo says of wrong options before it starts anything, and of its results at the end."""

import json
import os
import shlex
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.demo import run
from backend.demo.command import check_file
from backend.demo.corpus import Corpus
from backend.demo.formats import Labelled, choices_config
from backend.demo.run import _finish
from backend.demo.stage import Stage
from backend.errors import UserError

SUMMARY = {
    "labels": 5, "audit_labels": 1, "audit_accuracy": None, "test_accuracy": 0.5, "queue_in_order": True,
    "order": {"checks": 1, "problems": []}, "latency_ms": {}, "failed_trainings": 0, "seconds": 1.0,
}  # fmt: skip


def demo(*options):
    return CliRunner().invoke(app, ["demo", "--data", "missing.jsonl", *options], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--port", "--studio-port"])
@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_refused(option, port):
    refused = demo(option, port)
    assert refused.exit_code == 2
    assert "Invalid value" in refused.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--folder", "/proc/x"], "Nothing can be written to /proc/x"),
        (["--folder", "file"], "Nothing can be written to file"),
        (["--json", "folder"], "folder cannot be written"),
        (["--json", "missing/summary.json"], "cannot be written: No such file"),
        (["--json", "/proc/summary.json"], "/proc/summary.json cannot be written"),
        (["--json", "/proc/version"], "/proc/version cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_data_is_read(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=said):
        demo(*options)


def test_to_try_a_file_changes_nothing(tmp_path):
    there, target, pipe = (tmp_path / name for name in ("there.json", "target.json", "pipe"))
    there.write_text("{}")
    (tmp_path / "link.json").symlink_to(target)
    os.mkfifo(pipe)  # whose reader would see the end
    before = sorted(tmp_path.iterdir())
    for file in (there, tmp_path / "link.json", tmp_path / "new.json", pipe):
        check_file(file, "--json")
    assert there.read_text() == "{}"
    assert sorted(tmp_path.iterdir()) == before


def test_a_summary_is_printed_also_where_it_cannot_be_written(tmp_path, capsys):
    with pytest.raises(UserError, match="cannot be written"):
        _finish(SUMMARY, tmp_path)
    assert "test accuracy     50.0%" in capsys.readouterr().out


class Studio:
    """The projects of a Label Studio; an import of more than 1,000 tasks is interrupted where ``interrupts``."""

    def __init__(self):
        self.titles, self.tasks, self.interrupts = {}, {}, False

    def projects(self):
        return [{"id": project, "title": title} for project, title in self.titles.items()]

    def create_project(self, title, label_config):
        project = len(self.titles) + 1
        self.tasks[project] = []
        return self.update_project(project, title=title)

    def update_project(self, project, title):
        assert len(title) <= 50, "Label Studio takes no more"
        self.titles[project] = title
        return {"id": project}

    def import_tasks(self, project, tasks):
        if self.interrupts and self.tasks[project]:
            raise KeyboardInterrupt
        self.tasks[project] += tasks
        return list(range(len(tasks)))


def corpus(word, n=3):
    return Corpus(choices_config(["a", "b"]), tuple(Labelled.choice(f"{word} {at}", "ab"[at % 2]) for at in range(n)))


def test_a_run_whose_queue_was_not_in_order_or_whose_training_failed_does_not_end_well(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "Stage", lambda *_, **__: nullcontext())
    data = lines(tmp_path / "data", {"text": "x", "label": "a"}, {"text": "y", "label": "b"})
    for change, code in (({}, 0), ({"queue_in_order": False}, 1), ({"failed_trainings": 1}, 1)):
        summary = {**SUMMARY, "training_failure": None, **change}
        monkeypatch.setattr(run, "_run_headless", lambda *_, summary=summary: summary)
        options = ["demo", "--annotators", "1", "--data", str(data), "--folder", str(tmp_path / "demo")]
        assert CliRunner().invoke(app, options).exit_code == code


def test_a_summary_without_simulated_annotators_is_refused(tmp_path):
    with pytest.raises(UserError, match="no summary without --annotators"):
        demo("--folder", str(tmp_path), "--json", str(tmp_path / "summary.json"))


@pytest.fixture
def opened(monkeypatch):
    """Opens the project of a name and its tasks, as a demo for people does; its number."""

    def connect(stage, project):
        stage.connected = project
        raise KeyboardInterrupt

    def opened(studio, name, tasks):
        stage = Stage.__new__(Stage)
        stage.studio, stage.connected = studio, None
        with pytest.raises(KeyboardInterrupt):
            run._run_interactive(stage, name, tasks)
        return stage.connected

    monkeypatch.setattr(run, "_connect", connect)
    return opened


def test_a_project_is_used_again_for_the_same_tasks_and_labels_and_no_others(opened, capsys):
    studio = Studio()
    assert opened(studio, "train", corpus("question")) == 1
    assert "used again" not in capsys.readouterr().out
    assert opened(studio, "train", corpus("question").shuffled(5)) == 1
    assert "Project 1 of an earlier run is used again" in capsys.readouterr().out
    assert opened(studio, "train", corpus("film")) == 2
    assert opened(studio, "train", Corpus(choices_config(["a", "b", "c"]), corpus("film").tasks)) == 3
    assert opened(studio, "a file with a rather long name, of the year 2024", corpus("film")) == 4
    assert studio.titles[1].startswith("Demo: train (")
    assert [task["data"]["text"] for task in studio.tasks[2]] == ["film 0", "film 1", "film 2"]


def test_a_project_whose_import_was_interrupted_is_not_used_again(opened):
    studio, tasks = Studio(), corpus("article", 1001)
    studio.interrupts = True
    assert opened(studio, "BBC News", tasks) is None
    studio.interrupts = False
    assert [opened(studio, "BBC News", tasks) for _ in range(2)] == [2, 2]
    assert [len(found) for found in studio.tasks.values()] == [1000, 1001]
    assert studio.titles[1] == studio.titles[2] + " (unfinished)"


def test_commands_to_try_can_be_pasted_wherever_the_folder_is(tmp_path, monkeypatch):
    who = SimpleNamespace(user="u", password="p")
    server, settings = SimpleNamespace(url="http://x", credentials=who), SimpleNamespace(retrain_after_labels=20)
    monkeypatch.setattr(run.sys, "prefix", "/opt/it's here")
    folder = tmp_path / "a b"
    said = run._welcome(SimpleNamespace(studio_server=server, settings=settings, folder=folder), 3)
    there, doctor = (line for line in said.splitlines() if "ls-active" in line)
    assert shlex.split(there.split(":", 1)[1])[:4] == ["cd", str(folder), "&&", "/opt/it's here/bin/ls-active"]
    assert shlex.split(doctor)[1:] == ["/opt/it's here/bin/ls-active", "doctor", "3"]


def lines(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_test_tasks_whose_answers_say_nothing_measure_nothing_and_that_is_said(tmp_path, capsys):
    def spans(*places):
        return {"text": "hello world", "spans": [{"start": s, "end": e, "label": label} for s, e, label in places]}

    data = lines(tmp_path / "data", spans((0, 5, "p")), spans((6, 11, "q")))
    blank = spans((5, 6, "p"))  # a space is no place
    test = lines(tmp_path / "test", blank, spans((0, 5, "q")), spans((0, 5, "p")))
    _, measured = run._load(data, test, 0)
    assert [task.name for task in measured] == ["line 2", "line 3"]
    said = capsys.readouterr().out
    assert f"{test}: 1 of 3 tasks have answers to a control of which the label config knows none" in said
    assert f"{test}: 2 of 3 tasks have an answer that measures." in said
    run._load(data, lines(test, spans((0, 5, "q"))), 0)
    assert not capsys.readouterr().out
    with pytest.raises(UserError, match="no task with an answer to label"):
        run._load(data, lines(test, blank), 0)


def test_a_test_file_for_the_articles_has_their_labels(tmp_path, monkeypatch):
    articles = Corpus("", tuple(Labelled.choice(f"about {topic}", topic) for topic in ("sports", "tech")))
    monkeypatch.setattr(run, "bbc_news", lambda: articles)
    test = lines(tmp_path / "test", {"text": "a goal", "label": "sport"}, {"text": "rain", "label": "weather"})
    with pytest.raises(UserError, match="label config has not: sport, weather"):
        run._load(None, test, 0)
    assert len(run._load(None, lines(test, {"text": "a goal", "label": "sports"}), 0)[1]) == 1
    assert len(run._load(None, None, 0)[1]) == 0


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a", "labels": []},
        {"text": "a", "spans": []},
        {"question": "?", "context": "a", "answer": None},
        {"left": "a", "right": "b", "preferred": "tie"},
    ],
)
def test_data_in_which_nothing_is_labelled_is_refused_with_its_name(tmp_path, row):
    data = lines(tmp_path / "data", row, row)
    for test in (None, data):
        with pytest.raises(UserError, match=f"{data}: no line has a label, a span, an answer or a preference"):
            run._load(data, test, 0)
