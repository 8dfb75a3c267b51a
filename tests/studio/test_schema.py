from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import UnsupportedConfig, UserError
from backend.studio.codec import read_item
from backend.studio.schema import hidden_at_times, parse_schema, read_config

TEXT = '<Text name="text" value="$text"/>'


def config(control: str, text: str = TEXT) -> str:
    return f"<View><Header value='h'/>{text}{control}</View>"


def choices(inner: str = '<Choice value="a"/><Choice value="b"/>', more: str = "") -> str:
    return f'<Choices name="topic" toName="text" {more}>{inner}</Choices>'


def test_labels_keep_the_order_of_the_config() -> None:
    control = parse_schema(config(choices('<Choice value="b"/><Choice value="a"/>'))).controls[0]
    assert (control.name, control.kind, control.to_name, control.text_field) == ("topic", "choices", "text", "text")
    assert control.labels == ("b", "a")


def test_alias_is_the_label_and_hint_or_value_its_description() -> None:
    inner = '<Choice value="Good mood" alias="pos"/><Choice value="neg" hint="Bad mood"/><Choice value="none"/>'
    control = parse_schema(config(choices(inner))).controls[0]
    assert control.labels == ("pos", "neg", "none")
    assert control.descriptions == ("Good mood", "Bad mood", "none")


@pytest.mark.parametrize("more", ["", 'choice="single"', 'choice="single-radio"', 'layout="select"', 'required="true"'])
def test_variants_with_one_answer_are_supported(more: str) -> None:
    assert parse_schema(config(choices(more=more))).controls[0].labels == ("a", "b")


def test_looks_and_second_texts_do_not_count() -> None:
    plain = parse_schema(config(choices()))
    style = '<Style>.x { color: red }</Style><Filter name="f" toName="topic"/><!-- a comment -->'
    other = '<Text name="title" value="$title"/>'
    nested = choices('<View><Choice value="a"/></View><Choice value="b"/>')
    assert parse_schema(config(style + nested, TEXT + other)).hash == plain.hash


def test_several_questions_are_several_controls_and_read_all_their_fields() -> None:
    other = choices().replace("topic", "mood").replace('toName="text"', 'toName="title"')
    schema = parse_schema(config(choices() + other, TEXT + '<Text name="title" value="$title"/>'))
    assert [c.name for c in schema.controls] == ["topic", "mood"]
    assert schema.fields == ("text", "title")


def test_what_is_hidden_at_times_is_the_tag_and_all_inside_it() -> None:
    inside = '<View><Choices name="a" toName="text"/></View><Labels name="b" toName="text"/>'
    hidden = f'<View visiblewhen="choice-selected">{inside}</View><Rating name="c" visibleWhen="choice-selected"/>'
    assert hidden_at_times(config(choices() + hidden)) == {"a", "b", "c"}
    assert hidden_at_times("<View") == hidden_at_times("<!DOCTYPE x><View/>") == frozenset()


NESTED = '<Choice value="a"><Choice value="b"/><Choice value="c"/></Choice><Choice value="d"/>'
TREE = f'<Taxonomy name="topic" toName="text" {{}}>{NESTED}</Taxonomy>'
MARK = '<Labels name="mark" toName="text"><Label value="x"/></Labels>'


@pytest.mark.parametrize(
    ("control", "attribute"),
    [
        (choices(NESTED, "{}"), 'allowNested="true"'),
        (MARK + choices(more="{}"), 'perRegion="true"'),
        (MARK + choices(more="{}"), 'perItem="true"'),
        (MARK + choices(more='perRegion="true" {}'), 'whenLabelValue="x"'),
        (MARK + choices(more="{}"), 'apiUrl="http://x"'),
        (TREE, 'leafsOnly="true"'),
        (TREE, 'maxUsages="2"'),
        (TREE, 'visibleWhen="choice-selected"'),
        ('<Rating name="stars" toName="text" {}/>', 'maxRating="3"'),
        ('<TextArea name="answer" toName="text" {}/>', 'maxSubmissions="1"'),
    ],
)
def test_attributes_count_however_they_are_capitalised(control: str, attribute: str) -> None:
    name, value = attribute.split("=")
    usual, lower = (read_config(config(control.replace("{}", a))) for a in (attribute, f"{name.lower()}={value}"))
    assert usual == lower
    assert usual != read_config(config(control.replace("{}", "")))


