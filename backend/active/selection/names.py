"""Names of strategies: the table, and how weights and modifiers are read."""

from dataclasses import dataclass

import numpy as np

from backend.active.selection import external
from backend.active.selection.auto import auto
from backend.active.selection.badge import badge
from backend.active.selection.balanced import balanced, balanced_score
from backend.active.selection.clusters import cluster_margin, typiclust
from backend.active.selection.contexts import Deal, one_after_another, one_of_each
from backend.active.selection.coverage import COVERAGE
from backend.active.selection.directions import repeats_last
from backend.active.selection.diverse import diverse_cosine, diverse_jaccard, random_diverse
from backend.active.selection.pool import Pool, Positions, Score, Strategy
from backend.active.selection.representative import dual, idds
from backend.active.selection.scores import SCORES, highest, stochastic, weighted


def random(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
    """Uniform: the yardstick of all others."""
    return rng.permutation(len(pool))


STRATEGIES: dict[str, Strategy] = {
    "auto": auto,
    "random": random,
    **{name: highest(score) for name, score in SCORES.items()},
    "typiclust": typiclust,
    "cluster-margin": cluster_margin,
    **COVERAGE,
    "diverse-cosine": repeats_last(diverse_cosine),
    "diverse-jaccard": repeats_last(diverse_jaccard),
    "random-diverse": repeats_last(random_diverse),
    "badge": repeats_last(badge),
    "idds": repeats_last(idds),
    "dual": repeats_last(dual),
}
WHOLE = "whole-contexts"
MODIFIERS = ("balanced", "stochastic", WHOLE)
CHEAP = {"random", "margin", "entropy", "least-confidence", "loss", "gradient-length", "density"}
SAMPLED = {"mc-entropy", "bald"}  # scores of dropout samples of a head
# rules that do not look at what the model thinks
BLIND = {"random", "random-diverse", "typiclust", "nearest-labelled", "k-center", "idds"}


@dataclass(frozen=True)
class Plan:
    """A name that was read.

    ``strategy`` chooses; ``cheap``: it may see all of a large pool; ``blind``: it asks for what is typical or far, not
    for what is uncertain; ``deal``: how items that share a context take turns, None where they do not.
    """

    name: str
    strategy: Strategy
    cheap: bool
    blind: bool
    deal: Deal | None


def parse(name: str) -> Plan:
    """What a name stands for: ``badge``, ``margin:0.7+density:0.3``, ``entropy@balanced@stochastic``, …

    A name, or scores with positive weights, or ``skactiveml:ClassName``; then ``@balanced`` (quotas for predicted
    classes), ``@stochastic`` (scores only: a draw in place of the order) and ``@whole-contexts`` (all items of a
    context before the next's, in place of one of each; plain ``random`` knows no contexts). Raises ValueError that
    lists all names.
    """
    base, *modifiers = name.split("@")
    if len(set(modifiers)) != len(modifiers) or not set(modifiers) <= set(MODIFIERS):
        raise ValueError(f"unknown modifiers in strategy {name!r}; known, once each: @{', @'.join(MODIFIERS)}")
    quotas = "balanced" in modifiers
    deal: Deal | None = one_after_another if WHOLE in modifiers else None if name == "random" else one_of_each
    cheap = {part.partition(":")[0] for part in base.split("+")} <= CHEAP
    score = _score(base, name)
    if score is None:
        if "stochastic" in modifiers:
            raise ValueError(f"strategy {name!r}: @stochastic needs a score: {', '.join(SCORES)} or a sum of them")
        strategy = _rule(base, name)
        return Plan(name, balanced(strategy) if quotas else strategy, cheap and not quotas, base in BLIND, deal)
    score = stochastic(score) if "stochastic" in modifiers else score
    return Plan(name, balanced_score(score) if quotas else highest(score), cheap, False, deal)


def needs_head(name: str) -> bool:
    """Whether a strategy samples from a head, which not every pool has. Raises ValueError for an unknown one."""
    parse(name)
    return bool({part.partition(":")[0] for part in name.partition("@")[0].split("+")} & SAMPLED)


def fails(plan: Plan) -> str:
    """Why a strategy cannot choose at all, found by asking it; empty where it can.

    A class of scikit-activeml may want what a queue has not, a regressor or costs; its name does not tell.
    """
    if not plan.name.startswith(external.PREFIX):
        return ""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((16, 4)).astype(np.float32)
    pool = Pool(
        features=features[8:],
        probs=np.full((8, 2), 0.5, np.float32),
        labelled_features=features[:8],
        labelled_classes=np.arange(8) % 2,
    )
    try:
        plan.strategy(pool, 1, rng)
    except Exception as error:  # another library's code
        return str(error) or type(error).__name__
    return ""


def _rule(base: str, name: str) -> Strategy:
    """The strategy of a name that is no score."""
    if base.startswith(external.PREFIX):
        return external.strategy(base.removeprefix(external.PREFIX))
    if base not in STRATEGIES:
        known = f"{', '.join(STRATEGIES)}, sums like margin:0.7+density:0.3, {external.PREFIX}ClassName"
        raise ValueError(f"unknown strategy {name!r}; known: {known}; modifiers: @{', @'.join(MODIFIERS)}")
    return STRATEGIES[base]


def _score(base: str, name: str) -> Score | None:
    """The score of a name or of a weighted sum; None for other strategies."""
    if base in SCORES:
        return SCORES[base]
    if base.startswith(external.PREFIX) or ("+" not in base and ":" not in base):
        return None
    return weighted([_weighted_part(part, name) for part in base.split("+")])


def _weighted_part(part: str, name: str) -> tuple[Score, float]:
    score, colon, weight = part.partition(":")
    if score not in SCORES:
        raise ValueError(
            f"unknown strategy {name!r}: {score!r} is no score that can be added; known: {', '.join(SCORES)}"
        )
    try:
        number = float(weight) if colon else 1.0
    except ValueError:
        number = 0.0
    if not 0 < number < np.inf:
        raise ValueError(f"strategy {name!r}: the weight {weight!r} of {score} must be a positive number")
    return SCORES[score], number
