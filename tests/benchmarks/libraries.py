"""Learning curves of small-text and scikit-activeml, and ours, in one situation: frozen features and one logistic head.

    PYTHONPATH=. python tests/benchmarks/libraries.py --features FILE.npz --library scikit-activeml --out FILE.json

All strategies of a seed begin with the same 20 labels and get ten more in each round; after each the same head is
fitted and tested. Only the choice of the ten differs, and it is left to the libraries' public interfaces with their
defaults, defects included: that is what their users get. Finished runs are kept in ``--out`` and not repeated.

``FILE.npz``: ``train`` (N, D) and ``test`` (M, D) float32, ``y`` (N,) and ``yt`` (M,) class numbers, in ``yt`` -1 for a
label that ``y`` does not know, ``labels`` (K,) names; ``tests.benchmarks.features`` makes it. The libraries want an
environment of their own, where numpy and scikit-learn are all that the rest of this script needs. One thread
(OMP_NUM_THREADS=1) makes the seconds comparable. ``python -m tests.benchmarks.libraries`` fails there: small-text
installs a package ``tests`` that hides this one.

    python -m venv libs && libs/bin/pip install small-text==1.4.1 scikit-activeml==1.0.1
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from backend.active.head import Floats, LinearHead, fit_linear_head
from backend.active.metrics import macro_f1
from backend.active.selection import Pool, choose, cluster, cluster_count
from backend.active.selection.pool import Positions

START = 20  # labels before the first choice
BATCH = 10
SUBSAMPLE = 1000  # candidates of the strategies whose name ends in -1000, drawn by the library itself
LIMIT_S = 30  # CPU seconds for all choices of one run; a slower strategy is left out


# --------------------------------------------------------------------------------------------------------- situation
@dataclass(frozen=True)
class Data:
    """A pool (N, D) with its gold labels (N,), and what is tested on: (M, D) and (M,)."""

    train: Floats
    y: NDArray[np.int64]
    test: Floats
    yt: NDArray[np.int64]
    k: int

    @classmethod
    def load(cls, file: Path) -> "Data":
        """The arrays of an npz file, without the test examples whose label is unknown."""
        with np.load(file) as arrays:
            known = arrays["yt"] >= 0
            train, test = arrays["train"].astype(np.float32), arrays["test"][known].astype(np.float32)
            y, yt = arrays["y"].astype(np.int64), arrays["yt"][known].astype(np.int64)
            return cls(train, y, test, yt, len(arrays["labels"]))

    def fit(self, labelled: Positions, seed: int) -> LinearHead:
        """The head of the labelled positions."""
        return fit_linear_head(self.train[labelled], np.eye(self.k)[self.y[labelled]], seed=seed)

    def score(self, head: LinearHead) -> tuple[float, float]:
        """(accuracy, macro-F1) on the test set."""
        predicted = head.logits(self.test).argmax(axis=1)
        return float((predicted == self.yt).mean()), macro_f1(predicted, self.yt)


@dataclass(frozen=True)
class Round:
    """What is known when the next ten are chosen; positions are those of the pool."""

    data: Data
    labelled: Positions
    head: LinearHead
    seed: int  # another one in each round

    @cached_property
    def waiting(self) -> Positions:
        """Positions without a label, ascending."""
        return np.setdiff1d(np.arange(len(self.data.train)), self.labelled)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Gold labels (L,) of the labelled positions."""
        return self.data.y[self.labelled]


Picker = Callable[[Round], Iterable[int]]
Maker = Callable[[Data, int], Picker]  # a new one for each seed, because some strategies keep what they have computed


def begin(data: Data, how: str, seed: int) -> Positions:
    """The labels that a run begins with: the most typical ones or random ones."""
    if how == "random":
        return np.random.default_rng(seed).permutation(len(data.train))[:START]
    return choose("typiclust", _unlabelled(data, seed), START, seed=seed)


