from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import UserError
from backend.studio.identity import project_id, project_key


def test_key_is_what_label_studio_sends_for_that_project() -> None:
    # seen on the wire: /setup's "project" beside the API's "created_at"
    assert project_key({"id": 4, "created_at": "2026-11-24T22:35:43.219514Z"}) == "4.1795559743"


@given(st.integers(1, 10**9), st.datetimes(min_value=datetime(1971, 1, 1)))
def test_id_of_a_key_is_the_project_s(number: int, created: datetime) -> None:
    key = project_key({"id": number, "created_at": created})
    assert project_id(key) == project_id(number) == project_id(str(number)) == number


@pytest.mark.parametrize("bad", ["", "x", "2.", ".5", "-1", "0", "2.1.3", " 2", "2\n", None, 1.5, [], True])
def test_what_is_no_project_is_said_to_people(bad: object) -> None:
    with pytest.raises(UserError):
        project_id(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [{}, {"id": 1}, {"id": "x", "created_at": "2026-11-24"}, {"id": 1, "created_at": 5}])
def test_incomplete_project_is_said_to_people(bad: dict[str, object]) -> None:
    with pytest.raises(UserError):
        project_key(bad)
