"""The predicted gain: a known curve is found, ranges hold, and less certainty is a wider interval."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.curve import NET, Change, Point, effective_classes, predicted_gain

points = st.lists(st.builds(Point, st.floats(1, 1e4), st.floats(0, 1), st.integers(1, 5000), st.booleans()), max_size=8)

changes = st.lists(
    st.builds(lambda n, more, share: Change(n, n + more, share), st.floats(1, 1e4), st.floats(1, 1e4), st.floats(0, 1)),
    max_size=3,
)


@given(points, changes, st.floats(0, 1e5), st.floats(0, 1e4), st.floats(1, 300))
def test_a_gain_is_never_negative_and_lies_in_its_interval(
    points: list[Point], changes: list[Change], labels: float, more: float, classes: float
) -> None:
    found = predicted_gain(points, labels, more, changes=changes, classes=classes)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.value >= 0


@given(points, changes, st.floats(0, 1e4))
def test_more_labels_never_add_less(points: list[Point], changes: list[Change], labels: float) -> None:
    gains = [predicted_gain(points, labels, more, changes=changes).value for more in (0, 10, 100, 1000)]
    assert gains[0] == 0
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(gains))


@pytest.mark.parametrize("ceiling", [0.95, 0.8])
@pytest.mark.parametrize("drop", [0.05, 0.2])
@pytest.mark.parametrize("exponent", [0.4, 0.7, 1.0])
def test_a_known_curve_is_found(ceiling: float, drop: float, exponent: float) -> None:
    def curve(n: float) -> float:
        return ceiling - drop * (n / 50) ** -exponent

    measured = [Point(n, curve(n), 5000) for n in (25, 50, 75, 100)]
    real = curve(200) - curve(100)
    found = predicted_gain(measured, 100, 100)
    assert found.value == pytest.approx(real, abs=0.01)
    assert found.low <= real <= found.high


@pytest.mark.parametrize("classes", [40, 150])
@pytest.mark.parametrize("turn", [1.0, 2.0])
@pytest.mark.parametrize("ceiling", [0.95, 0.8])
def test_the_curve_of_many_classes_that_are_met_one_by_one_is_found(classes: int, turn: float, ceiling: float) -> None:
    def curve(n: float) -> float:
        return ceiling * (1 - float(np.exp(-n / (turn * classes))))

    measured = [Point(n, curve(n), 5000) for n in (25, 50, 75, 100)]
    real = curve(200) - curve(100)
    found = predicted_gain(measured, 100, 100, classes=classes)
    assert found.value == pytest.approx(real, abs=0.02)
    assert found.low <= real <= found.high


@pytest.mark.parametrize("drop", [0.05, 0.1, 0.15])
def test_a_curve_is_found_by_what_changed_alone(drop: float) -> None:
    def curve(n: float) -> float:
        return 0.9 - drop * (n / 50) ** -0.7

    found = predicted_gain([], 100, 100, changes=[Change(50, 100, (curve(100) - curve(50)) / NET)])
    real = curve(200) - curve(100)
    assert found.value == pytest.approx(real, abs=0.01)
    assert found.low <= real <= found.high


def test_the_more_answers_changed_the_more_is_to_be_gained_and_a_change_of_long_ago_says_less() -> None:
    gains = [predicted_gain([], 100, 100, changes=[Change(50, 100, share)]).value for share in (0, 0.1, 0.2, 0.4)]
    assert gains[0] < 0.01
    assert all(b > a + 0.01 for a, b in itertools.pairwise(gains))
    early, late = (predicted_gain([], 200, 100, changes=[Change(n, 200, 0.2)]).value for n in (20, 140))
    assert early < late / 2


@given(points, st.floats(0, 1e4))
def test_a_few_classes_make_no_difference(points: list[Point], labels: float) -> None:
    assert predicted_gain(points, labels, 100, classes=6) == predicted_gain(points, labels, 100)


@given(st.lists(st.integers(-1, 20), min_size=1))
def test_effective_classes_are_those_of_equal_shares_at_most(classes: list[int]) -> None:
    found = effective_classes(classes)
    assert 1 - 1e-9 <= found <= len(set(classes)) + 1e-9
    assert effective_classes(sorted(set(classes))) == pytest.approx(len(set(classes)))
    assert effective_classes(classes * 3) == pytest.approx(found)
    assert effective_classes([]) == 1


@pytest.mark.parametrize("classes", [1, 10, 50, 150])
def test_a_measurement_that_says_next_to_nothing_changes_next_to_nothing(classes: float) -> None:
    """It weighs no kind of curve against another."""
    before = predicted_gain([], 100, 100, classes=classes)
    for said in ({"points": [Point(100, 0.5, 1)]}, {"points": [], "changes": [Change(99.9, 100, 1)]}):
        found = predicted_gain(labels=100, more=100, classes=classes, **said)
        assert (found.value, found.low, found.high) == pytest.approx((before.value, before.low, before.high), abs=0.01)


def test_the_order_of_points_and_a_common_distance_of_the_audited_model_make_no_difference() -> None:
    measured = [Point(n, a, 1000) for n, a in ((25, 0.6), (50, 0.7), (100, 0.77))]
    audits = [Point(n, a + 0.1, 1000, audit=True) for n, a in ((50, 0.7), (100, 0.77))]
    found = predicted_gain(measured, 100, 100)
    turned = predicted_gain(measured[::-1], 100, 100)
    assert (found.value, found.low, found.high) == pytest.approx((turned.value, turned.low, turned.high))
    assert predicted_gain(measured + audits, 100, 100).value == pytest.approx(found.value, abs=0.005)


def test_even_a_known_curve_leaves_room_for_the_noise_of_trainings_which_falls_with_the_labels() -> None:
    known = [Point(n, 0.9 - 0.1 * (n / 50) ** -1.0, 10**6) for n in (25, 50, 100, 200, 400)]
    few, many = predicted_gain(known, 50, 100), predicted_gain(known, 500, 100)
    assert few.high - few.low > 2 * (many.high - many.low) > 0
    assert many.low < 0 < many.high
    none = predicted_gain(known, 50, 0)
    assert (none.low, none.value, none.high) == (0, 0, 0)


def test_few_examples_leave_a_wide_interval_and_a_flat_curve_has_little_to_give() -> None:
    few, many = (
        predicted_gain([Point(k, a, n) for k, a in ((25, 0.6), (50, 0.7), (100, 0.77))], 100, 100) for n in (20, 2000)
    )
    assert few.high - few.low > many.high - many.low
    flat = predicted_gain([Point(k, 0.9, 500) for k in (50, 100, 200, 400)], 500, 100)
    assert flat.value < 0.005
    assert predicted_gain([], 50, 100).value > predicted_gain([], 500, 100).value


def test_what_cannot_be_is_refused() -> None:
    for bad in ((0, 0.5, 5), (5, 1.5, 5), (5, 0.5, 0)):
        with pytest.raises(ValueError, match="expected"):
            Point(*bad)
    for bad in ((0, 5, 0.5), (5, 5, 0.5), (5, 10, 1.5)):
        with pytest.raises(ValueError, match="expected"):
            Change(*bad)
    with pytest.raises(ValueError, match="expected"):
        predicted_gain([], -1, 100)
    with pytest.raises(ValueError, match="at least 1 class"):
        predicted_gain([], 50, 100, classes=0.5)
