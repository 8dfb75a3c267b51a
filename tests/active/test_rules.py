"""The rules of selection against plain versions of themselves, and what each makes of copies and odd pools."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from backend.active import uncertainty
from backend.active.head import LinearHead
from backend.active.selection import Pool, choose, coverage, diverse
from backend.active.selection.badge import squared_distances_to, squared_lengths
from backend.active.selection.directions import directions, fingerprints
from backend.active.selection.greedy import greedily
from backend.active.selection.names import STRATEGIES
from backend.active.selection.scores import SCORES, ranks

COVERAGE = ["nearest-labelled", "k-center", "herding", "diverse-cosine", "diverse-jaccard", "badge"]


def make(n: int = 40, k: int = 3, *, labelled: int = 5, seed: int = 0, d: int = 6) -> Pool:
    rng = np.random.default_rng(seed)
    return Pool(
        features=rng.normal(size=(n, d)).astype(np.float32),
        probs=rng.dirichlet(np.ones(k), n).astype(np.float32),
        labelled_features=rng.normal(size=(labelled, d)).astype(np.float32),
        labelled_classes=rng.integers(0, k, labelled),
        head=LinearHead(rng.normal(size=(k, d)).astype(np.float32), np.zeros(k, np.float32)),
        texts=[" ".join(map(str, row)) for row in rng.integers(0, 12, (n, 4))],
    )


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=15, deadline=None)
@given(n=st.integers(0, 30), k=st.integers(1, 5), seed=st.integers(0, 99))
def test_scores_move_with_their_items_and_are_at_least_0(name: str, n: int, k: int, seed: int) -> None:
    pool = make(n, k, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    scores = SCORES[name](pool, np.random.default_rng(1))
    assert scores.shape == (n,)
    assert (scores >= 0).all()
    assert name == "gradient-length" or (scores <= 1).all()
    assert SCORES[name](pool.take(order), np.random.default_rng(1)) == pytest.approx(scores[order], abs=1e-6)


def test_ranks_are_shares_of_lower_scores() -> None:
    assert ranks(np.array([5.0, 1, 5, 9])) == pytest.approx([0.5, 0.125, 0.5, 0.875])


def test_density_is_the_mean_cosine_to_all() -> None:
    pool = make(20)
    x = directions(pool.features)
    expected = (1 + (x @ x.T).mean(axis=1)) / 2
    assert SCORES["density"](pool, np.random.default_rng(0)) == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_badge_distances_are_those_of_explicit_outer_products(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors, h = rng.normal(size=(9, 3)).astype(np.float32), rng.normal(size=(9, 5)).astype(np.float32)
    embeddings = np.einsum("nk,nd->nkd", errors, h).reshape(9, -1).astype(np.float64)
    explicit = ((embeddings[:, None] - embeddings) ** 2).sum(axis=2)
    lengths = squared_lengths(errors, h)
    assert lengths == pytest.approx((embeddings**2).sum(axis=1), rel=1e-4)
    for pick in range(9):
        assert squared_distances_to(pick, errors, h, lengths) == pytest.approx(explicit[pick], rel=1e-3, abs=1e-3)


def test_badge_prefers_the_uncertain() -> None:
    probs = np.array([[0.5, 0.5]] * 20 + [[0.999, 0.001]] * 20, np.float32)
    pool = replace(make(), probs=probs, head=None, texts=None)
    picks = np.concatenate([choose("badge", pool, 10, seed=s) for s in range(5)])
    assert (picks < 20).mean() > 0.9


@given(seed=st.integers(0, 99), labelled=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_k_center_equals_the_naive_one(seed: int, labelled: int) -> None:
    pool = make(25, seed=seed, labelled=labelled)
    x, centres = directions(pool.features), list(directions(pool.labelled_features))
    naive: list[int] = []
    for _ in range(10):
        distances = [-1 if i in naive else min(np.linalg.norm(v - c) for c in centres) for i, v in enumerate(x)]
        naive.append(int(np.argmax(distances)))
        centres.append(x[naive[-1]])
    assert choose("k-center", pool, 10, seed=seed).tolist() == naive


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


@pytest.mark.parametrize("name", ["diverse-cosine", "diverse-jaccard"])
@given(seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_marginal_relevance_equals_the_naive_one(name: str, seed: int) -> None:
    pool = make(25, seed=seed)
    assert pool.texts is not None
    x, sets, worth = directions(pool.features), [diverse.tokens(t) for t in pool.texts], uncertainty.margin(pool.probs)

    def likeness(i: int, j: int) -> float:
        return max(0.0, float(x[i] @ x[j])) if name == "diverse-cosine" else jaccard(sets[i], sets[j])

    naive: list[int] = []
    for _ in range(10):
        values = [0.5 * worth[i] - 0.5 * max([likeness(i, j) for j in naive], default=0.0) for i in range(25)]
        naive.append(max(set(range(25)) - set(naive), key=values.__getitem__))
    assert choose(name, pool, 10, seed=seed).tolist() == naive


@given(seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_lazy_herding_equals_computing_all_gains(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, worth = rng.random((150, 30)).astype(np.float32), rng.random(30).astype(np.float32)
    covered = np.zeros(30, np.float32)
    naive: list[int] = []
    for _ in range(8):
        gains = np.maximum(kernel - covered, 0) @ worth
        gains[naive] = -1
        naive.append(int(gains.argmax()))
        covered = np.maximum(covered, kernel[naive[-1]])
    assert coverage._cover(kernel, worth, np.zeros(30, np.float32), 8).tolist() == naive


@pytest.mark.parametrize(("n", "references"), [(9, 9), (20, 16), (50, 8), (200, 4)])
def test_herding_looks_at_as_many_references_as_memory_allows_within_bounds(
    n: int, references: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    cover = coverage._cover
    monkeypatch.setattr(coverage, "REFERENCES", (4, 16))
    monkeypatch.setattr(coverage, "SIMILARITIES", 400)
    monkeypatch.setattr(coverage, "_cover", lambda kernel, *rest: seen.append(kernel.shape) or cover(kernel, *rest))
    assert len(choose("herding", make(n), 3, seed=0)) == 3
    assert seen == [(n, references)]


def test_herding_covers_the_uncertain_crowd_before_the_certain_one() -> None:
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(4)[:2], 30, axis=0) + 0.05 * rng.normal(size=(60, 4))
    probs = np.array([[0.5, 0.5]] * 30 + [[0.6, 0.4]] * 30, np.float32)
    pool = Pool(features.astype(np.float32), probs, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    first, second = choose("herding", pool, 2, seed=0)
    assert first < 30 <= second


@pytest.mark.parametrize("name", ["auto", "typiclust", *COVERAGE])
@given(seed=st.integers(0, 20))
@settings(max_examples=8, deadline=None)
def test_copies_of_a_pick_or_of_a_labelled_item_come_last(name: str, seed: int) -> None:
    pool = make(30, seed=seed)
    rng = np.random.default_rng(seed)
    at = np.concatenate([np.arange(30), rng.integers(0, 30, 12)])[rng.permutation(42)]
    copied = replace(pool.take(at), labelled_features=np.concatenate([pool.labelled_features[1:], pool.features[:1]]))
    picks = at[choose(name, copied, 42, seed=seed)]
    assert sorted(picks[:29]) == list(range(1, 30))


def test_nearest_labelled_takes_the_farthest_first() -> None:
    features = np.array([[1, 0.1], [0, 1], [-1, 0], [1, 1]], np.float32)
    pool = Pool(features, np.full((4, 2), 0.5, np.float32), np.array([[2, 0]], np.float32), np.zeros(1, np.int64))
    assert choose("nearest-labelled", pool, 4, seed=0).tolist() == [2, 1, 3, 0]


def test_fingerprints_are_the_same_for_the_same_row_wherever_it_is() -> None:
    x = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)
    assert len(np.unique(fingerprints(x))) == 100
    assert np.array_equal(fingerprints(x[::-1]), fingerprints(x)[::-1])
    assert len(np.unique(fingerprints(np.array([[0.0], [-0.0]], np.float32)))) == 1


ODD = {
    "one class": SimpleNamespace(k=1),
    "zero vectors": SimpleNamespace(k=3, zero=True),
    "no labels": SimpleNamespace(k=3, labelled=0),
    "classes without labels": SimpleNamespace(k=9, labelled=2),
    "one item": SimpleNamespace(k=3, n=1),
    "half precision": SimpleNamespace(k=3, half=True),
}


@pytest.mark.parametrize("name", [*STRATEGIES, "margin:2+density@balanced", "bald@stochastic", "badge@balanced"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_pools_are_ordered_too(name: str, odd: str) -> None:
    kind = ODD[odd]
    pool = make(getattr(kind, "n", 30), kind.k, labelled=getattr(kind, "labelled", 5))
    if hasattr(kind, "zero"):
        pool = replace(pool, features=pool.features * (np.arange(30)[:, None] % 2), labelled_features=np.zeros((5, 6)))
    if hasattr(kind, "half"):
        pool = replace(pool, features=pool.features.astype(np.float16))
    picks = choose(name, pool, 50, seed=0)
    assert sorted(picks.tolist()) == list(range(len(pool)))


@pytest.mark.parametrize(("name", "part"), [("bald", "head"), ("mc-entropy", "head"), ("diverse-jaccard", "texts")])
def test_what_a_strategy_needs_is_named(name: str, part: str) -> None:
    with pytest.raises(ValueError, match=rf"Pool\({part}="):
        choose(name, replace(make(), head=None, texts=None), 3, seed=0)


def test_random_diverse_is_near_to_random_and_keeps_its_distance() -> None:
    shares: dict[str, list[tuple[int, float]]] = {"random-diverse": [], "random": []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        centres = np.repeat(np.eye(4), [60, 20, 10, 10], axis=0)
        features = (centres + 0.1 * rng.normal(size=(100, 4))).astype(np.float32)
        labelled = np.eye(4, dtype=np.float32)[:1]
        pool = Pool(features, np.full((100, 2), 0.5, np.float32), labelled, np.zeros(1, np.int64))
        for name, found in shares.items():
            kinds = centres[choose(name, pool, 5, seed=seed)].argmax(axis=1)
            found.append((len(set(kinds.tolist())), float((kinds == 0).mean())))
    (kinds, share), (random_kinds, random_share) = (np.mean(shares[n], axis=0) for n in ("random-diverse", "random"))
    assert kinds > random_kinds + 0.3
    assert share < random_share - 0.2


@given(seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_random_diverse_goes_on_as_before_when_its_first_is_labelled(seed: int) -> None:
    pool = make(30, seed=seed)
    order = choose("random-diverse", pool, 30, seed=1).tolist()
    left = np.delete(np.arange(30), order[0])
    labelled = np.concatenate([pool.labelled_features, pool.features[order[:1]]])
    classes = np.concatenate([pool.labelled_classes, [0]])
    rest = replace(pool.take(left), labelled_features=labelled, labelled_classes=classes)
    assert left[choose("random-diverse", rest, 29, seed=2)].tolist() == order[1:]


def test_tokens_assume_no_language() -> None:
    assert diverse.tokens("The cat") == {"the", "cat"}
    assert diverse.tokens("猫が好き") == {"猫が", "が好", "好き"}
    assert diverse.tokens("猫") == {"猫"}
    assert diverse.tokens("") == frozenset()
    assert len(diverse.tokens("เธอชอบแมวและสุนัขมากกว่านก มาก")) > 10


def test_behind_the_last_greedy_step_comes_the_rest_by_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    gains: NDArray[np.float64] = np.array([3.0, 1, 4, 2])
    monkeypatch.setattr("backend.active.selection.greedy.STEPS", 2)
    assert greedily(4, gains, lambda pick: gains).tolist() == [2, 0, 3, 1]
    assert greedily(3, gains, lambda pick: gains).tolist() == [2, 0, 3]
    assert greedily(2, np.full(2, -np.inf), lambda pick: np.full(2, -np.inf)).tolist() == [0, 1]
