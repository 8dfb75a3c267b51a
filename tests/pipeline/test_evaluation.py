"""A version's evaluation, and advice from the first version on, whatever was labelled."""

import numpy as np
import pytest

from backend.active.head import LinearHead
from backend.errors import ModelError
from backend.pipeline import audit, mirror, publish, retrain
from backend.pipeline.evaluation import earlier_one, evaluate, stop_set
from backend.pipeline.pool import read_labels
from backend.pipeline.snapshot import split, take_snapshot
from backend.pipeline.status import status
from backend.problems.schema import Control, Example, Item, Output, Schema
from backend.problems.version import FOLDS, apart_name, cold_version
from backend.registry import versions as records
from backend.simulate import measure
from tests.fakes import KEY, LABELS, WordEncoder, text_of


@pytest.fixture
def project(parts):
    mirror.reconcile(parts, KEY)
    retrain.cold_start(parts, parts.registry.must_project(KEY))
    return parts.registry.must_project(KEY)


def label(parts, studio, n):
    for task in range(1, n + 1):
        studio.annotate(task, text_of(task)[1])
    mirror.reconcile(parts, KEY)


def evaluation(parts, project, base="words-1", earlier=None):
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    train, _ = split(table, read_labels(parts.registry, project, table))
    old, new = (cold_version(WordEncoder(base_id), project.asks()) for base_id in ("words-1", base))
    known = [] if earlier is None else [(earlier, old)]
    return evaluate(parts, project.asks(), train, table, new, old, earlier_one(project.asks(), known, len(train)))


def version(parts, project, name, labels, measured):
    records.add_version(
        parts.registry,
        KEY,
        schema_hash=project.asks().hash,
        snapshot=name,
        seen=1,
        labels=labels,
        location=name,
        audit={"n": 8, "correct": 6, "value": 0.75, "low": 0.4, "high": 0.93},
        meta={"evaluation": measured},
        verdict="ready",
    )


def test_the_stop_set_is_never_trained_on_and_stays_when_tasks_come(parts, studio, project):
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    before = set(table.ids[stop_set(table.audit, table.audit_rank)])
    assert table.audit[stop_set(table.audit, table.audit_rank)].all()
    studio.tasks[900] = {"text": "a late one"}
    mirror.reconcile(parts, KEY)
    later = parts.pools.table(parts.registry, parts.registry.must_project(KEY), parts.settings.audit_share)
    assert before <= set(later.ids[stop_set(later.audit, later.audit_rank)])
    none = parts.pools.table(parts.registry, project, 0.0)
    assert len(stop_set(none.audit, none.audit_rank)) > 0  # without an audit share too


def test_a_version_agrees_with_itself_and_less_with_another(parts, studio, project):
    label(parts, studio, 40)
    same, other = evaluation(parts, project), evaluation(parts, project, "words-2")
    assert same["kappa"] == 1
    assert other["kappa"] < 1
    assert 0 <= same["uncertainty"] <= 1
    sizes = [p["labels"] for p in same["cross_validation"]]
    assert sizes == sorted(sizes)
    assert len(sizes) >= 3


