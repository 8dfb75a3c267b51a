"""A simulation from files to report, on a tiny encoder: it is whole, repeatable, and goes on where it stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.active.selection import names
from backend.active.stopping import VAGUE
from backend.alone import alone
from backend.cli import app
from backend.errors import UserError
from backend.models import encoder
from backend.pipeline.audit import qualities
from backend.simulate import learner, loop, run, summary
from backend.simulate.plan import numbers, plan_of, read_data, strategy_of
from backend.simulate.report import rows_of, write_report
from tests.models.tiny import save_tiny_bert

WORDS = {"place": ["where", "city", "river", "tall"], "person": ["who", "man", "was", "when"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import numpy as np

    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, n in (("train", 80), ("test", 30)):
        rows = [(label, " ".join([*rng.choice(WORDS[label], 3), f"{at}"])) for at in range(n // 2) for label in WORDS]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for y, t in rows))
    return folder / "train.jsonl", folder / "test.jsonl"


@pytest.fixture
def settings(settings, tmp_path):
    model = str(save_tiny_bert(tmp_path / "model"))
    return settings.model_copy(update={"base_model": model, "device": "cpu", "threads": 1, "train_steps": 3})


def plan(settings, files, **changes):
    options = {"adapter": "none", "labels": 40, "rounds": [20, 30, 40], "batch": 5, "audit_share": 0.1}
    return plan_of(settings, *files, **{**options, **changes})


def simulate(settings, files, out, strategies=(), seeds=2, **changes):
    asked = plan(settings, files, **changes)
    return run.simulate(asked, read_data(*files, 40), strategies, seeds, out, jobs=1)


def test_results_name_every_strategy_and_each_seed(settings, files, tmp_path):
    results = simulate(settings, files, tmp_path / "out", ["margin"])
    assert set(results["strategies"]) == {"default", "random", "margin"}
    for found in results["strategies"].values():
        assert list(found["accuracy"]) == ["20", "30", "40"]
        assert len(found["macro_f1"]["40"]["seeds"]) == len(found["aulc"]["seeds"]) == 2
        assert set(found["labels_to"]) == {"90%", "95%", "99%"}
        assert 0 <= found["ece"]["40"]["mean"] <= 1
        assert 0 <= found["rest"]["40"] <= 1
        assert all(0 <= share <= 1 for share in found["audit_interval_holds"].values())
    assert results["full"]["labels"] == 80
    assert 0 <= results["before"]["accuracy"] <= 1
    write_report(results, tmp_path / "out")
    assert "without a label" in (tmp_path / "out" / "table.md").read_text()
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    for name in ("curves.png", "report.html", "table.md"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    assert "cdn" not in (tmp_path / "out" / "report.html").read_text()[:2000]


def test_what_a_strategy_cannot_choose_the_default_does(settings, files, tmp_path, monkeypatch):
    def shy(pool, n, rng):
        if len(pool.labelled_classes) < 15:
            raise ValueError("labels of one class")
        return rng.permutation(len(pool))[:n]

    monkeypatch.setitem(names.STRATEGIES, "shy", shy)
    results = simulate(settings, files, tmp_path / "out", ["shy"], audit_share=0.0)
    assert {name: found["by_default"] for name, found in results["strategies"].items()} == {
        "default": 0, "random": 0, "shy": 15,
    }  # fmt: skip
    for seed in (0, 1):
        shys, ours = (loop.read_rows(loop.path_of(tmp_path / "out", name, seed)) for name in ("shy", "default"))
        assert [row["by_default"] for row in shys] == [15, 0, 0]
        assert shys[0]["picks"][:15] == ours[0]["picks"][:15] != shys[0]["picks"][5:]
    write_report(results, tmp_path / "out")
    assert "15 labels of shy" in (tmp_path / "out" / "table.md").read_text()


def test_a_strategy_that_never_can_choose_is_refused():
    pytest.importorskip("skactiveml")
    with pytest.raises(UserError, match="cannot choose"):
        strategy_of("skactiveml:RegressionTreeBasedAL")
    assert strategy_of("skactiveml:QueryByCommittee") == "skactiveml:QueryByCommittee"


def test_a_run_computes_on_one_thread(settings, files, tmp_path, monkeypatch):
    import torch

    threads = []
    measured = loop.Run._measured
    monkeypatch.setattr(encoder, "cores", lambda: 2)
    monkeypatch.setattr(loop.Run, "_measured", lambda self: threads.append(torch.get_num_threads()) or measured(self))
    own = settings.model_copy(update={"threads": 0})
    simulate(own, files, tmp_path / "out", seeds=1, rounds=[20], adapter="lora")
    assert set(threads) == {1}


def test_what_was_predicted_stands_beside_what_came(settings, files, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "GAIN_AT", (20, 30))
    monkeypatch.setattr(summary, "NEXT", 20)
    found = simulate(settings, files, tmp_path / "out")["strategies"]["default"]
    assert [(g["seed"], g["labels"]) for g in found["predicted_gain"]] == [(0, 20), (1, 20)]  # 50 labels were not given
    for gain in found["predicted_gain"]:
        assert -1 <= gain["low"] <= gain["value"] <= gain["high"] <= 1
        assert gain["told"] == (gain["high"] - gain["low"] <= VAGUE)
        accuracy = [found["accuracy"][n]["seeds"][gain["seed"]] for n in ("20", "40")]
        assert gain["real"] == pytest.approx(accuracy[1] - accuracy[0])


@pytest.mark.parametrize(("adapter", "seeds"), [("none", 2), ("lora", 1)])
def test_an_interrupted_simulation_ends_as_one_that_was_not(settings, files, tmp_path, adapter, seeds, monkeypatch):
    monkeypatch.setattr(loop, "GAIN_AT", (20, 30))  # the second is predicted from what changed since the first
    monkeypatch.setattr(summary, "NEXT", 10)
    whole = simulate(settings, files, tmp_path / "whole", adapter=adapter, seeds=seeds)
    append, written, armed = loop.append_row, [], []

    def interrupted(path, row):
        append(path, row)
        written.append(path)
        if armed and len(written) >= armed[0]:
            armed.clear()
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "append_row", interrupted)
    for _ in range(2):
        armed.append(len(written) + 2)
        with pytest.raises(KeyboardInterrupt):
            simulate(settings, files, tmp_path / "parts", adapter=adapter, seeds=seeds)
    runs = tmp_path / "parts" / "runs"
    newest = max(runs.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.write_text(newest.read_text() + '{"labels": 4')  # a line that a crash cut off
    shutil.rmtree(tmp_path / "parts" / "work", ignore_errors=True)  # the versions are gone, the rounds are not
    parts = simulate(settings, files, tmp_path / "parts", adapter=adapter, seeds=seeds)
    assert without_seconds(parts) == without_seconds(whole)
    assert len(whole["strategies"]["default"]["predicted_gain"]) == 2 * seeds
    assert len(written) == seeds * 2 * 3 + 2


def test_a_version_of_a_round_that_was_not_finished_is_not_taken_up(settings, files, tmp_path, monkeypatch):
    """It has learned from labels that the round is only about to give."""
    settings = settings.model_copy(update={"train_steps": 30})  # enough for two versions to differ
    whole = simulate(settings, files, tmp_path / "whole", adapter="lora", seeds=1)
    measured, calls = loop.Run._measured, []

    def interrupted(self):
        calls.append(self._strategy)
        if calls.count("auto") in (1, 3):  # in the first round, and in the second of the next attempt
            calls.append("auto")
            raise KeyboardInterrupt
        return measured(self)

    monkeypatch.setattr(loop.Run, "_measured", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            simulate(settings, files, tmp_path / "parts", adapter="lora", seeds=1)
    parts = simulate(settings, files, tmp_path / "parts", adapter="lora", seeds=1)
    picks = [
        [row["picks"] for row in loop.read_rows(loop.path_of(tmp_path / name, "default", 0))]
        for name in ("whole", "parts")
    ]
    assert picks[0] == picks[1]
    assert without_seconds(parts) == without_seconds(whole)


def without_seconds(results):
    return {
        name: {k: v for k, v in found.items() if k != "seconds_per_round"}
        for name, found in results["strategies"].items()
    }


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_the_pool_is_measured_on_all_tasks_without_a_label(settings, files, tmp_path, monkeypatch, adapter):
    seen = []

    def watched(schema, sample, outputs, weights):
        quality = qualities(schema, sample, outputs, weights)
        seen.append(([e.task_id for e in sample], quality.mean()))
        return quality

    monkeypatch.setattr(loop, "REST", 3)
    monkeypatch.setattr(loop, "qualities", watched)
    data = read_data(*files, 40)
    run.simulate(plan(settings, files, adapter=adapter, rounds=[20, 40]), data, (), 1, tmp_path / "out", jobs=1)
    for name, measured in zip(("default", "random"), (seen[:2], seen[2:]), strict=True):
        labelled = set()
        for row, (tasks, quality) in zip(
            loop.read_rows(loop.path_of(tmp_path / "out", name, 0)), measured, strict=True
        ):
            labelled |= set(row["picks"])
            assert sorted(tasks) == sorted(set(range(len(data.pool))) - labelled)
            assert row["rest"] == pytest.approx(quality)


def test_no_task_is_labelled_twice_and_audit_tasks_are_a_share(settings, files, tmp_path):
    simulate(settings, files, tmp_path / "out", audit_share=0.2)
    for seed in range(2):
        rows = loop.read_rows(loop.path_of(tmp_path / "out", "default", seed))
        picks = [p for row in rows for p in row["picks"]]
        assert len(picks) == len(set(picks)) == 40
        assert rows[-1]["audit"]["n"] == pytest.approx(8, abs=2)


def test_self_training_is_simulated_as_a_project_does_it(settings, files, tmp_path, monkeypatch):
    seen = []
    train = learner.train_version

    def watched(base, schema, given, *rest):
        seen.append(given)
        return train(base, schema, given, *rest)

    monkeypatch.setattr(learner, "train_version", watched)
    asked = plan(settings, files, adapter="lora", audit_share=0.2)
    asked = replace(asked, recipe=replace(asked.recipe, self_training=0.5, self_after=10))
    run.simulate(asked, read_data(*files, 40), (), 1, tmp_path / "out", jobs=1)
    held, _ = read_data(*files, 40).audit(0, 0.2)
    seen = [given for given in seen if len(given) < 80]  # the ceiling's training has all tasks
    guessed = [[e for e in given if e.weight < 1] for given in seen]
    assert not guessed[0]  # nothing before the first version
    assert any(guessed)
    for given, extra in zip(seen, guessed, strict=True):
        ids = [e.task_id for e in given]
        assert len(ids) == len(set(ids))
        assert not held[ids].any()
        assert len(extra) <= len(given) - len(extra)


def test_versions_are_tried_and_averaged_in_a_simulation_as_in_a_project(settings, files, tmp_path, monkeypatch):
    seen, averaged = [], []
    train = learner.train_version

    def watched(*given):
        meta = train(*given)
        seen.append((len(given[2]), meta["controls"]["label"]["tried"]))
        averaged.append(meta["averaged"])
        return meta

    monkeypatch.setattr(learner, "train_version", watched)
    asked = plan(settings, files, adapter="lora", audit_share=0.2, rounds=[10, 30, 40])
    run.simulate(asked, read_data(*files, 40), (), 1, tmp_path / "out", jobs=1)
    for (_, none), (second, too_many), (third, tried) in (seen[:3], seen[3:6]):
        assert none == too_many == 0, "the first version knew ten labels of thirty"
        assert 0 < tried == third - second
    assert seen[6][1] == 0, "nothing comes before the ceiling"
    assert averaged == [0, 0, 0.3, 0, 0, 0.3, 0]


def test_a_warm_start_is_simulated_and_survives_an_interruption(settings, files, tmp_path, monkeypatch):
    starts = []
    train = learner.train_version

    def watched(*given):
        starts.append(given[7])
        if len(starts) == broken:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(learner, "train_version", watched)
    asked = plan(settings, files, adapter="lora", rounds=[20, 40])
    asked = replace(asked, recipe=replace(asked.recipe, warm_start=1.0))
    broken = 0
    whole = run.simulate(asked, read_data(*files, 40), (), 1, tmp_path / "whole", jobs=1)
    assert sum(start is None for start in starts) == 3  # one for each order, and the ceiling
    assert len(starts) == 2 * 2 + 1
    broken = len(starts) + 2
    with pytest.raises(KeyboardInterrupt):
        run.simulate(asked, read_data(*files, 40), (), 1, tmp_path / "parts", jobs=1)
    parts = run.simulate(asked, read_data(*files, 40), (), 1, tmp_path / "parts", jobs=1)
    assert without_seconds(parts) == without_seconds(whole)


@pytest.fixture
def heeds_interrupts():
    """A shell has what it starts in the background ignore SIGINT, and what that starts does so too."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize(
    ("number", "jobs"),
    [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 2), (signal.SIGKILL, 2)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_however_a_simulation_is_ended_nothing_of_it_goes_on(settings, files, tmp_path, number, jobs):
    data, test = files
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "backend", "simulate", "--data", data, "--test", test, "--out", out,
        "--adapter", "none", "--labels", "70", "--batch", "1", "--seeds", "2", "--jobs", str(jobs),
    ]  # fmt: skip
    here = {"BASE_MODEL": settings.base_model, "DEVICE": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        list(map(str, command)), cwd=tmp_path, env={**os.environ, **here}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            while sum(len(path.read_text().splitlines()) for path in out.glob("runs/*.jsonl")) < 4:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.1)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does: all processes hear Ctrl-C
            else:
                process.send_signal(number)
            said = process.communicate(timeout=30)[1]  # comes to its end when the last process has closed it
        finally:
            with suppress(ProcessLookupError):  # nothing is left, as it should be
                os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in said
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 130
        assert "The same command goes on from there." in said
        assert "leaked" not in said
    for path in out.glob("runs/*-0.jsonl"):
        labels = [row["labels"] for row in loop.read_rows(path)]
        assert labels in ([0], list(range(20, 20 + len(labels))))


