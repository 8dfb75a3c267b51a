"""What annotators are shown and no control reads: said where a config is looked at, and never an error."""

from typing import Any

import pytest

from backend.pipeline.mirror import read_schema
from backend.settings import Settings
from backend.studio.client import Studio
from backend.studio.connect import connect
from backend.studio.doctor import examine
from backend.studio.schema import read_config
from tests.studio.servers import Request, serve

TEXTS = '<Text name="text" value="$text"/><Text name="question" value="$question"/>'
MARK = '<Labels name="answer" toName="text"><Label value="Answer"/></Labels>'
CONFIG = f"<View>{TEXTS}{MARK}</View>"


@pytest.mark.parametrize(
    ("config", "unread"),
    [
        (CONFIG, ("question",)),
        (CONFIG.replace("<Labels", '<Header value="$title"/><Header value="Mark it"/><Labels'), ("question", "title")),
        (CONFIG.replace("<Labels", '<Image name="picture" value="$picture"/><Labels'), ("question",)),  # see Limits
        (CONFIG.replace("<Labels", '<HYPERTEXT name="page" value="$page"/><Labels'), ("question", "page")),
        (CONFIG.replace("<Labels", '<Labels question="$question"'), ()),
        (f'<View>{TEXTS}<TextArea name="answer" toName="text" prompt="In $text, $question"/></View>', ()),
        (f'<View>{TEXTS}<Choices name="c" toName="text,question"><Choice value="x"/></Choices></View>', ()),
        (CONFIG.replace("</View>", '<DateTime name="when" toName="question"/></View>'), ()),  # left out, which is said
        (CONFIG.replace('value="$question"', 'value="Mark the answer."'), ()),
        (CONFIG.replace('value="$question"', 'value="$text"'), ()),
    ],
)
def test_what_is_shown_and_not_read(config: str, unread: tuple[str, ...]) -> None:
    found = read_config(config)
    assert found.unread == unread
    assert bool(found.note) is bool(unread)
    assert all(f"${name}" in found.note for name in unread)


def test_the_advice_holds_where_it_is_followed() -> None:
    note = read_config(CONFIG).note
    for named, control in (
        ('toName="text,other"', '<Choices name="c" toName="text,other"><Choice value="x"/></Choices>'),
        ('toName="text,other"', '<Taxonomy name="c" toName="text,other"><Choice value="x"/></Taxonomy>'),
        ('question="$other"', '<Labels name="c" toName="text" question="$other"><Label value="x"/></Labels>'),
        ('prompt="… $other"', '<TextArea name="c" toName="text" prompt="… $other"/>'),
    ):
        assert named in note
        assert control[1 : control.index(" ")] in note
        found = read_config(f"<View>{TEXTS.replace('question', 'other')}{control}</View>")
        assert (found.unread, found.left_out) == ((), ())


def played(request: Request) -> tuple[int, Any]:
    """A Label Studio with one project that is not connected."""
    if request.method == "GET" and any(part in request.path for part in ("/api/ml", "webhooks", "predictions")):
        return 200, []
    return 200, {
        "id": 1, "title": "t", "label_config": CONFIG, "email": "a@example.com", "release": "1.23.2", "tasks": [],
        "readable_state": "Connected",
    }  # fmt: skip


def test_connect_doctor_and_status_say_it_and_it_is_no_error(settings: Settings) -> None:
    note = read_config(CONFIG).note
    with serve(played) as fake:
        studio = Studio(fake.url, "0" * 40)
        assert note in connect(studio, 1, "http://192.0.2.7:9090", webhook_secret="s")
        assert [(f.level, f.advice) for f in examine(settings, 1, studio) if f.title == note] == [("ok", "")]
    assert read_schema(CONFIG)[1] == note