def learn(data: Data, pick: Picker, start: Positions, labels: int, seed: int, limit_s: float) -> dict[str, Any]:
    """The learning curve of one run. Raises TimeoutError when the choices take too long."""
    labelled, select_s = start, 0.0
    sizes, scores, seen = [], [], []
    while True:
        head = data.fit(labelled, seed)
        sizes.append(len(labelled))
        scores.append(data.score(head))
        seen.append(len(np.unique(data.y[labelled])))
        n = min(labels, len(data.train)) - len(labelled)
        if n < BATCH:
            break
        now = Round(data, labelled, head, seed * 1000 + len(labelled))
        np.random.seed(now.seed)  # both libraries draw from the global generator in places
        before = time.process_time()
        picked = np.array(list(pick(now)), np.int64)
        select_s += time.process_time() - before
        if select_s > limit_s:
            raise TimeoutError(f"more than {limit_s:g} CPU seconds for the choices up to {len(labelled)} labels")
        if len(np.unique(picked)) != BATCH or np.isin(picked, labelled).any():
            raise ValueError(f"chose {picked.tolist()}, expected {BATCH} distinct positions without a label")
        labelled = np.concatenate([labelled, picked])
    accuracy, f1 = zip(*scores, strict=True)
    return {
        "aulc_accuracy": _area(sizes, accuracy),
        "aulc_macro_f1": _area(sizes, f1),
        "select_cpu_s": round(select_s, 2),
        "labels": sizes,
        "accuracy": np.round(accuracy, 4).tolist(),
        "macro_f1": np.round(f1, 4).tolist(),
        "classes_seen": seen,
    }


def _area(labels: list[int], scores: tuple[float, ...]) -> float:
    """Mean height of the curve over its range of labels, in the units of the scores."""
    if len(labels) == 1:
        return scores[0]
    return round(float(np.trapezoid(scores, labels)) / (labels[-1] - labels[0]), 5)


# -------------------------------------------------------------------------------------------------------------- ours
def _unlabelled(data: Data, seed: int) -> Pool:
    n, d = data.train.shape
    nothing = np.zeros((0, d), np.float32), np.zeros(0, np.int64)
    return Pool(data.train, np.full((n, data.k), 1 / data.k, np.float32), *nothing, _clusters(data, seed))


def _clusters(data: Data, seed: int) -> NDArray[np.int64]:
    return cluster(data.train, cluster_count(len(data.train)), seed)


def ours(strategy: str, data: Data, seed: int) -> Picker:
    """One of our strategies, with clusters that are computed once as the server does."""
    clusters = _clusters(data, seed)

    def pick(now: Round) -> Positions:
        features = data.train[now.waiting]
        probs = now.head.probs(features)
        pool = Pool(features, probs, data.train[now.labelled], now.classes, clusters[now.waiting])
        return now.waiting[choose(strategy, pool, BATCH, seed=now.seed)]

    return pick


def our_strategies() -> dict[str, Maker]:
    """``random`` has a start of its own (see :func:`main`): who labels at random does so from the beginning."""
    names = ["margin", "entropy", "least-confidence", "typiclust", "cluster-margin"]
    renamed = {"default": "auto", "random": "random", "random-after-start": "random"}
    return {name: partial(ours, strategy) for name, strategy in [*renamed.items(), *zip(names, names, strict=True)]}


# -------------------------------------------------------------------------------------------------------- small-text
class SmallTextClassifier:
    """Our head as small-text's query strategies use a classifier."""

    def __init__(self, head: LinearHead | None = None) -> None:
        self.head = head

    def new(self) -> "SmallTextClassifier":
        """An unfitted one: a classifier factory, for the discriminative strategy."""
        return SmallTextClassifier()

    def fit(self, dataset: Any) -> "SmallTextClassifier":
        self.head = fit_linear_head(dataset.x, np.eye(2)[dataset.y], seed=0)
        return self

    def predict_proba(self, dataset: Any) -> Floats:
        assert self.head is not None
        return self.head.probs(dataset.x)

    def embed(self, dataset: Any, return_proba: bool = False, pbar: object = None) -> Any:
        return (dataset.x, self.predict_proba(dataset)) if return_proba else dataset.x


def small_text(build: Callable[[Any], Any], data: Data, seed: int) -> Picker:
    """A query strategy of small-text; ``build`` makes it out of the module with the strategies."""
    strategy = build(_library("small_text.query_strategies", "small-text"))
    dataset = importlib.import_module("small_text").SklearnDataset(data.train, data.y, np.arange(data.k))

    def pick(now: Round) -> Iterable[int]:
        classifier = SmallTextClassifier(now.head)
        chosen: Iterable[int] = strategy.query(classifier, dataset, now.waiting, now.labelled, now.classes, n=BATCH)
        return chosen

    return pick