def test_a_process_that_the_system_ends_is_said(settings, files, tmp_path):
    class Deadly:
        def __reduce__(self):
            return os._exit, (9,)

    with pytest.raises(UserError, match="ended one of the runs") as said:
        run._side_by_side(plan(settings, files), Deadly(), [("random", 0), ("random", 1)], tmp_path, 2)
    assert "--jobs" in said.value.hint


def test_rounds_that_two_processes_wrote_are_refused(settings, files, tmp_path):
    simulate(settings, files, tmp_path / "out")
    path = loop.path_of(tmp_path / "out", "default", 1)
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([rows[0], rows[0], *rows[1:]]))
    with pytest.raises(UserError, match=r"default-1\.jsonl are not the first") as refused:
        simulate(settings, files, tmp_path / "out")
    assert "Delete" in refused.value.hint
    path.unlink()
    assert simulate(settings, files, tmp_path / "out")["seeds"] == 2


def test_two_simulations_do_not_write_to_one_folder(settings, files, tmp_path):
    with alone(tmp_path / "out", ""), pytest.raises(UserError, match="at work in") as refused:
        simulate(settings, files, tmp_path / "out")
    assert "--out" in refused.value.hint
    assert not (tmp_path / "out" / "runs").exists()


TWO = """<View><Text name="text" value="$text"/>
  <Choices name="label" toName="text"><Choice value="place"/><Choice value="person"/></Choices>
  <Rating name="stars" toName="text"/></View>"""


