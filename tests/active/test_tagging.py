"""Tags of units <-> spans: the decoder only yields valid tags, and the most probable ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.tagging import Tags, best_path, spans_of


def valid(path) -> bool:
    return all(
        tag == 0 or tag % 2 == 1 or (at > 0 and path[at - 1] in (tag, tag - 1)) for at, tag in enumerate(path)
    )  # fmt: skip


@given(st.integers(1, 4), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_the_path_is_the_best_of_all_valid_ones(units: int, labels: int, seed: int) -> None:
    scores = np.log(np.random.default_rng(seed).dirichlet(np.ones(1 + 2 * labels), size=units))
    paths = [p for p in itertools.product(range(1 + 2 * labels), repeat=units) if valid(p)]
    wanted = max(sum(scores[at, tag] for at, tag in enumerate(p)) for p in paths)
    found = best_path(scores)
    assert valid(found)
    assert sum(scores[np.arange(units), found]) == pytest.approx(wanted)


def test_no_unit_has_no_path() -> None:
    assert best_path(np.zeros((0, 3))).shape == (0,)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(0, 2)), max_size=4))
def test_spans_that_do_not_overlap_survive_the_tags(parts) -> None:
    spans, at = [], 0
    for gap, length, label in parts:
        spans.append((at + gap, at + gap + length, label))
        at += gap + length
    tags = Tags(3)
    targets = tags.targets(at + 1, [(*span, 1.0) for span in spans])
    assert targets.sum(axis=1) == pytest.approx(1)
    assert tags.spans([targets.argmax(axis=1)]) == spans
    assert tags.spans(tags.best(tags.log_probs(targets * 9))) == spans


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(0, 2)), max_size=6))
def test_layers_keep_spans_that_overlap_others(parts) -> None:
    by_label = {label: (start, start + length, label) for start, length, label in parts}
    tags = Tags(3, layered=True)
    targets = tags.targets(10, [(*span, 1.0) for span in by_label.values()])
    assert len(tags) == 9
    assert tags.spans(tags.best(tags.log_probs(targets * 9))) == sorted(by_label.values())


def test_in_one_layer_the_longer_span_wins_and_shares_stay_shares() -> None:
    tags = Tags(2)
    nested = tags.targets(4, [(1, 2, 1, 1.0), (0, 3, 0, 1.0)])
    assert tags.spans([nested.argmax(axis=1)]) == [(0, 3, 0)]
    divided = tags.targets(4, [(1, 2, 0, 0.5), (1, 3, 0, 0.5)])
    assert divided[1].tolist() == [0, 1, 0, 0, 0]
    assert divided[2].tolist() == [0.5, 0, 0.5, 0, 0]
    assert divided[3].tolist() == [1, 0, 0, 0, 0]


def test_probabilities_of_each_layer_sum_to_one() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 6))
    assert np.exp(Tags(2, layered=True).log_probs(logits)).reshape(5, 2, 3).sum(axis=2) == pytest.approx(1)


def test_a_span_ends_where_the_next_begins() -> None:
    assert spans_of(np.array([1, 2, 1, 0, 3, 4, 3])) == [(0, 2, 1), (2, 3, 1), (4, 6, 3), (6, 7, 3)]
