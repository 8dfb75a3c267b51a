"""What is told of held-out answers beside their mean quality: the intervals of all kinds of controls."""

from typing import Any

import numpy as np
import pytest

from backend.active.metrics import accuracy_interval
from backend.problems.base import problem_for
from backend.problems.schema import Control, Output

SHARES = ("accuracy", "answerable", "exact_match", "first_match")
ONE, OTHER = np.eye(2, dtype=np.float32)
TWO_PLACES, OTHER_PLACES = ([(0, 3, k, 1.0), (4, 8, k, 1.0)] for k in (0, 1))
NO_ANSWER = {"spans": [], "none": 1.0}
CASES = {
    "choices-multiple": (ONE, OTHER),
    "choices-region": (TWO_PLACES, OTHER_PLACES),
    "labels": (TWO_PLACES, OTHER_PLACES),
    "question": ({"spans": [[0, 3, "one"]], "none": 0.0}, NO_ANSWER),
    "ranker": (((0, 1),), ((1, 0),)),
    "rating": (ONE, OTHER),
    "textarea": (("one",), ("other",)),
}


@pytest.mark.parametrize(("kind", "right"), [(kind, right) for kind in CASES for right in (0, 1, 12, 20)])
def test_a_share_of_right_answers_has_the_interval_of_a_share(kind: str, right: int) -> None:
    """A bootstrap has no width where all are right or none."""
    control = Control("asks", kind, "text", "text", ("a", "b"), ("a", "b"), options={"empty": True})
    problem, (target, other) = problem_for(control), CASES[kind]
    outputs: list[Output] = [problem.sure(target)] * right + [problem.sure(other)] * (20 - right)
    targets: list[Any] = [target] * 20
    report, scores = problem.report(control, outputs, targets, seed=0), problem.scores(control, outputs, targets)
    told = [name for name in report if name in SHARES]
    assert told
    for name in told:
        assert report[name] == accuracy_interval(right, 20)
        assert scores[name] == pytest.approx(right / 20)
    for name, interval in report.items():
        assert interval.low <= interval.value == pytest.approx(scores[name])
        assert interval.value <= interval.high


def test_places_of_few_tasks_tell_less_than_places_of_many() -> None:
    control = Control("asks", "choices-region", "text", "text", ("a", "b"), ("a", "b"))
    problem = problem_for(control)
    places = [[(10 * at, 10 * at + 5, 0, 1.0) for at in range(n)] for n in (1, 1, 1, 1, 12, 0)]
    for given, n in ((places[:4], 4), (places, 16**2 / (4 + 12**2)), (places[-1:], None)):
        report = problem.report(control, list(map(problem.sure, given)), given, seed=0)
        assert (report["accuracy"].low == pytest.approx(accuracy_interval(n, n).low)) if n else report == {}