@pytest.fixture
def exports(files, tmp_path):
    """The files as exports of Label Studio that ask two things, one task with a relation; and the label config."""
    about = {"to_name": "text"}
    for at, path in enumerate(files):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        tasks = [
            {
                "data": {"text": row["text"]},
                "annotations": [
                    {
                        "result": [
                            {**about, "from_name": "label", "type": "choices", "value": {"choices": [row["label"]]}},
                            {**about, "from_name": "stars", "type": "rating", "value": {"rating": n % 5 + 1}},
                            {"from_id": "a", "to_id": "b", "type": "relation", "direction": "right"},
                        ]
                    }
                ],
            }
            for n, row in enumerate(rows)
        ]
        (tmp_path / f"{at}.json").write_text(json.dumps(tasks))
    (tmp_path / "config.xml").write_text(TWO)
    return tmp_path / "0.json", tmp_path / "1.json", tmp_path / "config.xml"


def test_what_a_label_counts_for_is_that_of_the_settings(settings, exports, tmp_path):
    *data, config = exports
    found = []
    for weights in ("", "label=100,stars=0", "label=0,stars=100"):
        weighed = settings.model_copy(update={"control_weights": weights})
        out = tmp_path / f"out-{weights}"
        run.simulate(plan(weighed, data, config=config), read_data(*data, 40, config), ["margin"], 1, out, jobs=1)
        found.append([row["picks"] for row in loop.read_rows(loop.path_of(out, "margin", 0))])
    assert found[1] != found[2]
    with pytest.raises(UserError, match="another weights"):
        run.open_folder(tmp_path / "out-label=0,stars=100", plan(settings, data, config=config))


