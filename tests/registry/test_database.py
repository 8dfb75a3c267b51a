"""Which databases are opened, and what is said of the others."""

import pytest

from backend.errors import UserError
from backend.registry.store import Registry


@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql+nodriver://me:hidden@host/name", "sqlite:////proc/nowhere/r.sqlite"]
)
def test_a_database_that_cannot_be_opened_is_said(url):
    with pytest.raises(UserError) as caught:
        Registry(url)
    assert "DATABASE_URL" in caught.value.sentence()
    assert "hidden" not in caught.value.sentence()


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "registry.sqlite"
    file.write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="not a database") as caught:
        Registry(f"sqlite:///{file}")
    assert str(file) in str(caught.value)