def small_text_strategies() -> dict[str, Maker]:
    """Those that need nothing but features and probabilities; the quick ones first."""

    def subsample(name: str) -> Callable[[Any], Any]:
        return lambda q: q.SubsamplingQueryStrategy(getattr(q, name)(), subsample_size=SUBSAMPLE)

    builders: dict[str, Callable[[Any], Any]] = {
        "random": lambda q: q.RandomSampling(),
        "breaking-ties": lambda q: q.BreakingTies(),
        "least-confidence": lambda q: q.LeastConfidence(),
        "prediction-entropy": lambda q: q.PredictionEntropy(),
        "lightweight-coreset": lambda q: q.LightweightCoreset(),
        "embedding-kmeans": lambda q: q.EmbeddingKMeans(),
        "contrastive-1000": subsample("ContrastiveActiveLearning"),
        "greedy-coreset-1000": subsample("GreedyCoreset"),
        "greedy-coreset": lambda q: q.GreedyCoreset(),
        "discriminative": lambda q: q.DiscriminativeActiveLearning(SmallTextClassifier(), 1),
        "contrastive": lambda q: q.ContrastiveActiveLearning(),
    }
    return {name: partial(small_text, build) for name, build in builders.items()}


# --------------------------------------------------------------------------------------------------- scikit-activeml
class FittedHead(ClassifierMixin, BaseEstimator):  # type: ignore[no-untyped-call]
    """Our head as a scikit-learn classifier that is fitted already."""

    def __init__(self, head: LinearHead) -> None:
        self.head = head
        self.classes_ = np.arange(len(head.bias))
        self.n_features_in_ = head.weight.shape[1]

    def fit(self, X: Floats, y: NDArray[np.int64]) -> "FittedHead":
        raise NotImplementedError("fitted before: strategies are called with fit_clf=False")

    def predict_proba(self, X: Floats) -> Floats:
        return self.head.probs(X)

    def predict(self, X: Floats) -> NDArray[np.int64]:
        return np.asarray(self.head.logits(X).argmax(axis=1), np.int64)


def scikit_activeml(
    build: Callable[[Any, Data, int], Any], classifier: str, subsample: bool, data: Data, seed: int
) -> Picker:
    """A query strategy of scikit-activeml; ``classifier`` is what it calls its classifier, empty if it needs none."""
    pool = _library("skactiveml.pool", "scikit-activeml")
    wrap = importlib.import_module("skactiveml.classifier").SklearnClassifier
    strategy = build(pool, data, seed)
    if subsample:
        strategy = pool.SubSamplingWrapper(
            strategy, max_candidates=SUBSAMPLE, exclude_non_subsample=True, random_state=seed
        )

    def pick(now: Round) -> Iterable[int]:
        y = np.full(len(data.train), np.nan)
        y[now.labelled] = now.classes
        given: dict[str, Any] = {}
        if classifier:
            fitted = wrap(FittedHead(now.head), classes=list(range(data.k)))
            given = {classifier: fitted, f"fit_{classifier}": False}
        chosen: Iterable[int] = strategy.query(data.train, y, batch_size=BATCH, **given)
        return chosen

    return pick


def scikit_activeml_strategies() -> dict[str, Maker]:
    """Those that need nothing but features and a classifier with probabilities; the quick ones first."""

    def maker(name: str, classifier: str = "clf", subsample: bool = False, **options: Any) -> Maker:
        def build(pool: Any, data: Data, seed: int) -> Any:
            return getattr(pool, name)(random_state=seed, **options)

        return partial(scikit_activeml, build, classifier, subsample)

    def prob_cover(pool: Any, data: Data, seed: int) -> Any:
        return pool.ProbCover(n_classes=data.k, random_state=seed)

    return {
        "random": maker("RandomSampling", ""),
        "margin": maker("UncertaintySampling", method="margin_sampling"),
        "entropy": maker("UncertaintySampling", method="entropy"),
        "least-confident": maker("UncertaintySampling", method="least_confident"),
        "falcun": maker("Falcun"),
        "core-set": maker("CoreSet", ""),
        "contrastive": maker("ContrastiveAL"),
        "clue": maker("Clue", "estimator"),
        "clue-margin": maker("Clue", "estimator", method="margin_sampling"),
        "badge-1000": maker("Badge", subsample=True),
        "drop-query-1000": maker("DropQuery", subsample=True),
        "max-herding-1000": maker("MaxHerding", "", subsample=True),
        "typiclust-1000": maker("TypiClust", "", subsample=True),
        "greedy-sampling-x": maker("GreedySamplingX", ""),
        "drop-query": maker("DropQuery"),
        "badge": maker("Badge"),
        "prob-cover": partial(scikit_activeml, prob_cover, "", False),
        "typiclust": maker("TypiClust", ""),
        "max-herding": maker("MaxHerding", ""),
    }