def test_what_a_version_changed_since_one_of_far_fewer_labels_takes_the_place_of_cross_validation(
    parts, studio, project
):
    label(parts, studio, 40)
    first, same, other = (
        evaluation(parts, project),
        evaluation(parts, project, earlier=10),
        evaluation(parts, project, "words-2", earlier=10),
    )
    labels = first["labels"]
    assert len(first["cross_validation"]) >= 3
    assert (first["change"]["before"], first["change"]["labels"]) == (labels // 2, labels)  # of heads
    assert same["cross_validation"] == other["cross_validation"] == []
    assert same["change"] == {"before": 10, "labels": labels, "share": 0}
    assert 0 < other["change"]["share"] <= 1
    near = evaluation(parts, project, "words-2", earlier=labels - 1)
    assert near["cross_validation"] == first["cross_validation"]  # they differ by chance
    gains = []
    for name, measured in (("same", same), ("other", other)):
        version(parts, project, name, labels, measured)
        gains.append(status(parts, parts.registry.must_project(KEY))["advice"]["gain"]["high"])
    assert gains[0] < gains[1]


def test_held_out_tasks_give_accuracy_and_macro_f1_with_intervals(parts, studio, project):
    label(parts, studio, 60)
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    _, held_out = split(table, read_labels(parts.registry, project, table))
    outputs = [Output(e.targets["topic"]) for e in held_out]
    found = audit.audit_result(project.asks(), held_out, {"topic": outputs}, parts.settings)
    assert found["value"] == found["macro_f1"]["value"] == 1
    outputs[0] = Output(np.roll(outputs[0].probs, 1))
    found = audit.audit_result(project.asks(), held_out, {"topic": outputs}, parts.settings)
    assert found["correct"] == len(held_out) - 1
    for measured in (found, found["macro_f1"]):
        assert 0 <= measured["low"] <= measured["value"] < 1
    assert audit.audit_result(project.asks(), [], {"topic": []}, parts.settings) is None


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_there_is_a_sentence_from_the_cold_version_on_and_without_audit_labels(parts, studio, project, share):
    parts.settings = parts.settings.model_copy(update={"audit_share": share})
    said = status(parts, project)["advice"]
    assert said["sentence"].startswith("Keep labelling")
    label(parts, studio, 40)
    version(parts, project, "one", 40, evaluation(parts, project))
    state = status(parts, parts.registry.must_project(KEY))
    said = state["advice"]
    assert said["sentence"].endswith(".")
    assert said["kappas"] == [1]
    assert -1 <= said["gain"]["low"] <= said["gain"]["high"] <= 1
    assert said["gain"]["value"] is None  # with so few labels it would be next to chance
    assert state["versions"][-1]["evaluation"]["labels"] > 0
    older = {**evaluation(parts, project), "cross_validation": []}  # too few for it
    assert 1 < older.pop("classes") <= 3  # which versions of before do not have
    version(parts, project, "two", 40, older)
    assert status(parts, parts.registry.must_project(KEY))["advice"]["sentence"]


def test_with_nothing_left_to_label_it_says_stop(parts, studio, project):
    label(parts, studio, len(studio.tasks))
    assert status(parts, project)["advice"]["action"] == "stop"


def register(parts, folder):
    """Take a snapshot, and register a version that knows its labels; its row."""
    snapshot = take_snapshot(parts, KEY)
    folder.mkdir()
    (folder / "version.json").write_text('{"kind": "lora"}')
    location = f"{KEY}/{snapshot['hash']}"
    parts.storage.put(folder, location)
    registered = retrain.register(parts, KEY, snapshot, location)
    assert retrain.register(parts, KEY, snapshot, location)["version"] == registered["version"]
    return records.version(parts.registry, KEY, registered["version"])


@pytest.fixture
def trained(monkeypatch, project):
    """What was trained is loaded as an encoder of its own with a cold head."""
    monkeypatch.setattr(
        retrain, "load_version", lambda folder, *_: cold_version(WordEncoder(folder.name), project.asks())
    )


def test_a_registered_version_carries_its_evaluation(parts, studio, project, trained, tmp_path):
    label(parts, studio, 60)
    row = register(parts, tmp_path / "trained")
    assert row.meta["evaluation"]["kappa"] is not None
    assert len(row.meta["evaluation"]["cross_validation"]) >= 3
    assert {"value", "low", "high"} <= set(row.audit["macro_f1"])


def test_a_version_is_compared_with_the_newest_one_of_far_fewer_labels(parts, studio, project, trained, tmp_path):
    label(parts, studio, 20)
    evaluations = [register(parts, tmp_path / "first").meta["evaluation"]]
    for n in (24, 60):
        for task in range(evaluations[-1]["labels"] + 1, n + 1):
            studio.annotate(task, text_of(task)[1])
        mirror.reconcile(parts, KEY)
        evaluations.append(register(parts, tmp_path / str(n)).meta["evaluation"])
    one, two, three = evaluations
    assert two["change"]["before"] == two["labels"] // 2, "the first has nearly as many labels, so heads are compared"
    assert three["change"] == {"before": two["labels"], "labels": three["labels"], "share": three["change"]["share"]}
    assert one["labels"] < two["labels"] < three["labels"]
    assert three["cross_validation"] == []


def test_audit_and_gate_measure_by_heads_that_the_answers_did_not_calibrate(
    parts, studio, project, monkeypatch, tmp_path
):
    """Where a version has such heads, they say what is measured: here always the same label."""
    cold = cold_version(WordEncoder(), project.asks())
    nothing = cold.heads["topic"].weight[:, :0]

    def always(label):
        bias = 99 * np.eye(3, dtype=np.float32)[label]
        return {apart_name("topic", n): LinearHead(nothing, bias) for n in range(FOLDS)}

    monkeypatch.setattr(retrain, "load_version", lambda *_: cold.with_heads(always(0)))
    label(parts, studio, 60)
    row = register(parts, tmp_path / "trained")
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    _, held_out = split(table, read_labels(parts.registry, project, table))
    correct = np.sum([e.targets["topic"] for e in held_out], axis=0)
    assert row.audit["correct"] == correct[0]
    records.activate(parts.registry, KEY, row.name, row.name, "test")
    rare, often = np.argsort(correct)[[0, -1]]
    assert correct[often] > correct[rare]
    monkeypatch.setattr(publish, "load", lambda *_: cold.with_heads(always(often)))
    verdict = audit.verdict(parts, project, held_out * 90, cold.with_heads(always(rare)))
    assert verdict.endswith(f"{90 * correct[rare]:.0f} right, not {90 * correct[often]:.0f}")
    monkeypatch.setattr(publish, "load", lambda *_: cold)  # of a release that measured otherwise
    assert audit.verdict(parts, project, held_out * 90, cold.with_heads(always(rare))) == "ready"


def test_the_gate_asks_of_no_task_that_the_active_version_has_learned_from(
    parts, studio, project, trained, tmp_path, monkeypatch
):
    label(parts, studio, 60)
    parts.settings = parts.settings.model_copy(update={"audit_share": 0.1})
    row = register(parts, tmp_path / "first")
    records.activate(parts.registry, KEY, row.name, row.name, "test")
    parts.settings = parts.settings.model_copy(update={"audit_share": 0.4})
    compared = []
    monkeypatch.setattr(audit, "worse_beyond_noise", lambda old, new: compared.append(len(old)))
    again = register(parts, tmp_path / "second")
    assert compared == [row.audit["n"]]
    assert again.audit["n"] > row.audit["n"]


def test_versions_whose_weights_are_lost_do_not_stop_the_next_one(
    parts, studio, project, trained, tmp_path, monkeypatch
):
    label(parts, studio, 20)
    row = register(parts, tmp_path / "first")
    records.activate(parts.registry, KEY, row.name, row.name, "test")

    def lost(*_):
        raise ModelError("no version is stored")

    monkeypatch.setattr(publish, "load", lost)
    parts.settings = parts.settings.model_copy(update={"self_training": 0.5, "warm_start": 1.0})
    for task in range(21, 61):
        studio.annotate(task, text_of(task)[1])
    mirror.reconcile(parts, KEY)
    again = register(parts, tmp_path / "second")
    assert (again.name, again.verdict) == ("v2", "ready")


def test_a_held_out_task_whose_answers_weigh_nothing_measures_nothing(parts, studio, project):
    one, other = (Control(name, "choices", "text", "text", LABELS, LABELS) for name in "ab")
    schema, right, wrong = Schema((one, other)), np.eye(3, dtype=np.float32)[0], np.eye(3, dtype=np.float32)[1]
    both = [Example(n, Item.of("x"), {"a": right, "b": right}) for n in range(5)]
    light = [Example(n, Item.of("x"), {"b": right}) for n in range(5, 10)]
    outputs = {"a": [Output(right)] * 10, "b": [Output(wrong)] * 10}
    settings = parts.settings.model_copy(update={"control_weights": "b=0"})
    found = audit.audit_result(schema, [*both, *light], outputs, settings)
    assert (found["n"], found["value"]) == (5, 1)
    assert (found["controls"]["b"]["n"], found["controls"]["b"]["value"]) == (10, 0)
    assert audit.qualities(schema, [*light, *both], outputs, settings.weights).tolist() == [1] * 5
    only = {name: said[:5] for name, said in outputs.items()}
    assert audit.audit_result(schema, light, only, settings) is None
    assert measure.audit(schema, only, light, settings.weights) is None
    assert measure.audit(schema, outputs, [*both, *light], settings.weights)["n"] == 5