def test_a_folder_of_another_label_config_is_refused(settings, exports, tmp_path):
    *data, config = exports
    run.open_folder(tmp_path / "out", plan(settings, data, config=config))
    config.write_text(TWO.replace("<Rating", '<Rating maxRating="5"'))
    with pytest.raises(UserError, match="another config"):
        run.open_folder(tmp_path / "out", plan(settings, data, config=config))


def test_what_is_left_out_of_an_export_is_said_with_its_file(exports):
    data, test, config = exports
    tasks = json.loads(data.read_text())
    tasks[3]["data"], tasks[3]["id"] = {"text": ""}, 17
    data.write_text(json.dumps(tasks))
    found = read_data(data, test, 40, config)
    assert len(found.pool) == 79
    assert found.notes == (f"{data}: 1 of 80 tasks left out, task 17 for one: The task's field 'text' is empty.",)
    data.write_text(json.dumps([tasks[3]]))
    with pytest.raises(UserError, match="has no task with an answer") as refused:
        read_data(data, test, 1, config)
    assert "task 17" in refused.value.hint


def test_a_folder_is_of_the_same_plan_whatever_a_file_is_called_and_the_seed_is(settings, files, tmp_path, monkeypatch):
    run.open_folder(tmp_path / "out", plan(settings, files))
    monkeypatch.chdir(files[0].parent)
    relative = [Path(file.name) for file in files]
    run.open_folder(tmp_path / "out", plan(settings.model_copy(update={"seed": 7}), relative))
    with pytest.raises(UserError, match="another recipe: steps"):
        run.open_folder(tmp_path / "out", plan(settings.model_copy(update={"train_steps": 7}), files))
    files[1].write_text(files[0].read_text())
    with pytest.raises(UserError, match="another test"):
        run.open_folder(tmp_path / "out", plan(settings, files))


