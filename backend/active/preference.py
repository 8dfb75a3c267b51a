"""What is preferred to what: a worth of each item, linear in its features, and the orders that follow from it.

The model of Plackett and Luce: the first of an order is chosen among all items with probabilities proportional to the
exponentials of their scores, the second among the rest, and so on; of two items it is that of Bradley and Terry.
Luce, Individual Choice Behavior, 1959; Plackett, The Analysis of Permutations, 1975. Only differences of scores count.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active.calibration import fit_temperature
from backend.active.head import LinearHead
from backend.active.multilabel import sigmoid

Numbers = NDArray[np.float64]
Order = Sequence[int]  # positions of items, best first

STRENGTH = 2.0  # variance of the scores of items before any is seen, low = flatter
ITERATIONS = 100
NEVER = -1e9  # score of what cannot be chosen
TIE = 1e-9  # mean ranks that differ by so little are equal


def fit_utility_head(
    features: ArrayLike, orders: Sequence[Order], weights: ArrayLike | None = None, *, strength: float = STRENGTH
) -> LinearHead:
    """The head with one row whose scores of items (M, D) make these ``orders`` of some of them most probable.

    ``weights``: how much each order counts, all 1 without. A normal prior keeps the scores near each other.
    """
    from scipy.optimize import minimize

    x, places, there = np.asarray(features, np.float64), *_padded(orders)
    w = np.ones(len(orders)) if weights is None else np.asarray(weights, np.float64)
    if x.ndim != 2 or w.shape != (len(orders),) or not len(orders):
        raise ValueError(f"features {x.shape} must be (M, D), weights {w.shape} one for each of {len(orders)} orders")
    apart = np.concatenate([x[list(order)] - x[list(order)].mean(axis=0) for order in orders])
    scale = np.sqrt((apart**2).mean(axis=0)) + 1e-6
    x = x / scale
    penalty = x.shape[1] / strength

    def cost(at: Numbers) -> tuple[float, Numbers]:
        scores = np.where(there, (x @ at)[places], NEVER)
        value, slopes = _surprise(scores, there)
        slope = np.zeros(len(x))
        np.add.at(slope, places[there], (w[:, None] * slopes)[there])
        return float(w @ value + penalty / 2 * (at**2).sum()), x.T @ slope + penalty * at

    start = np.zeros(x.shape[1])
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x  # type: ignore[no-untyped-call]
    return LinearHead((found / scale)[None].astype(np.float32), np.zeros(1, np.float32))


def _padded(orders: Sequence[Order]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Positions (V, L), 0 behind the end of an order, and which of them count (V, L)."""
    longest = max(map(len, orders), default=0)
    places: NDArray[np.int64] = np.zeros((len(orders), longest), np.int64)
    there = np.arange(longest) < np.array([len(order) for order in orders])[:, None]
    places[there] = [item for order in orders for item in order]
    return places, there


def _surprise(scores: Numbers, there: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Negative log-likelihood (V,) of items with ``scores`` (V, L) in this order, and its slope in each score."""
    rest = np.logaddexp.accumulate(scores[:, ::-1], axis=1)[:, ::-1]  # of those not yet chosen, at each choice
    value = np.where(there, rest - scores, 0).sum(axis=1)
    chosen = np.exp(scores + np.logaddexp.accumulate(-rest, axis=1))  # expected choices of an item until its own
    return value, chosen - 1


def log_probability(scores: ArrayLike, order: Order) -> float:
    """Logarithm of the probability that items with ``scores`` (n,) come in this ``order``."""
    chosen = np.asarray(scores, np.float64)[list(order)]
    return -float(_surprise(chosen[None], np.ones((1, len(chosen)), bool))[0][0])


def fit_order_temperature(
    scores: Sequence[ArrayLike], orders: Sequence[Order], *, weights: ArrayLike | None = None, prior_weight: float = 3.0
) -> float:
    """The temperature that divides the scores of lists of items so that their ``orders`` are as probable as they are.

    Each choice of an item among the rest is an example of :func:`backend.active.calibration.fit_temperature`; 1 without
    any.
    """
    counts = np.ones(len(orders)) if weights is None else np.asarray(weights, np.float64)
    longest = max((len(order) for order in orders), default=0)
    logits, weight = [], []
    for values, order, count in zip(scores, orders, counts, strict=True):
        chosen = np.asarray(values, np.float64)[list(order)]
        for at in range(len(order) - 1):
            logits.append(np.pad(chosen[at:], (0, longest - len(order) + at), constant_values=NEVER))
            weight.append(count)
    targets = np.zeros((len(logits), max(longest, 1)))
    targets[:, 0] = 1
    return fit_temperature(np.reshape(logits, targets.shape), targets, weights=weight, prior_weight=prior_weight)


def closeness(scores: ArrayLike) -> float:
    """How near neighbours in the order of ``scores`` (n,) are, in [0, 1]: 1 where all are even, 0 for a single item.

    The mean over neighbours of 1 minus the distance between the probabilities of either coming first.
    """
    gaps = np.diff(np.sort(np.asarray(scores, np.float64)))
    return float((2 * sigmoid(-gaps)).mean()) if len(gaps) else 0.0


def mean_ranks(orders: Sequence[Order]) -> Numbers:
    """The mean place (n,) of each item in the orders, low = good (Borda 1781)."""
    return np.asarray(
        np.argsort(np.array([list(order) for order in orders], np.int64), axis=1).mean(axis=0), np.float64
    )


def concordance(order: Order, ranks: ArrayLike) -> float:
    """Share of the pairs of items that an order puts as ``ranks`` (n,) do, in [0, 1]; either way is right for a tie.

    (1 + tau) / 2 where there are no ties (Kendall, A New Measure of Rank Correlation, 1938); 1 for a single item.
    """
    placed = np.asarray(ranks, np.float64)[list(order)]
    right = np.triu(placed[:, None] <= placed[None, :] + TIE, k=1)
    pairs = len(placed) * (len(placed) - 1) / 2
    return float(right.sum() / pairs) if pairs else 1.0
