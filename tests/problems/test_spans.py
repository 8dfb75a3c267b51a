"""Spans: the units of a text, targets of them, what is learned, how sure each span is, and what is worth a label."""

import json
import unicodedata
import weakref
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.head import LinearHead
from backend.active.tagging import Tags
from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.problems.base import problem_for
from backend.problems.lessons import MOST_WINDOWS
from backend.problems.region import RegionChoice
from backend.problems.schema import Control, Example, Item, Output, Schema
from backend.problems.spans import Spans, settled, worth
from backend.problems.training import train_version
from backend.problems.units import unit_logits, units_of
from backend.problems.version import cold_version, load_version

CONTROL = Control("entity", "labels", "text", "text", ("man", "city"), ("man", "city"), options={"type": "labels"})
SCHEMA = Schema((CONTROL,))
PROBLEM = Spans()
RECIPE = Recipe(steps=60, batch_size=8, learning_rate=3e-3, seed=3)
SPANS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(10, 20), st.integers(0, 1), st.sampled_from([0.25, 0.5, 0.75, 1.0])),
    unique_by=lambda span: span[:3],
)


def example(number: int, *, nested: bool = False) -> Example:
    """``man`` and ``city`` are spans, now and then of two words; some texts have none."""
    words, spans, text = [], [], ""
    for at in range(6):
        kind = (number * 7 + at * 5) % 9
        word = {0: "man", 1: "city", 2: "man far"}.get(kind, ("the", "was", "how", "many")[(number + at) % 4])
        text += (" " if text else "") + word
        if kind < 3:
            label = int(kind == 1)
            spans.append((len(text) - len(word), len(text), label, 1.0))
            if nested and kind == 2:
                spans.append((len(text) - len(word), len(text) - 4, 1, 1.0))
        words.append(word)
    return Example(number, Item.of(text), {"entity": spans})


def trained(encoder: Encoder, folder: Path, examples: list[Example], held_out: list[Example]):
    train_version(encoder, SCHEMA, examples, held_out, RECIPE, folder, lambda *_: None)
    return load_version(folder, encoder)


# --------------------------------------------------------------------------------------------------------------- units
@given(st.text(st.sampled_from("how many man, citý中文กิ\U0001f600\u200d\t\r\n "), max_size=200))
def test_units_are_places_of_the_text_in_order(encoder: Encoder, text: str) -> None:
    for words in (True, False):
        units = units_of(encoder.tokens, text, words=words)
        assert (units.offsets[:, 0] < units.offsets[:, 1]).all()
        assert (units.offsets[1:, 0] >= units.offsets[:-1, 1]).all()
        covered = {at for start, end in units.offsets for at in range(start, end)}
        assert all(at in covered for at, character in enumerate(text) if character.isalpha())
        assert not any(unicodedata.category(text[end])[0] == "M" for _, end in units.offsets if end < len(text))
        assert sorted(set(units.unit.tolist())) == list(range(len(units)))
        assert [units.between(start, end) for start, end in units.offsets] == [(n, n + 1) for n in range(len(units))]


def test_words_are_whole_and_signs_of_dense_scripts_are_apart(encoder: Encoder) -> None:
    text = "how far, xylophone 中文"
    assert [text[a:b] for a, b in units_of(encoder.tokens, text, words=True).offsets] == [
        "how", "far", ",", "xylophone", "中", "文",
    ]  # fmt: skip


def test_every_token_of_a_long_text_counts_once(encoder: Encoder) -> None:
    text = "the man in the city " * 30
    units = units_of(encoder.tokens, text, words=True)
    assert len(units.sequences) > 3
    assert [text[a:b] for a, b in units.offsets] == text.split()


