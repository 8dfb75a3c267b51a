"""Strategies of scikit-activeml behind our signature: ``skactiveml:ClassName``, with the extra ``strategies``."""

import inspect
from typing import Any

import numpy as np

from backend.active import uncertainty
from backend.active.selection.pool import Pool, Positions, Strategy, descending

PREFIX = "skactiveml:"
BATCH = 200  # picks of one query; the same whatever is wanted, so that the queue's length does not change its head


def strategy(name: str) -> Strategy:
    """The pool strategy of scikit-activeml with this class name.

    The first 200 picks are its own, the rest follow by margin. Raises ValueError where the library is not installed or
    has no such class.
    """
    found = _class(name)

    def chosen(pool: Pool, n: int, rng: np.random.Generator) -> Positions:
        first = _query(found, pool, int(rng.integers(2**31)))
        by_margin = descending(uncertainty.margin(pool.probs), rng)
        return np.concatenate([first, by_margin[~np.isin(by_margin, first)]])[:n]

    return chosen


def _class(name: str) -> Any:
    try:
        from skactiveml import pool as strategies
    except ImportError:
        raise ValueError(f"{PREFIX}{name} needs scikit-activeml: pip install 'ls-active[strategies]'") from None
    known = [each for each in strategies.__all__ if hasattr(getattr(strategies, each), "query")]
    if name not in known:
        raise ValueError(f"scikit-activeml has no pool strategy {name!r}; known: {', '.join(known)}")
    return getattr(strategies, name)


def _query(kind: Any, pool: Pool, seed: int) -> Positions:
    """The positions (at most BATCH) that the class picks: the labelled items and the pool are its one data set."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    k = pool.probs.shape[1]
    regression = LogisticRegression(max_iter=300)  # type: ignore[no-untyped-call]
    model = SklearnClassifier(regression, classes=list(range(k)), random_state=seed)  # type: ignore[no-untyped-call]
    offered: dict[str, Any] = {"random_state": seed, "missing_label": np.nan, "classes": list(range(k))}
    offered |= {"clf": model, "discriminator": model, "estimator": model, "fit_clf": True}
    offered |= {"ensemble": _ensemble(regression, k, seed), "fit_ensemble": True}
    offered |= {"cluster_algo_dict": {"random_state": seed}}
    offered |= {"X": np.concatenate([pool.labelled_features, pool.features]).astype(np.float64)}
    offered |= {"y": np.concatenate([pool.labelled_classes, np.full(len(pool), np.nan)])}
    offered |= {"batch_size": min(BATCH, len(pool))}
    try:
        query = kind(**_accepted(kind.__init__, offered))
        picked = query.query(**_accepted(query.query, offered))
    except (TypeError, AttributeError) as error:  # it wants a regressor, a cost matrix, another strategy, …
        raise ValueError(f"{PREFIX}{kind.__name__} needs more than a classifier and features: {error}") from None
    return np.asarray(picked, np.int64) - len(pool.labelled_classes)


def _ensemble(regression: Any, k: int, seed: int) -> Any:
    """Ten classifiers on bootstrap samples, for rules that count votes."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.ensemble import BaggingClassifier

    votes = BaggingClassifier(regression, random_state=seed)  # type: ignore[no-untyped-call]
    return SklearnClassifier(votes, classes=list(range(k)), random_state=seed)  # type: ignore[no-untyped-call]


def _accepted(function: Any, offered: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments that a function has."""
    return {name: offered[name] for name in inspect.signature(function).parameters if name in offered}
