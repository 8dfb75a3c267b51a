"""Which workers live: each writes a heartbeat, so that others can take over what a dead one left. The time is the
database's: the workers may be on machines whose clocks are apart."""

from backend.registry.store import Registry

DEAD_AFTER_S = 60
_CLOCK = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}  # seconds since 1970


def beat(registry: Registry, worker: str) -> None:
    """Note that a worker lives."""
    registry.write(
        f"INSERT INTO workers (id, seen_at) VALUES (:id, {_clock(registry)}) "
        "ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        {"id": worker},
    )


def dead(registry: Registry) -> list[str]:
    """Workers without a heartbeat for a minute."""
    rows = registry.rows(f"SELECT id FROM workers WHERE seen_at < {_clock(registry)} - {DEAD_AFTER_S}")
    return [row["id"] for row in rows]


def alive(registry: Registry) -> bool:
    """Whether any worker has beaten within the last minute."""
    query = f"SELECT id FROM workers WHERE seen_at > {_clock(registry)} - {DEAD_AFTER_S} LIMIT 1"
    return registry.row(query) is not None


def forget(registry: Registry, worker: str) -> None:
    """Drop a worker whose work has been taken over."""
    registry.write("DELETE FROM workers WHERE id = :id", {"id": worker})


def _clock(registry: Registry) -> str:
    return _CLOCK[registry.engine.dialect.name]
