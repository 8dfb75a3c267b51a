"""Figures of a simulation against what can be worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.problems.schema import Example, Item, Output
from backend.simulate import measure
from backend.simulate.summary import _audit_holds, _by_labels, _curves, _gains, aulc, labels_to, paired
from backend.studio.schema import parse_schema


def test_the_area_of_a_straight_line_is_its_middle():
    assert aulc([20, 30, 60], np.array([[0.2, 0.3, 0.6]])) == pytest.approx([0.4])


def test_a_single_round_is_its_own_area():
    assert aulc([50], np.array([[0.5], [0.7]])).tolist() == [0.5, 0.7]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 0.5))
def test_the_area_lies_within_the_curve_and_moves_with_it(values, lift):
    curve = np.array([values])
    (area,) = aulc([20, 50, 100], curve)
    assert min(values) - 1e-9 <= area <= max(values) + 1e-9
    assert aulc([20, 50, 100], curve + lift)[0] == pytest.approx(area + lift)


def test_a_measure_that_some_versions_lack_is_the_mean_of_the_others():
    plan = SimpleNamespace(rounds=(20, 30))
    runs = [
        [{"accuracy": 0.5}, {"accuracy": 0.6, "error": 2.0}],
        [{"accuracy": 0.7, "error": 3.0}, {"accuracy": 0.8, "error": 1.0}],
        [{"accuracy": 0.7}, {"accuracy": 0.8, "error": 6.0}],
    ]
    found = _by_labels(plan, _curves(plan, runs)["error"])
    assert found == {
        "20": {"mean": 3.0, "seeds": [None, 3.0, None]},
        "30": {"mean": 3.0, "seeds": [2.0, 1.0, 6.0]},
    }
    only = _by_labels(plan, _curves(plan, [runs[0]])["error"])
    assert only["20"] == {"mean": None, "seeds": [None]}


def test_a_goal_is_reached_between_two_rounds():
    curve = np.array([0.5, 0.7, 0.9])
    assert labels_to([10, 20, 40], curve, 0.8) == pytest.approx(30)
    assert labels_to([10, 20, 40], curve, 0.4) == 10
    assert labels_to([10, 20, 40], curve, 0.95) is None
    assert labels_to([10, 20, 40], np.zeros(3), 0.9 * 0.0) is None


def test_a_steady_gain_is_beyond_noise_and_a_wavering_one_is_not():
    assert paired(np.array([0.02, 0.03, 0.025, 0.02, 0.03, 0.028]))["beyond_noise"] is True
    assert paired(np.array([0.02, -0.03, 0.025, -0.02, 0.03, -0.028]))["beyond_noise"] is False
    assert paired(np.zeros(6))["beyond_noise"] is False
    assert paired(np.array([0.1]))["beyond_noise"] is None


@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=8))
def test_swapping_the_two_turns_the_interval_round(values):
    there, back = paired(np.array(values)), paired(-np.array(values))
    assert there["low"] == pytest.approx(-back["high"], abs=1e-9)
    assert there["beyond_noise"] == back["beyond_noise"]


def test_the_audit_interval_is_held_against_pool_and_test_file_each_by_itself():
    audit = {"n": 10, "value": 0.8, "low": 0.5, "high": 0.9}
    rows = [
        {"audit": audit, "rest": 0.7, "quality": 0.95},
        {"audit": audit, "rest": 0.95, "quality": 0.95},
        {"audit": audit, "rest": None, "quality": 0.6},
        {"audit": None, "rest": 0.1, "quality": 0.1},
    ]
    assert _audit_holds([rows[:1], rows[1:]]) == {"rest_of_pool": 0.5, "test_file": pytest.approx(1 / 3)}
    assert _audit_holds([rows[3:]]) == {"rest_of_pool": None, "test_file": None}


def test_the_audit_measures_what_is_measured_of_the_test_file():
    """The curve's score may be another one: of spans it is micro-F1, which tasks without any do not raise."""
    config = '<View><Text name="t" value="$text"/><Labels name="l" toName="t"><Label value="X"/></Labels></View>'
    examples = [Example(n, Item.of("a b c"), {"l": [] if n % 5 else [(0, 1, 0, 1.0)]}) for n in range(100)]
    nothing = {"l": [Output(answer=[], extra={"scores": []}, confidence=0.9)] * 100}
    found = measure.quality(parse_schema(config), nothing, examples, {})
    assert (found["accuracy"], found["quality"]) == (0, pytest.approx(0.8))
    assert measure.audit(parse_schema(config), nothing, examples, {})["value"] == pytest.approx(0.8)


def test_a_predicted_gain_stands_beside_what_came_on_the_test_file_and_in_the_pool():
    plan = SimpleNamespace(rounds=(50, 100, 200, 300))
    run = [
        {"labels": labels, "quality": accuracy, "rest": rest, "predicted_gain": {"value": 0.1, "low": 0, "high": 0.2}}
        for labels, accuracy, rest in ((50, 0.5, 0.4), (100, 0.7, 0.5), (200, 0.8, 0.7), (300, 0.9, 0.8))
    ]
    first, second, third = _gains(plan, [run])
    assert (first["seed"], first["labels"], first["value"]) == (0, 50, 0.1)
    assert first["real"] == pytest.approx(0.25)
    assert first["real_rest_of_pool"] == pytest.approx(0.2)
    assert (second["real"], second["real_rest_of_pool"]) == pytest.approx((0.1, 0.2))
    assert third["labels"] == 200
    run[1]["rest"] = None
    assert [found["real_rest_of_pool"] for found in _gains(plan, [run])] == [None] * 3
