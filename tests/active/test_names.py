"""Names of strategies: what they stand for, and the sentence for those that stand for nothing."""

from dataclasses import replace

import numpy as np
import pytest

from backend.active.selection import STRATEGIES, choose, needs_head, parse
from backend.active.selection.names import SAMPLED
from backend.active.selection.scores import SCORES, ranks
from backend.errors import UserError
from backend.settings import load_settings
from tests.active.test_rules import make

WRONG = {
    "best": "unknown strategy 'best'; known: auto, .*badge",
    "": "unknown strategy",
    "margin:x+density": "weight 'x' of margin must be a positive number",
    "margin:-1": "positive",
    "margin:nan": "positive",
    "margin+badge": "'badge' is no score",
    "badge:2": "'badge' is no score",
    "margin@sorted": "known, once each: @balanced, @stochastic, @whole-contexts",
    "margin@balanced@balanced": "once each",
    "badge@stochastic": "needs a score",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_name_is_refused_with_what_is_known(name: str) -> None:
    with pytest.raises(ValueError, match=WRONG[name]):
        parse(name)


def test_the_setting_refuses_what_the_parser_refuses() -> None:
    assert load_settings(strategy="margin:0.7+density:0.3@balanced").strategy.endswith("@balanced")
    with pytest.raises(UserError, match=r"STRATEGY: .*'magrin'.*known: auto"):
        load_settings(strategy="magrin")


def test_a_sum_is_of_weighted_ranks() -> None:
    pool, rng = make(30), np.random.default_rng(0)
    total = 0.7 * ranks(SCORES["margin"](pool, rng)) + 0.3 * ranks(SCORES["density"](pool, rng))
    picks = choose("margin:7+density:3", pool, 30, seed=0)
    assert (np.diff(total[picks]) <= 1e-12).all()
    assert choose("margin:5", pool, 30, seed=0).tolist() == choose("margin", pool, 30, seed=0).tolist()


@pytest.mark.parametrize("name", ["margin@balanced", "badge@balanced", "margin@stochastic@balanced"])
def test_quotas_give_each_predicted_class_a_turn_and_the_unlabelled_the_first(name: str) -> None:
    pool = replace(make(60, 3), labelled_classes=np.array([0, 0, 0, 2, 2]))
    predicted = pool.probs.argmax(axis=1)[choose(name, pool, 9, seed=0)]
    assert predicted.tolist() == [1, 2, 0] * 3


def test_quotas_of_a_heavily_imbalanced_pool() -> None:
    probs = np.tile(np.array([0.9, 0.1], np.float32), (60, 1))
    probs[[7, 8]] = [0.1, 0.9]
    picks = choose("entropy@balanced", replace(make(60, 2), probs=probs), 60, seed=0)
    assert set(picks[:4].tolist()) >= {7, 8}
    assert len(set(picks.tolist())) == 60


def test_two_annotators_get_different_tasks_that_are_still_uncertain() -> None:
    pool = make(300)
    one, two = (choose("margin@stochastic", pool, 30, seed=s) for s in (1, 2))
    assert len(set(one) & set(two)) < 15
    margin = SCORES["margin"](pool, np.random.default_rng(0))
    assert margin[one].mean() > margin.mean() + 0.05


def test_a_score_of_0_stays_behind_all_others() -> None:
    probs = np.array([[1.0, 0.0]] * 5 + [[0.9, 0.1]] * 5, np.float32)
    picks = choose("margin@stochastic", replace(make(10, 2), probs=probs), 10, seed=0)
    assert set(picks[:5].tolist()) == set(range(5, 10))


def test_only_what_samples_needs_a_head():
    needing = {"bald", "mc-entropy@balanced", "margin:0.2+bald:0.8"}
    for name in [*STRATEGIES, *needing, "margin:0.5+density", "skactiveml:Badge"]:
        assert needs_head(name) == (name in SAMPLED or name in needing)
