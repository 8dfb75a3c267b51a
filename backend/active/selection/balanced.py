"""Class-balanced quotas on top of any strategy."""

import numpy as np

from backend.active.selection.pool import Pool, Positions, Score, Strategy, descending


def balanced(strategy: Strategy) -> Strategy:
    """Round by round one item of each predicted class, in the strategy's order within a class.

    In a round the classes with the fewest labels come first, so one without any label is asked about at once. A class
    that runs out leaves its turn to the others.
    """

    def dealt(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
        predicted = pool.probs.argmax(axis=1)
        parts = []
        for c, child in enumerate(rng.spawn(pool.probs.shape[1])):
            members = np.flatnonzero(predicted == c)
            if len(members):
                parts.append(members[strategy(pool.take(members), min(n, len(members)), child)])
        return _deal(parts, pool, n)

    return dealt


def balanced_score(score: Score) -> Strategy:
    """As :func:`balanced` for the highest score first; the score is that of the whole pool, and computed once."""

    def dealt(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
        order = descending(score(pool, rng), rng)
        predicted = pool.probs.argmax(axis=1)[order]
        return _deal([order[predicted == c] for c in np.unique(predicted)], pool, n)

    return dealt


def _deal(parts: list[Positions], pool: Pool, n: int) -> Positions:
    """The first ``n`` positions of one list for each class, dealt in rounds, classes with the fewest labels first."""
    flat = np.concatenate(parts)
    turn = np.concatenate([np.arange(len(part)) for part in parts])
    labels = pool.labels_per_class()[pool.probs[flat].argmax(axis=1)]
    return np.asarray(flat[np.lexsort((labels, turn))][:n])