def test_data_without_any_label_is_named(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"text": "a", "spans": []}\n{"text": "b", "spans": []}')
    with pytest.raises(UserError, match=r"data\.jsonl: no line has a label"):
        read_data(tmp_path / "data.jsonl", tmp_path / "data.jsonl", 2)


def test_a_folder_of_another_plan_is_refused(settings, files, tmp_path):
    simulate(settings, files, tmp_path / "out")
    with pytest.raises(UserError, match="another batch"):
        simulate(settings, files, tmp_path / "out", batch=6)


@pytest.mark.parametrize("out", ["/proc/out", "file", "file/out"])
def test_a_folder_that_cannot_be_written_is_said_before_the_data_is_read(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    asked = ["simulate", "--data", "missing.jsonl", "--test", "missing.jsonl", "--out", out]
    with pytest.raises(UserError, match=f"Nothing can be written to {out}") as refused:
        CliRunner().invoke(app, asked, catch_exceptions=False)
    assert "--out" in refused.value.hint


def test_the_table_has_the_last_round(settings, files, tmp_path):
    results = simulate(settings, files, tmp_path / "out", rounds=[20, 50, 70], labels=70, seeds=1)
    header, rows = rows_of(results)
    assert [name for name in header if name.startswith("at ")] == ["at 50", "at 70"]
    assert {len(row) for row in rows} == {len(header)}


def test_wrong_requests_are_said(settings, files, tmp_path):
    with pytest.raises(UserError, match="unknown strategy 'best'"):
        simulate(settings, files, tmp_path / "out", ["best"])
    with pytest.raises(UserError, match="80 tasks, fewer than the 81") as refused:
        read_data(*files, 81)
    assert "--labels" in refused.value.hint
    assert "--rounds" in refused.value.hint
    with pytest.raises(UserError, match="rising"):
        plan(settings, files, rounds=[30, 20])
    with pytest.raises(UserError, match="list of numbers"):
        numbers("20;30")
    assert numbers("20, 30") == [20, 30]


def test_without_rounds_it_trains_when_a_project_would(settings, files):
    assert plan(settings, files, rounds=[], adapter="lora", labels=250).rounds == (
        20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 242, 250,
    )  # fmt: skip
    assert plan(settings, files, rounds=[], labels=40, batch=10).rounds == (20, 30, 40)
