"""Several labels at once: a sigmoid for each, fitted to a handful of labels, with honest probabilities and thresholds.

Arrays are (N, K): N items, K labels. Targets are in [0, 1], the share of the annotators who gave the label. Logits are
always those of the honest probability: the weight that positives have in a loss shifts logits, and is taken off again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.active.folds import FOLDS, folds_of
from backend.active.head import HELD_OUT_COUNTS, LinearHead

Numbers = NDArray[np.float64]

STRENGTH = 0.01  # C of the logistic regression on standardised features, low = flatter
FEW_FOLDS = 3
MANY = 50_000  # targets above which there are few folds: 300 labels of 1,000 examples take 2 s for each
MOST_FOLDED = 2000  # examples that thresholds are found on by cross-validation; more cost seconds and say no more
ITERATIONS = 60
LEAST = 1e-6  # probabilities stay so far from 0 and 1
BORROWED = 30.0  # positives of all labels together that a label's own are mixed with when its threshold is sought
TRUSTED = 60.0  # positives after which thresholds found on data count as much as the rule of thumb
GRID = 1 / (1 + np.exp(-np.linspace(-4, 3, 36)))  # thresholds that are tried


def sigmoid(logits: ArrayLike) -> Numbers:
    """Probabilities of logits, in (0, 1)."""
    values = np.clip(np.asarray(logits, np.float64), -50, 50)
    return np.asarray(1 / (1 + np.exp(-values)))


def logit(probs: ArrayLike) -> Numbers:
    """Logits of probabilities, finite."""
    values = np.clip(np.asarray(probs, np.float64), LEAST, 1 - LEAST)
    return np.asarray(np.log(values) - np.log1p(-values))


def binary_entropy(probs: ArrayLike) -> Numbers:
    """Entropy of each probability in bits, in [0, 1]: 1 at one half."""
    p = np.clip(np.asarray(probs, np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def positive_weights(positives: ArrayLike, n: float) -> Numbers:
    """What a label's positives weigh against its negatives, (K,), in [1, 30]: the square root of negatives / positives.

    The full ratio makes a rare label's few examples as loud as all others together. A label without positives has 1.
    """
    count = np.asarray(positives, np.float64)
    ratio = np.divide(n - count, np.maximum(count, 1e-3), out=np.ones_like(count), where=count > 0)
    return np.asarray(np.sqrt(np.clip(ratio, 1, 900)))


def rule_of_thumb(positives: ArrayLike, n: float) -> Numbers:
    """Thresholds (K,) without anything held out: where the weighted loss is indifferent, at most one half."""
    return np.asarray(1 / (1 + positive_weights(positives, n)))


# ----------------------------------------------------------------------------------------------------------- fitting
def fit_sigmoid_head(features: ArrayLike, targets: ArrayLike, *, strength: float = STRENGTH) -> LinearHead:
    """One-vs-rest logistic regression of ``targets`` (N, K) on ``features`` (N, D), all labels in one descent.

    Positives weigh :func:`positive_weights`. A label without a positive or without a negative example gets the same
    small (large) probability everywhere, so that it can still be found.
    """
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"features {x.shape} and targets {y.shape} must be (N, D) and (N, K) with N of at least 1")
    positives = y.sum(axis=0)
    centre, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    weight, bias = np.zeros((y.shape[1], x.shape[1])), logit((positives + 0.5) / (len(x) + 1))
    open_ = np.flatnonzero((positives > 0) & (positives < len(x)))
    if len(open_):
        weight[open_], bias[open_] = _descend((x - centre) / scale, y[:, open_], strength)
    weight /= scale
    bias -= weight @ centre
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def _descend(x: Numbers, y: Numbers, strength: float) -> tuple[Numbers, Numbers]:
    """Weight (K, D) and bias (K,) for labels that have both answers."""
    from scipy.optimize import minimize

    n, k = y.shape
    basis = np.eye(x.shape[1])
    if n < x.shape[1]:  # the weights lie in the span of the examples
        basis = np.linalg.svd(x, full_matrices=False)[2]
        x = x @ basis.T
    emphasis = positive_weights(y.sum(axis=0), n)
    norm = n / (emphasis * y.sum(axis=0) + (1 - y).sum(axis=0))
    yes, no = y * emphasis * norm, (1 - y) * norm
    penalty = 1 / strength

    def cost(flat: Numbers) -> tuple[float, Numbers]:
        parameters = flat.reshape(k, -1)
        w, b = parameters[:, :-1], parameters[:, -1]
        z = x @ w.T + b
        value = (yes * np.logaddexp(0, -z) + no * np.logaddexp(0, z)).sum() + penalty / 2 * (w**2).sum()
        slope = (yes + no) * sigmoid(z) - yes
        return float(value), np.concatenate([slope.T @ x + penalty * w, slope.sum(axis=0)[:, None]], axis=1).ravel()

    start = np.zeros((k, x.shape[1] + 1))
    start[:, -1] = np.log(yes.sum(axis=0) / no.sum(axis=0))
    found = minimize(  # type: ignore[no-untyped-call]
        cost, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
    )
    best = found.x.reshape(k, -1)
    return best[:, :-1] @ basis, best[:, -1] - np.log(emphasis)


def folded_logits(features: ArrayLike, targets: ArrayLike, *, seed: int) -> tuple[Numbers, NDArray[np.int64]]:
    """Logits (M, K) of examples by heads that were fitted to other folds, and which examples (M,) these are.

    All of at most ``MOST_FOLDED``, else so many by chance; none of fewer than two distinct ones.
    """
    x, y = np.asarray(features), np.asarray(targets)
    chosen = np.random.default_rng(seed).permutation(len(x))[:MOST_FOLDED]
    logits = np.zeros((len(chosen), y.shape[1]))
    fold = folds_of(x[chosen], FOLDS if logits.size <= MANY else FEW_FOLDS)
    if not fold.any():
        return logits[:0], chosen[:0]
    for number in range(fold.max() + 1):
        out, rest = chosen[fold == number], chosen[fold != number]
        logits[fold == number] = fit_sigmoid_head(x[rest], y[rest]).logits(x[out])
    return logits, chosen


# ------------------------------------------------------------------------------------------------------- calibration
@dataclass(frozen=True)
class Scale:
    """``sigmoid(slope * logit + offset)`` is the honest probability of a logit; ``offset`` (K,)."""

    slope: float
    offset: Numbers


def fit_scale(logits: ArrayLike, targets: ArrayLike, weights: ArrayLike, *, trust: float = 3.0) -> Scale:
    """The scale that fits ``targets`` (N, K) best; ``weights`` (N,): how many examples each one counts for.

    Platt 1999, with one slope for all labels and an offset of each, at most a posteriori: log slope and offsets are
    normal around 0, at a cost of ``trust`` times their squares in nats. A label with few positives keeps its offset.
    """
    from scipy.optimize import minimize

    z, y, w = (np.asarray(a, np.float64) for a in (logits, targets, weights))
    if z.shape != y.shape or z.ndim != 2 or w.shape != z.shape[:1]:
        raise ValueError(f"logits {z.shape} and targets {y.shape} must be (N, K), weights {w.shape} (N,)")
    if not z.size:
        return Scale(1.0, np.zeros(z.shape[1]))

    def cost(at: Numbers) -> tuple[float, Numbers]:
        slope, offset = np.exp(np.clip(at[0], -3, 3)), at[1:]
        s = slope * z + offset
        value = (w[:, None] * (np.logaddexp(0, s) - y * s)).sum() + trust * (at**2).sum()
        error = w[:, None] * (sigmoid(s) - y)
        return float(value), np.concatenate([[slope * (error * z).sum()], error.sum(axis=0)]) + 2 * trust * at

    start = np.zeros(z.shape[1] + 1)
    found = minimize(cost, start, jac=True, method="L-BFGS-B").x  # type: ignore[no-untyped-call]
    return Scale(float(np.exp(np.clip(found[0], -3, 3))), found[1:])


def scaled(head: LinearHead, scale: Scale) -> LinearHead:
    """The head whose ``sigmoid(logits / temperature)`` has this scale."""
    bias = head.bias + (scale.offset / scale.slope).astype(np.float32)
    return LinearHead(head.weight, bias, head.temperature / scale.slope, head.extra)


def find_thresholds(probs: ArrayLike, targets: ArrayLike, weights: ArrayLike, fallback: ArrayLike) -> Numbers:
    """Thresholds (K,) in (0, 1) above which a label is given, for the best F1 of each label.

    ``probs``, ``targets`` (N, K), ``weights`` (N,). A label's counts are mixed with ``BORROWED`` positives of all
    labels together, so that one with a single positive follows the others; with few positives in all, the result stays
    near ``fallback`` (K,). The best threshold is half the F1 that it reaches: Lipton et al., 2014.
    """
    p, y, w = (np.asarray(a, np.float64) for a in (probs, targets, weights))
    rule = np.asarray(fallback, np.float64)
    positives = w @ y
    whole = positives.sum()
    if not whole:
        return rule
    f1 = np.zeros((len(GRID), y.shape[1]))
    for row, threshold in enumerate(GRID):
        said = p >= threshold
        right, given = w @ (y * said), w @ said.astype(np.float64)  # (K,)
        share = BORROWED / whole
        f1[row] = 2 * (right + share * right.sum()) / (positives + BORROWED + given + share * given.sum())
    found = logit(GRID[f1.argmax(axis=0)])
    return sigmoid((whole * found + TRUSTED * logit(rule)) / (whole + TRUSTED))


# --------------------------------------------------------------------------------------------------------- decisions
def choose_sets(probs: ArrayLike, thresholds: ArrayLike, *, most: int | None, empty: bool) -> NDArray[np.bool_]:
    """Which labels are given (N, K): those whose probability reaches its threshold.

    At most ``most``, the most probable ones; without ``empty`` at least one, the nearest to its threshold in logits.
    """
    p = np.asarray(probs, np.float64)
    above = logit(p) - logit(thresholds)
    chosen = above >= 0
    if not empty and p.shape[1]:
        chosen[np.arange(len(p)), above.argmax(axis=1)] = True
    if most is not None and most < p.shape[1]:
        order = np.argsort(np.argsort(-np.where(chosen, p, -1), axis=1, kind="stable"), axis=1, kind="stable")
        chosen &= order < most
    return np.asarray(chosen)


def set_logits(probs: ArrayLike, chosen: ArrayLike) -> Numbers:
    """Logits (N,) of the probability that exactly the ``chosen`` (N, K) labels are right, were they independent."""
    p = np.clip(np.asarray(probs, np.float64), LEAST, 1 - LEAST)
    logs = np.where(np.asarray(chosen, bool), np.log(p), np.log1p(-p)).sum(axis=1)
    return logit(np.exp(logs))


# ----------------------------------------------------------------------------------------------------------- measures
def agreement(said: ArrayLike, share: ArrayLike) -> Numbers:
    """F1 (N,) in [0, 1] of the labels that are given (N, K) and those that most annotators gave; 1 where both are none.

    Where half of the annotators gave a label, either answer is right.
    """
    answer, wanted = settled(said, share)
    both, sizes = (answer & wanted).sum(axis=1), answer.sum(axis=1) + wanted.sum(axis=1)
    return np.asarray(np.divide(2.0 * both, sizes, out=np.ones(len(sizes)), where=sizes > 0))


def settled(said: ArrayLike, share: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is given, and what is wanted (N, K): labels of more than half of the votes, and of half where given."""
    answer, votes = np.asarray(said, bool), np.asarray(share, np.float64)
    return answer, (votes > 0.5 + 1e-6) | (answer & (votes >= 0.5 - 1e-6))


