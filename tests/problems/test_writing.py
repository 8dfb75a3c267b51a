"""Texts: how like they are, what is measured of them, and a control whose texts nobody writes: a queue alone."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.head import LinearHead
from backend.models.generator import Written
from backend.pipeline.decide import Field, Policy, decide
from backend.problems.base import problem_for, readers
from backend.problems.examples import example_from, example_json, learnable
from backend.problems.likeness import BleuCounts, chrf, corpus_chrf, tokenizer_for
from backend.problems.schema import Control, Example, Item, Output, Schema
from backend.problems.version import cold_version
from backend.problems.writing import CALIBRATED, Writing
from tests.fakes import WordEncoder

CONTROL = Control("answer", "textarea", "text", "text", (), ())
CHOICE = Control("topic", "choices", "text", "text", ("a", "b"), ("goal", "soup"))
PROBLEM = Writing()
TEXTS = st.text(min_size=1, max_size=30).filter(str.strip)


class Parrot:
    """A generator that says the prompt; the longer, the less sure. Prompts with "?" are beyond it. ``drawn`` is what
    else it might say."""

    template = ""

    def __init__(self, *drawn):
        self.drawn = drawn

    def write(self, prompts):
        return [None if "?" in p else [Written(p, -len(p) / 100, self.drawn)] for p in prompts]


def said(*texts: str) -> Output:
    return Output(answer=texts or None, confidence=0.5)


# ---------------------------------------------------------------------------------------------------------- likeness
@given(TEXTS, TEXTS)
def test_a_text_is_most_like_itself_and_the_best_reference_counts(text: str, other: str) -> None:
    assert chrf(text, (other, text)) == pytest.approx(1 if text.strip() else 0)
    assert 0 <= chrf(text, (other,)) <= chrf(text, (other, text))


def test_the_scores_are_sacrebleus_own() -> None:
    import sacrebleu

    texts, references = ["the cat sat on the mat", "a dog", "no"], [["the cat sat on a mat", "x"], ["the dog"], ["yes"]]
    streams = [[r[at] if at < len(r) else None for r in references] for at in range(2)]
    assert corpus_chrf(texts, references) == pytest.approx(sacrebleu.corpus_chrf(texts, streams).score / 100)
    counts = BleuCounts(texts, references)
    for at in ([0, 1, 2], [0, 0, 1], [2]):
        chosen = [[s[i] for i in at] for s in streams]
        expected = sacrebleu.corpus_bleu([texts[i] for i in at], chosen, force=True).score
        assert counts.score(np.array(at)) == pytest.approx(expected / 100)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hello", "13a"),
        ("我想学 Python", "zh"),
        ("東京へ行きました", "char"),
        ("สวัสดี", "char"),
        ("안녕 세상", "13a"),
        ("1", "13a"),
    ],
)
def test_words_are_told_apart_by_script(text: str, name: str) -> None:
    assert tokenizer_for([text]) == name


def test_chinese_is_not_one_word() -> None:
    assert BleuCounts(["今天天气很好我们走"], [["今天天气很好我们去"]]).score(np.arange(1)) > 0.5


# ---------------------------------------------------------------------------------------------------------- measures
def test_quality_and_scores_take_the_first_text_and_the_best_reference() -> None:
    outputs = [said("a b c d", "x"), said("nothing alike"), said()]
    targets = [("q", "a b c d"), ("zzz",), ("zzz",)]
    assert [PROBLEM.quality(CONTROL, o, t) for o, t in zip(outputs, targets, strict=True)] == [1, 0, 0]
    scores = PROBLEM.scores(CONTROL, outputs, targets)
    assert next(iter(scores)) == PROBLEM.score == "chrf"
    assert scores["exact_match"] == scores[PROBLEM.metric] == pytest.approx(1 / 3)
    assert all(0 <= value <= 1 for value in scores.values())
    report = PROBLEM.report(CONTROL, outputs, targets, seed=0)
    assert report["bleu"].value == pytest.approx(scores["bleu"])
    assert report["exact_match"].low <= 1 / 3 <= report["exact_match"].high


def test_a_suggestion_that_needs_a_touch_was_kept_and_one_that_needs_rewriting_was_not() -> None:
    assert PROBLEM.kept(("A man is riding a bike.",), ("A man rides a bike.",))
    assert PROBLEM.kept(("nothing", "A man."), ("A man.",))
    assert not PROBLEM.kept(("nothing of it",), ("A man rides a bike.",))


@given(st.lists(TEXTS, min_size=1))
def test_targets_survive_json(texts: list[str]) -> None:
    schema = Schema((CONTROL,))
    example = Example(3, Item.of("t"), {"answer": tuple(texts)})
    assert example_from(schema, json.loads(json.dumps(example_json(schema, example)))) == example


# -------------------------------------------------------------------------------------------------------- confidence
def test_the_confidence_becomes_the_likeness_that_it_foretells() -> None:
    examples = [Example(n, Item.of("ab" * (n + 1)), {"answer": ("ab" * 20,)}) for n in range(2 * CALIBRATED)]
    head = PROBLEM.zero_shot_head(CONTROL, 4, lambda _: np.zeros((0, 4), np.float32))
    items = [e.item for e in examples]
    before = PROBLEM.outputs(CONTROL, head, PROBLEM.read(CONTROL, head, Parrot(), items))
    assert before[0].confidence == pytest.approx(np.exp(-0.02), abs=1e-4)
    assert before[0].extra == {"uncalibrated": True}
    fitted = PROBLEM.calibrated(CONTROL, head, Parrot(), examples)
    fitted = LinearHead.from_arrays(fitted.to_arrays())
    after = PROBLEM.outputs(CONTROL, fitted, PROBLEM.read(CONTROL, fitted, Parrot(), items))
    quality = [PROBLEM.quality(CONTROL, o, e.targets["answer"]) for o, e in zip(after, examples, strict=True)]
    off = {name: abs(np.mean([o.confidence for o in outputs]) - np.mean(quality)) for name, outputs in
           (("before", before), ("after", after))}  # fmt: skip
    assert off["after"] < off["before"] / 3
    assert after[0].extra == {}
    few = PROBLEM.calibrated(CONTROL, head, Parrot(), examples[:3])
    assert PROBLEM.outputs(CONTROL, few, [[Written("x", -0.1)]])[0].extra == {"uncalibrated": True}


def test_a_text_is_trusted_as_far_as_what_is_drawn_beside_it_is_like_it() -> None:
    head = PROBLEM.zero_shot_head(CONTROL, 4, lambda _: np.zeros((0, 4), np.float32))
    item = Item.of("the tall man of the city")

    def confidence(*drawn: str) -> float:
        return PROBLEM.outputs(CONTROL, head, PROBLEM.read(CONTROL, head, Parrot(*drawn), [item]))[0].confidence

    plain, near = np.exp(-0.24), chrf("the tall man", (item.text,))
    assert confidence() == pytest.approx(plain, abs=1e-6)
    assert confidence("###", "zzz") == pytest.approx(plain, abs=1e-6)
    assert confidence("the tall man", "###") == pytest.approx(np.exp(-0.24 * (1 - near / 2)), abs=1e-6)
    assert confidence(item.text) > confidence("the tall man") > plain


def test_a_calibration_holds_for_what_it_was_made_of() -> None:
    examples = [Example(n, Item.of("ab" * (n + 1)), {"answer": ("ab" * 20,)}) for n in range(CALIBRATED)]
    cold = PROBLEM.zero_shot_head(CONTROL, 4, lambda _: np.zeros((0, 4), np.float32))
    alone, beside = Parrot(), Parrot("abab")
    for made, other in ((alone, beside), (beside, alone)):
        head = LinearHead.from_arrays(PROBLEM.calibrated(CONTROL, cold, made, examples).to_arrays())
        items = [examples[0].item]
        (same,) = PROBLEM.outputs(CONTROL, head, PROBLEM.read(CONTROL, head, made, items))
        (changed,) = PROBLEM.outputs(CONTROL, head, PROBLEM.read(CONTROL, head, other, items))
        (raw,) = PROBLEM.outputs(CONTROL, cold, PROBLEM.read(CONTROL, cold, other, items))
        assert same.extra == {}
        assert changed.extra == {"uncalibrated": True}
        assert changed.confidence == raw.confidence


def test_what_is_not_written_is_no_answer() -> None:
    head = PROBLEM.zero_shot_head(CONTROL, 4, lambda _: np.zeros((0, 4), np.float32))
    outputs = PROBLEM.outputs(CONTROL, head, PROBLEM.read(CONTROL, head, Parrot(), [Item.of("a"), Item.of("?")]))
    assert [PROBLEM.answer(o) for o in outputs] == [("a",), None]
    assert PROBLEM.outputs(CONTROL, head, PROBLEM.read(CONTROL, head, None, [Item.of("a")]))[0].answer is None


# ------------------------------------------------------------------------------------------------------ a queue alone
def test_without_a_generator_there_is_a_queue_and_nothing_is_learned_or_said() -> None:
    schema = Schema((CONTROL,))
    items = [Item.of(f"{word} {n}") for n in range(10) for word in ("goal", "soup")]
    encoder = WordEncoder()
    version = cold_version(encoder, schema)
    rows = version.embed(items)
    assert rows.shape == (20, encoder.dim)
    assert version.base_id == encoder.base_id
    assert {o.answer for o in version.predict(items)["answer"]} == {None}
    assert {o.answer for o in version.outputs(items, rows)["answer"]} == {None}
    targets = {0: {"answer": ("a",)}, 2: {"answer": ("b",)}}
    field = Field(rows, np.arange(20) > 2, np.zeros(20, bool), np.arange(20) / 20, targets)
    assert version.judge.auto == "random-diverse"
    chosen = decide(version.judge, field, 17, Policy("auto", 0.0, 0))
    assert sorted(c.position for c in chosen) == list(range(3, 20))
    assert chosen[0].reason == {"measure": "diversity", "pool": 17, "labelled": 2}
    typical = decide(version.judge, field, 17, Policy("idds", 0.0, 0))
    assert typical[0].position % 2 == 1  # the topic that has no label
    assert learnable(schema, [Example(0, items[0], targets[0])]) == []
    assert learnable(schema, [Example(0, items[0], targets[0])], texts=True) == [CONTROL]


def test_beside_a_choice_it_leaves_the_choice_as_it_is() -> None:
    encoder, items = WordEncoder(), [Item.of("goal"), Item.of("soup")]
    both, alone = (cold_version(encoder, Schema(c)) for c in ((CHOICE, CONTROL), (CHOICE,)))
    assert both.base_id == alone.base_id
    assert both.embed(items).tolist() == alone.embed(items).tolist()
    for at, output in enumerate(alone.predict(items)["topic"]):
        assert both.predict(items)["topic"][at].probs.tolist() == output.probs.tolist()
    assert both.judge.auto == "auto"
    assert readers(both.schema) == {"encoder", "generator"}


def test_the_kind_is_known() -> None:
    assert isinstance(problem_for(CONTROL), Writing)
