"""What to label next: ``choose`` turns a pool into an order of positions, best first.

A strategy is a function ``(pool, n, rng) -> (n,)`` positions and an entry in ``STRATEGIES``; :func:`parse` reads names
with weights and modifiers. What a strategy gives for a small ``n`` is the beginning of what it gives for a larger one,
so that the length of the queue does not change its head: batch rules are greedy.
"""

from backend.active.selection.choosing import choose
from backend.active.selection.clusters import CLUSTERED, cluster, cluster_count, surroundings
from backend.active.selection.contexts import companions
from backend.active.selection.names import STRATEGIES, fails, needs_head, parse
from backend.active.selection.pool import Pool

__all__ = [
    "CLUSTERED",
    "STRATEGIES",
    "Pool",
    "choose",
    "cluster",
    "cluster_count",
    "companions",
    "fails",
    "needs_head",
    "parse",
    "surroundings",
]
