"""How often a model is wrong, told by another one that disagrees with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.calibration import LOG_BOUND, expected_calibration_error, softmax
from backend.active.disagreement import LEAST, SHARED, least_errors, no_surer


def confidence(logits: np.ndarray, temperature: float) -> float:
    return float(softmax(logits / temperature).max(axis=1).mean())


def boaster(n: int, right: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 2) of a model that is surer than the share of examples on which it is ``right``, and the truth (N,).
    It knows where it is less often right, but for a factor."""
    rng = np.random.default_rng(seed)
    odds = np.abs(rng.normal(np.log(right / (1 - right)), 0.8, n))
    said = rng.integers(0, 2, n)
    truth = np.where(rng.random(n) < 1 / (1 + np.exp(-odds)), said, 1 - said)
    logits = np.zeros((n, 2))
    logits[np.arange(n), said] = 3 * odds
    return logits, truth


def test_errors_are_at_least_what_versions_that_share_labels_disagree_on() -> None:
    assert least_errors(0.0, 2) == 0
    assert least_errors(0.12, 6) == pytest.approx(0.12 / SHARED)
    assert least_errors(0.9, 2) == 0.5
    assert least_errors(0.9, 4) == 0.75


def test_a_model_that_another_one_contradicts_is_made_less_sure_and_more_honest() -> None:
    logits, truth = boaster(4000, 0.75)
    rng = np.random.default_rng(1)
    wrong = logits.argmax(axis=1) != truth
    others = np.where(wrong & (rng.random(4000) < SHARED), truth, logits.argmax(axis=1))
    temperature = no_surer(logits, others, 1.0)
    assert 2 < temperature < 4
    assert confidence(logits, temperature) == pytest.approx(1 - wrong.mean(), abs=0.02)
    before, after = (expected_calibration_error(softmax(logits / t), truth) for t in (1.0, temperature))
    assert after < 0.03 < 0.1 < before


@given(st.integers(0, 99), st.floats(0.3, 5), st.integers(2, 5), st.floats(0, 1))
def test_it_never_makes_surer_and_no_less_sure_than_is_wanted(seed: int, start: float, k: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(LEAST, k)) * 3
    others = np.where(rng.random(LEAST) < share, rng.integers(0, k, LEAST), logits.argmax(axis=1))
    temperature = no_surer(logits, others, start)
    right = 1 - least_errors(float((others != logits.argmax(axis=1)).mean()), k)
    assert temperature >= start
    if temperature > start:
        hottest = temperature == pytest.approx(np.exp(LOG_BOUND))
        assert hottest or confidence(logits, temperature) == pytest.approx(right, abs=0.001)
    else:
        assert confidence(logits, start) <= right + 1e-9
    order = rng.permutation(LEAST)
    assert no_surer(logits[order], others[order], start) == pytest.approx(temperature, rel=1e-6)


def test_agreement_says_nothing_and_so_do_few_examples() -> None:
    logits, truth = boaster(200, 0.75)
    assert no_surer(logits, logits.argmax(axis=1), 1.3) == 1.3
    assert no_surer(logits[: LEAST - 1], 1 - logits[: LEAST - 1].argmax(axis=1), 1.3) == 1.3
    assert no_surer(np.zeros((0, 3)), [], 0.8) == 0.8
    with pytest.raises(ValueError, match="must be"):
        no_surer(logits, truth[:-1], 1.0)
