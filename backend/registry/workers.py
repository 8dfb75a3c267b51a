"""Which workers live: each writes a heartbeat, so that others can take over what a dead one left."""

from backend.registry.store import Registry

DEAD_AFTER_S = 60


def beat(registry: Registry, worker: str) -> None:
    """Note that a worker lives."""
    registry.write(
        f"INSERT INTO workers (id, seen_at) VALUES (:id, {registry.clock}) "
        "ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        {"id": worker},
    )


def dead(registry: Registry) -> list[str]:
    """Workers without a heartbeat for a minute."""
    rows = registry.rows(f"SELECT id FROM workers WHERE seen_at < {registry.clock} - {DEAD_AFTER_S}")
    return [row["id"] for row in rows]


def alive(registry: Registry) -> bool:
    """Whether any worker has beaten within the last minute."""
    query = f"SELECT id FROM workers WHERE seen_at > {registry.clock} - {DEAD_AFTER_S} LIMIT 1"
    return registry.row(query) is not None


def forget(registry: Registry, worker: str) -> None:
    """Drop a worker whose work has been taken over."""
    registry.write("DELETE FROM workers WHERE id = :id", {"id": worker})