@pytest.mark.parametrize(
    ("label_config", "named"),
    [
        ("", "label config"),
        ("<View>", "cannot be read"),
        ("<View/>", "control"),
        ("just words", "cannot be read"),
        ('<!DOCTYPE x [<!ENTITY e "e">]>' + config(choices()), "entities"),
        (config(choices(more='choice="some"')), 'choice="some"'),
        (config(choices(more='perRegion="true"')), "perRegion"),
        (config(choices(more='perItem="true"')), "perItem"),
        (config(choices(more='value="$options"')), "value"),
        (config(choices("")), "<Choice>"),
        (config(choices('<Choice value="a"/><Choice value="a"/>')), "twice"),
        (config(choices('<Choice value="a"/><Choice value=" "/>')), "no value"),
        (config(choices('<Choice value="a"/><Choice value="$b"/>')), "$b"),
        (config(choices() + choices()), "same name"),
        (config(choices(more='choice="some"') + '<DateTime name="why" toName="text"/>'), 'choice="some"'),
        (config('<DateTime name="l" toName="text"/>'), "<DateTime>"),
        (config('<Taxonomy name="t" toName="text"/>'), "<Taxonomy>"),
        (config(choices(), '<Image name="text" value="$image"/>'), "<Image>"),
        (config(choices(), '<Text name="text" value="$text" valueType="url"/>'), "valueType"),
        (config(choices(), '<Text name="text" value="Read: $text"/>'), "Read: $text"),
        (config(choices(), '<Text name="text" value="fixed"/>'), "fixed"),
        (config(choices(), '<Text name="other" value="$text"/>'), 'toName="text"'),
    ],
)
def test_unsupported_config_is_refused_with_a_sentence_that_names_the_cause(label_config: str, named: str) -> None:
    with pytest.raises(UnsupportedConfig) as refused:
        parse_schema(label_config)
    assert named in str(refused.value)
    assert refused.value.hint


@settings(max_examples=100)
@given(
    st.text(max_size=60), st.sampled_from(["{}", "<View>{}</View>", config(choices("{}")), config(choices(more="{}"))])
)
def test_any_config_is_a_schema_or_a_sentence(text: str, around: str) -> None:
    try:
        said = parse_schema(around.replace("{}", text)).controls[0].name
    except UserError as error:
        said = str(error)
    assert said


PROMPTED = """<View><Text name="q" value="$q"/>{shows}
  <TextArea name="a" toName="q" prompt="Answer $q with $x"/>{asks}</View>"""


@pytest.mark.parametrize(
    ("shows", "asks", "value"),
    [
        (
            '<Paragraphs name="d" value="$x"/>',
            '<ParagraphLabels name="l" toName="d"><Label value="n"/></ParagraphLabels>',
            [{"author": "A", "text": "Rome"}],
        ),
        (
            '<HyperText name="d" value="$x"/>',
            '<HyperTextLabels name="l" toName="d"><Label value="n"/></HyperTextLabels>',
            "<p>Rome</p>",
        ),
    ],
)
def test_a_field_is_read_as_its_object_tag_shows_it_whoever_names_it_first(shows: str, asks: str, value: Any) -> None:
    item = read_item(parse_schema(PROMPTED.format(shows=shows, asks=asks)), {"q": "Where?", "x": value})
    assert item.fields["x"].text == "Rome"
    assert bool(item.fields["x"].source or item.fields["x"].names)


def test_a_field_that_is_shown_in_two_ways_is_learned_in_the_first() -> None:
    found = read_config(
        """<View><Text name="t" value="$x"/><HyperText name="h" value="$x"/>
        <Choices name="c" toName="t"><Choice value="a"/><Choice value="b"/></Choices>
        <HyperTextLabels name="l" toName="h"><Label value="n"/></HyperTextLabels></View>"""
    )
    assert [c.name for c in found.schema.controls] == ["c"]
    assert "different kinds" in found.left_out[0]


def test_a_control_that_cannot_be_learned_is_left_out_beside_one_that_can() -> None:
    found = read_config(config('<DateTime name="when" toName="text"/>' + choices() + '<Brush name="b" toName="text"/>'))
    assert [control.name for control in found.schema.controls] == ["topic"]
    assert [sentence.split()[0] for sentence in found.left_out] == ["<DateTime>", "<Brush>"]
    assert read_config(config(choices())).left_out == ()


def test_a_control_without_an_object_tag_is_left_out_and_said() -> None:
    found = read_config(config('<Rating name="stars"/>' + choices()))
    assert [control.name for control in found.schema.controls] == ["topic"]
    assert found.left_out[0].startswith('<Rating toName="">')
    with pytest.raises(UnsupportedConfig, match="no control tag"):
        parse_schema(config('<Rating/><View name="a"/>'))


def test_what_stands_in_a_comment_declares_nothing() -> None:
    comment = '<!-- {"data": {"html": "<!DOCTYPE html><!ENTITY x><p>a</p>"}} -->'
    assert parse_schema(comment + config(choices()) + comment) == parse_schema(config(choices()))
    for declared in ("<!DOCTYPE x>", f'{comment}<!DOCTYPE x [<!ENTITY e "e">]>', "<?x <!-- ?><!DOCTYPE x><!-- -->"):
        with pytest.raises(UnsupportedConfig, match="entities"):
            parse_schema(declared + config(choices()))