def micro_f1(answer: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """F1 over all decisions (N, K), in [0, 1], high = good; 1 where nothing is given and nothing wanted."""
    sizes = int(answer.sum() + wanted.sum())
    return float(2 * (answer & wanted).sum() / sizes) if sizes else 1.0


def macro_f1(answer: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """Mean F1 over the labels that occur in ``wanted`` (N, K), in [0, 1], high = good; 1 where none does."""
    there = np.flatnonzero(wanted.any(axis=0))
    both = (answer & wanted).sum(axis=0)[there]
    sizes = (answer.sum(axis=0) + wanted.sum(axis=0))[there]
    return float(np.mean(2 * both / sizes)) if len(there) else 1.0


def binary_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Mean distance between confidence (N,) and share of right answers (N,) over equal bins, in [0, 1], low is good."""
    said, true = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if not len(said):
        return 0.0
    place = np.minimum((said * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(place, said - true, minlength=bins)).sum() / len(said))


def fit_calibrated_sigmoids(
    head: LinearHead,
    train: tuple[ArrayLike, ArrayLike],
    held_out: tuple[ArrayLike, ArrayLike],
    decide: Callable[[Numbers, Numbers], NDArray[np.bool_]],
    *,
    seed: int,
) -> LinearHead:
    """A head with honest probabilities, thresholds and a confidence: see :func:`calibrate`.

    By cross-validation on ``train`` (features, targets), and on ``held_out`` (M may be 0), of which each example counts
    for four because labels that a strategy chose are not like the pool.
    """
    folded, at = folded_logits(*train, seed=seed)
    held = head.logits(np.asarray(held_out[0], np.float32).reshape(-1, head.weight.shape[1]))
    logits = np.concatenate([folded, held])
    targets = np.concatenate([np.asarray(train[1])[at], np.asarray(held_out[1]).reshape(-1, len(head.bias))])
    weights = np.repeat([1.0, HELD_OUT_COUNTS], [len(folded), len(held)])
    return calibrate(head, logits, targets, weights, decide)


def calibrate(
    head: LinearHead,
    logits: Numbers,
    targets: ArrayLike,
    weights: Numbers,
    decide: Callable[[Numbers, Numbers], NDArray[np.bool_]],
    *,
    trust: float = 3.0,
) -> LinearHead:
    """The head with what ``logits`` (M, K) of examples that it was not fitted to say of ``targets`` (M, K).

    Its ``extra`` gets ``thresholds`` (K,) and ``confidence`` (2,): slope and offset that make the probability of the
    whole set honest, which ``decide`` makes of probabilities and thresholds. ``extra`` must hold ``positives`` (K,) and
    ``examples`` (1,).
    """
    scale = fit_scale(logits, targets, weights, trust=trust)
    probs = sigmoid(scale.slope * logits + scale.offset)
    wanted = np.asarray(targets, np.float64)
    fallback = rule_of_thumb(head.extra["positives"], float(head.extra["examples"][0]))
    thresholds = find_thresholds(probs, wanted, weights, fallback)
    said = decide(probs, thresholds)
    exact = (agreement(said, wanted) == 1).astype(np.float64)
    whole = fit_scale(set_logits(probs, said)[:, None], exact[:, None], weights, trust=trust)
    extra = {
        **head.extra,
        "thresholds": thresholds.astype(np.float32),
        "confidence": np.array([whole.slope, whole.offset[0]], np.float32),
    }
    found = scaled(head, scale)
    return LinearHead(found.weight, found.bias, found.temperature, extra)