@pytest.mark.parametrize("problem", [PROBLEM, RegionChoice()], ids=["spans", "regions"])
@pytest.mark.parametrize("long", [True, False])
def test_hidden_states_are_in_memory_a_batch_at_a_time(encoder: Encoder, problem, long: bool) -> None:
    """With the one before, at which one looks while the next is computed."""
    alive, most = [], 0

    class Watched(Encoder):
        def _in_halves(self, ids, compute):
            nonlocal most
            states = [np.array(one) for one in super()._in_halves(ids, compute)]
            alive.extend(map(weakref.ref, states))
            most = max(most, sum(one() is not None for one in alive))
            return states

    watched = Watched(encoder.model, encoder.tokens, replace(encoder.spec, batch_tokens=200), "watched")
    text = "the man in the city " * (60 if long else 1)
    items = [Item.of(text)] * (4 if long else 100)
    problem.read(CONTROL, cold_version(encoder, SCHEMA).heads["entity"], watched, items)
    assert 0 < most <= (10 if long else 60)
    spans = [(4, 7, 0, 1.0), (len(text) - 5, len(text) - 1, 1, 1.0)]
    examples = [Example(n, one, {"entity": spans}) for n, one in enumerate(items)]
    problem.head_task(CONTROL, watched, examples, smoothing=0.0, seed=0)
    assert most <= (10 if long else 60)


def test_a_word_has_the_mean_logits_of_its_tokens_in_all_windows(encoder: Encoder) -> None:
    head = LinearHead(np.random.default_rng(0).normal(size=(3, encoder.dim)).astype(np.float32), np.ones(3, np.float32))
    texts = ["city" + "a" * 45 + " man", "", "how manan " * 30, "\u200b", "far"]
    units = [units_of(encoder.tokens, text, words=True) for text in texts]
    assert {0, 1} <= {window for window, _ in units[0].places[units[0].unit == 0].tolist()}
    found = unit_logits(encoder, head, units)
    assert [len(logits) for logits in found] == [len(one) for one in units] == [2, 0, 60, 0, 1]
    for one, logits in zip(units, found, strict=True):
        states = [dict(encoder.hidden([ids]))[0] for ids in one.sequences]
        for unit in range(len(one)):
            mean = np.mean([states[w][place] for w, place in one.places[one.unit == unit]], axis=0)
            assert logits[unit] == pytest.approx(head.logits(mean[None])[0], abs=1e-4)
    assert unit_logits(encoder, head, []) == []


# ------------------------------------------------------------------------------------------------------------- targets
@given(SPANS)
def test_targets_survive_json(target) -> None:
    assert PROBLEM.target_from_json(json.loads(json.dumps(PROBLEM.target_json(target)))) == target


def test_something_must_be_marked_to_be_learned() -> None:
    assert not PROBLEM.can_fit(CONTROL, [])
    assert not PROBLEM.can_fit(CONTROL, [[], [(0, 3, 0, 0.5)]])
    assert PROBLEM.can_fit(CONTROL, [[], [(0, 3, 0, 1.0)]])


@given(SPANS, SPANS)
def test_quality_is_that_of_the_spans_most_annotators_marked(said, target) -> None:
    quality = PROBLEM.quality(CONTROL, PROBLEM.sure(said), target)
    assert 0 <= quality <= 1
    assert PROBLEM.quality(CONTROL, PROBLEM.sure(target), target) == 1
    assert PROBLEM.kept(said, target) == (settled(said) == settled(target))
    if settled(said) == settled(target):
        assert quality == 1


def test_a_span_of_half_of_the_annotators_is_right_and_not_missed() -> None:
    target = [(0, 3, 0, 0.5), (4, 8, 1, 1.0)]
    for said in ([(4, 8, 1, 1.0)], [(0, 3, 0, 1.0), (4, 8, 1, 1.0)]):
        assert PROBLEM.quality(CONTROL, Output(answer=said, extra={"scores": [1.0] * len(said)}), target) == 1


def test_the_confidence_is_judged_as_the_quality_is_by_spans_of_half_of_the_annotators(version) -> None:
    items = [example(n).item for n in range(60, 80)]
    said = [output.answer for output in version.predict(items)["entity"]]
    heads = []
    for share in (0.5, 1.0):
        targets = [[(*span[:3], share) for span in spans] for spans in said]
        outputs = [Output(answer=spans, extra={"scores": [1.0] * len(spans)}) for spans in said]
        assert PROBLEM.scores(CONTROL, outputs, targets)["ece"] == 0
        held_out = [Example(n, item, {"entity": t}) for n, (item, t) in enumerate(zip(items, targets, strict=True))]
        heads.append(PROBLEM.calibrated(CONTROL, version.heads["entity"], version.encoder, held_out))
    half, whole = (head.extra["confidence"] @ [0, 1] for head in heads)
    assert half > 0
    assert whole > 0