@pytest.mark.parametrize("said", ["<!-- not closed", "<? not closed", "<!-- a --><p>b</p>", "]] > <?php ?>"])
def test_a_character_data_section_is_no_comment(said: str) -> None:
    shown = f"<Style><![CDATA[{said}]]></Style>"
    assert parse_schema(config(f"{shown}{choices()}<!-- <![CDATA[ -->")) == parse_schema(config(choices()))
    for declared in ("<!DOCTYPE x>", "<!-- <![CDATA[ --><!DOCTYPE x><!-- ]]> -->", "<![CDATA[<!DOCTYPE x>]]>"):
        with pytest.raises(UnsupportedConfig, match="entities"):
            parse_schema(declared + config(shown + choices()))


@pytest.mark.parametrize("before", ['<?xml version="1.0" encoding="utf-8"?>', "\n<?xml version='1.0'?>\n", " \n"])
def test_an_xml_declaration_does_not_count(before: str) -> None:
    assert parse_schema(before + config(choices())) == parse_schema(config(choices()))


def test_very_many_labels_are_refused_at_once() -> None:
    many = choices("".join(f'<Choice value="{n}"/>' for n in range(20_000)))
    started = process_time()
    with pytest.raises(UnsupportedConfig, match="20000 labels; at most 1000"):
        parse_schema(config(many))
    assert process_time() - started < 3


def test_a_dialogue_that_is_shown_by_two_keys_is_learned_by_the_first() -> None:
    shown = '<Paragraphs name="a" value="$chat" textKey="a"/><Paragraphs name="b" value="$chat" textKey="b"/>'
    asked = [
        f'<Choices name="{name}s" toName="{name}"><Choice value="x"/><Choice value="y"/></Choices>' for name in "ab"
    ]
    found = read_config(f"<View>{shown}{''.join(asked)}</View>")
    assert [c.name for c in found.schema.controls] == ["as"]
    assert "other keys" in found.left_out[0]


def test_beside_a_control_that_is_left_out_an_empty_answer_says_nothing() -> None:
    several = choices(more='choice="multiple"')
    assert parse_schema(config(several)).controls[0].options["empty"]
    both = parse_schema(config(several + '<DateTime name="when" toName="text"/>'))
    assert "empty" not in both.controls[0].options


FLAG = '<Choices name="flag" toName="text"><Choice value="Unusable"/></Choices>'


def test_a_lone_label_is_given_or_not() -> None:
    (control,) = parse_schema(config(FLAG)).controls
    assert (control.kind, control.labels, control.options["empty"]) == ("choices-multiple", ("Unusable",), True)


@pytest.mark.parametrize(
    "flag",
    [
        FLAG,
        FLAG.replace("toName", 'choice="multiple" toName'),
        FLAG.replace("toName", 'choice="single-radio" toName'),
        FLAG.replace("toName", 'perRegion="true" toName')
        + '<Labels name="s" toName="text"><Label value="a"/></Labels>',
        '<Taxonomy name="flag" toName="text"><Choice value="Unusable"/></Taxonomy>',
    ],
)
def test_a_lone_label_that_may_have_been_passed_over_is_left_out_and_said(flag: str) -> None:
    found = read_config(config(choices() + flag))
    assert "flag" not in [c.name for c in found.schema.controls]
    assert "one label, 'Unusable'" in found.left_out[0]


def test_a_lone_label_that_must_be_given_is_refused() -> None:
    with pytest.raises(UnsupportedConfig, match="nothing to tell apart"):
        parse_schema(config(FLAG.replace("toName", 'required="true" toName')))


def test_a_question_is_another_field_than_the_text_that_it_is_about() -> None:
    asks = '<Labels name="a" toName="text" question="$text"><Label value="answer"/></Labels>'
    with pytest.raises(UnsupportedConfig, match="'text' with that field itself"):
        parse_schema(config(asks))


COMMENT = '<TextArea name="comment" toName="text" {}/>'
ONE = '<Rating name="sure" toName="text" {}/>'


@pytest.mark.parametrize(
    ("beside", "answers"),
    [
        (COMMENT.format(""), True),
        (COMMENT.format('required="false"'), True),
        (COMMENT.format('perRegion="true"'), True),
        (ONE.format('perRegion="true"'), True),
        (choices('<Choice value="p"/>', 'perRegion="true"'), True),
        (COMMENT.format('required="true"'), False),
        (COMMENT.format('question="$text" extractive="true"'), False),
        (ONE.format(""), False),
        ((COMMENT + ONE).replace("{}", ""), False),
    ],
)
@pytest.mark.parametrize("control", [MARK, choices(more='choice="multiple"').replace("topic", "kinds")])
def test_an_empty_answer_counts_beside_what_is_asked_of_regions_and_what_need_not_be_written(
    control: str, beside: str, answers: bool
) -> None:
    asked = parse_schema(config(control + beside))
    assert asked.controls[0].options.get("empty", False) is answers
