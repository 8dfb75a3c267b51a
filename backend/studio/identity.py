"""A project's name everywhere in this program: ``"<id>.<unix time of creation>"``, as Label Studio itself sends it.

The id alone would not do: SQLite gives the id of a deleted project to the next one.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.errors import UserError

_KEY = re.compile(r"([1-9]\d{0,17})(?:\.\d{1,18})?")
_HINT = 'A project is named by its number, such as 2, or as Label Studio sends it, such as "2.1795548626".'


def project_key(project: Mapping[str, Any]) -> str:
    """``"<id>.<unix>"`` of a project as the API gives it (keys ``id`` and ``created_at``, ISO 8601 or datetime)."""
    try:
        created = project["created_at"]
        moment = created if isinstance(created, datetime) else datetime.fromisoformat(created)
        return f"{int(project['id'])}.{int(_utc(moment).timestamp())}"
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"Not a project of Label Studio: {error!r}.", _HINT) from error


def project_id(key: str | int) -> int:
    """Label Studio's number of a project: 2 for ``"2.1795548626"``, ``"2"`` and 2."""
    match = _KEY.fullmatch(str(key)) if isinstance(key, str | int) else None
    if match is None:
        raise UserError(f"{key!r:.60} is no project.", _HINT)
    return int(match[1])


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
