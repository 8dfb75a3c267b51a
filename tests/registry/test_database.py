"""Which databases are opened, and what is said of the others."""

import pytest
from sqlalchemy.exc import DatabaseError

from backend.errors import UserError
from backend.registry.store import Registry


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "postgresql+nodriver://me:hidden@host/name",
        "postgresql+psycopg://me:hidden@host:port/name",
        "sqlite:////proc/nowhere/r.sqlite",
    ],
)
def test_a_database_that_cannot_be_opened_is_said(url):
    with pytest.raises(UserError) as caught:
        Registry(url)
    assert "DATABASE_URL" in caught.value.sentence()
    assert "hidden" not in caught.value.sentence()


def test_an_error_holds_nothing_of_what_annotators_wrote(settings):
    registry = Registry(settings.database)
    registry.write("DROP TABLE events", {"none": 0})
    with pytest.raises(DatabaseError) as caught:
        registry.add_event("2.1", "ANNOTATION_CREATED", {"annotations": ["private words"]})
    registry.close()
    assert "private words" not in str(caught.value)


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "registry.sqlite"
    file.write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="not a database") as caught:
        Registry(f"sqlite:///{file}")
    assert str(file) in str(caught.value)