# --------------------------------------------------------------------------------------------------------- bookkeeping
SKIPPED = {
    "small-text": {
        "badge": "cannot be imported without torch, and draws from a generator that cannot be seeded",
        "expected-gradient-length": "needs a torch model; so do its max-word and layer variants",
        "bald": "needs dropout samples, a linear head has none",
        "seals": "a filter for large pools before another strategy; needs hnswlib",
        "anchor-subsampling": "a filter before another strategy; needs hnswlib, and a generator that cannot be seeded",
        "category-vector-inconsistency-and-ranking": "multi-label only",
    },
    "scikit-activeml": {
        "four-ds": "accepts no classifier but its own MixtureModelClassifier",
        "probabilistic-al": "needs class frequencies around each item, a linear head has none",
        "epistemic-uncertainty-sampling": "two classes and its own classifiers only",
        "query-by-committee": "needs an ensemble, we have one head; so do greedy-bald and batch-bald",
        "expected-error-reduction": "fits once for each candidate and class; so does value-of-information",
        "discriminative-al": "fits the whole pool ten times a round",
        "quire": "inverts a matrix of the whole pool",
        "cost-embedding-al": "embeds classes by a cost matrix; without one all costs are equal",
        "regression": "expected model change, greedy-sampling-target, and others are for regression",
    },
}

LIBRARIES: dict[str, Callable[[], dict[str, Maker]]] = {
    "ours": our_strategies,
    "small-text": small_text_strategies,
    "scikit-activeml": scikit_activeml_strategies,
}


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SystemExit(
            f"{package} cannot be imported ({error}); the head of {__file__} says how to get it"
        ) from error


def main() -> None:
    args = _arguments()
    makers = LIBRARIES[args.library]()
    names = args.strategies.split(",") if args.strategies else list(makers)
    if unknown := [name for name in names if name not in makers]:
        raise SystemExit(f"{args.library} has no strategy {', '.join(unknown)}; known: {', '.join(makers)}")
    data = Data.load(args.features)
    result = _result(args, data)
    for name in names:
        for seed in range(args.seeds):
            if any(run["strategy"] == name and run["seed"] == seed for run in result["runs"]):
                continue
            start = begin(data, "random" if (args.library, name) == ("ours", "random") else args.start, seed)
            try:
                curve = learn(data, makers[name](data, seed), start, args.labels, seed, args.limit_s)
            except Exception as error:  # one strategy's failure is a result, and the others still have to run
                result["skipped"][name] = f"seed {seed}: {type(error).__name__}: {error}"
                print(f"{name} left out, {result['skipped'][name]}", flush=True)
                _write(args.out, result)
                break
            result["runs"].append({"strategy": name, "seed": seed, **curve})
            result["skipped"].pop(name, None)
            _write(args.out, result)
            print(
                f"{name} seed {seed}: AULC accuracy {curve['aulc_accuracy']:.4f}, macro-F1 "
                f"{curve['aulc_macro_f1']:.4f}, {curve['select_cpu_s']} s",
                flush=True,
            )


def _result(args: argparse.Namespace, data: Data) -> dict[str, Any]:
    """What ``--out`` holds, or its beginning. Ends the program where it holds results of another situation."""
    situation = {
        "library": args.library,
        "version": "" if args.library == "ours" else _version(args.library),
        "features": args.features.stem,
        "start": args.start,
        "budget": args.labels,
        "batch": BATCH,
        "pool": len(data.train),
        "test": len(data.test),
        "classes": data.k,
    }
    if args.out.exists():
        result: dict[str, Any] = json.loads(args.out.read_text())
        if different := [key for key, value in situation.items() if result[key] != value]:
            was = {key: result[key] for key in different}
            raise SystemExit(f"{args.out} holds results of another situation: {was}; choose another --out")
        return result
    accuracy, f1 = data.score(data.fit(np.arange(len(data.train)), 0))
    everything = {"accuracy": round(accuracy, 4), "macro_f1": round(f1, 4)}
    return {**situation, "all_labels": everything, "skipped": dict(SKIPPED.get(args.library, {})), "runs": []}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise SystemExit(
            f"{package} is not installed in this Python; the head of {__file__} says how to get it"
        ) from error


def _write(file: Path, result: dict[str, Any]) -> None:
    """All or nothing: a run may be ended at any time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".tmp")
    new.write_text(json.dumps(result))
    os.replace(new, file)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="npz file")
    parser.add_argument("--library", choices=LIBRARIES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file, continued if it exists")
    parser.add_argument("--strategies", help="names with commas between them (default: all)")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--labels", type=int, default=500, help="labels at the end of a run")
    parser.add_argument("--start", choices=["typiclust", "random"], default="typiclust", help="how the first 20 come")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="CPU seconds of a run's choices, else left out")
    return parser.parse_args()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning)
    main()