def test_scores_are_f1_of_spans() -> None:
    outputs = [PROBLEM.sure([(0, 3, 0, 1.0), (4, 6, 1, 1.0)]), PROBLEM.sure([]), PROBLEM.sure([])]
    targets = [[(0, 3, 0, 1.0), (4, 7, 1, 1.0)], [], [(0, 2, 0, 1.0)]]
    scores = PROBLEM.scores(CONTROL, outputs, targets)
    assert next(iter(scores)) == PROBLEM.score == "micro_f1"
    assert scores["micro_f1"] == pytest.approx(2 * 1 / (2 + 3))
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["span_f1"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert scores["exact_match"] == pytest.approx(1 / 3)
    assert scores["ece"] == pytest.approx(0.5)
    assert PROBLEM.quality(CONTROL, Output(), [(0, 1, 0, 1.0)]) == 0


# ------------------------------------------------------------------------------------------------------------ learning
@pytest.fixture(scope="module")
def version(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("spans") / "v"
    return trained(encoder, folder, [example(n) for n in range(40)], [example(n) for n in range(40, 52)])


def test_what_is_learned_is_there_after_loading(version) -> None:
    examples = [example(n) for n in range(60, 90)]
    outputs = version.predict([e.item for e in examples])["entity"]
    scores = problem_for(CONTROL).scores(CONTROL, outputs, [e.targets["entity"] for e in examples])
    assert scores["micro_f1"] > 0.9
    assert version.heads["entity"].extra["confidence"].shape == (2,)
    for output in outputs:
        assert all(0 < s < 1 for s in output.extra["scores"])
        assert output.confidence <= min(output.extra["scores"], default=1)


def test_rows_and_outputs_of_one_reading_are_those_of_two(version) -> None:
    items = [example(n).item for n in range(60, 66)]
    rows, outputs = version.rows_and_outputs(items)
    assert rows == pytest.approx(version.embed(items), abs=1e-5)
    again = version.outputs(items, rows)["entity"]
    assert [o.answer for o in outputs["entity"]] == [o.answer for o in again]
    assert version.judge.worth(rows) == pytest.approx([o.worth for o in again], abs=1e-4)


def test_a_smart_selection_is_drawn_to_what_is_seen_and_found_elsewhere(version) -> None:
    text = "the man far was many man far how city"
    item = Item.of(text)
    whole = version.predict([item])["entity"][0]
    assert (4, 11, 0, 1.0) in whole.answer
    rough = version.guided(item, {"entity": [(5, 9, 0, 1.0)]})["entity"]
    assert [span[:3] for span in rough.answer] == [(4, 11, 0), (21, 28, 0)]
    other = version.guided(item, {"entity": [(5, 9, 1, 1.0)]})["entity"]  # the model sees no city there: whole words
    assert [span[:3] for span in other.answer] == [(4, 11, 1), (21, 28, 1)]
    assert max(other.extra["scores"]) < min(rough.extra["scores"])
    assert version.guided(item, {}) == {}
    assert version.guided(item, {"entity": []})["entity"].answer == []


@pytest.mark.parametrize("mark", [(0, 11), (8, 19)])
def test_what_an_annotator_marked_is_suggested_where_its_text_overlaps_itself(version, mark) -> None:
    output = version.guided(Item.of("the man the man the"), {"entity": [(*mark, 1, 1.0)]})["entity"]
    assert [span[:3] for span in output.answer] == [(*mark, 1)]
    longer = version.guided(Item.of("the man " * 6), {"entity": [(*mark, 1, 1.0)]})["entity"].answer
    assert (*mark, 1, 1.0) in longer
    assert len(longer) == (3 if mark[0] == 0 else 2)
    assert all(one[1] < other[0] for one, other in pairwise(longer))


def test_a_long_text_is_read_in_windows_to_its_end(version) -> None:
    text, wanted = "", []
    for number in range(60, 80):
        one = example(number)
        wanted += [(len(text) + s, len(text) + e, k, 1.0) for s, e, k, _ in one.targets["entity"]]
        text += one.item.text + " "
    (output,) = version.predict([Item.of(text)])["entity"]
    late = [(span, span in output.answer) for span in wanted if span[0] > len(text) / 2]
    assert len(late) > 10
    assert np.mean([found for _, found in late]) > 0.6


def test_spans_within_others_are_learned_where_annotators_mark_them(encoder: Encoder, tmp_path: Path) -> None:
    version = trained(encoder, tmp_path / "v", [example(n, nested=True) for n in range(40)], [])
    assert version.heads["entity"].extra["layered"].tolist() == [1]
    examples = [example(n, nested=True) for n in range(60, 80)]
    outputs = version.predict([e.item for e in examples])["entity"]
    scores = PROBLEM.scores(CONTROL, outputs, [e.targets["entity"] for e in examples])
    assert scores["micro_f1"] > 0.8
    assert any(a[:2] != b[:2] and a[1] > b[0] for o in outputs for a, b in zip(o.answer, o.answer[1:], strict=False))


def test_spans_of_parts_of_words_make_tokens_the_units(encoder: Encoder) -> None:
    halves = [Example(n, Item.of("how many"), {"entity": [(4, 6, 0, 1.0)]}) for n in range(4)]
    task = PROBLEM.head_task(CONTROL, encoder, halves, smoothing=0.0, seed=0)
    assert task.start.extra["words"].tolist() == [0]
    whole = [Example(n, Item.of("how many"), {"entity": [(4, 8, 0, 1.0)]}) for n in range(4)]
    assert PROBLEM.head_task(CONTROL, encoder, whole, smoothing=0.0, seed=0).start.extra["words"].tolist() == [1]


def test_texts_without_words_teach_nothing_and_stop_nothing(encoder: Encoder, tmp_path: Path) -> None:
    """They may be all that a portion of an update has."""
    blank = [Example(n, Item.of("\u200b"), {"entity": []}) for n in range(20)]
    version = trained(encoder, tmp_path / "v", [*blank, *map(example, range(8))], [])
    assert np.isfinite(version.meta["loss"])


def test_of_a_very_long_text_the_windows_with_spans_train(encoder: Encoder) -> None:
    text = "the was " * 900 + "man"
    long = Example(0, Item.of(text), {"entity": [(len(text) - 3, len(text), 0, 1.0)]})
    absent = Example(1, Item.of("x"), {})
    task = PROBLEM.head_task(CONTROL, encoder, [long, absent], smoothing=0.0, seed=0)
    assert len(task.sequences[0]) == MOST_WINDOWS
    assert task.sequences[1] == []
    assert units_of(encoder.tokens, text, words=True).sequences[-1] in task.sequences[0]


@pytest.mark.parametrize("label", [0, 1])
def test_of_a_very_long_text_spans_of_each_layer_train(encoder: Encoder, label: int) -> None:
    text = "the was " * 900 + "man far"
    spans = [(len(text) - 7, len(text), label, 1.0), (len(text) - 3, len(text), label, 1.0)]
    task = PROBLEM.head_task(CONTROL, encoder, [Example(0, Item.of(text), {"entity": spans})], smoothing=0.0, seed=0)
    assert task.start.extra["layered"].tolist() == [1]
    assert units_of(encoder.tokens, text, words=True).sequences[-1] in task.sequences[0]


def test_before_any_label_nothing_is_marked_and_all_are_worth_the_same(encoder: Encoder) -> None:
    version = cold_version(encoder, SCHEMA)
    items = [Item.of("how many"), Item.of("the man was far")]
    rows, outputs = version.rows_and_outputs(items)
    assert [o.answer for o in outputs["entity"]] == [[], []]
    assert np.ptp(version.judge.worth(rows)) < 0.2


# --------------------------------------------------------------------------------------------------------------- worth
def test_worth_is_what_is_open_about_likely_spans_whatever_the_length() -> None:
    tags = Tags(1)
    sure, open_ = np.log([0.998, 0.001, 0.001]), np.log([0.5, 0.4, 0.1])
    assert worth(tags, np.array([sure] * 5)) == 0
    assert worth(tags, np.array([open_] * 5)) > worth(tags, np.array([open_])) > 0
    assert worth(tags, np.array([open_] + [sure] * 50)) == worth(tags, np.array([open_]))
    assert worth(tags, np.zeros((0, 3))) == 0
    assert worth(tags, np.array([np.log([0.05, 0.9, 0.05])] * 3)) < worth(tags, np.array([open_] * 3)) < 1
