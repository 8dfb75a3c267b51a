"""The learning curve of a headless demo: a line for each version as it becomes active."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.demo.feed import Status, StatusFeed
from backend.demo.formats import Labelled
from backend.demo.measure import measure_accuracy, order_problem
from backend.demo.stage import Stage


class Curve:
    """Measures each version once, while it is the active one, and prints its line.

    ``seconds`` are those of each ``/predict`` call with 100 texts; ``checks`` counts comparisons of Label Studio's
    order with the published one, ``order_problems`` says what they found.
    """

    def __init__(
        self, stage: Stage, project: int, feed: StatusFeed, uid: str, config: str, held_back: Sequence[Labelled]
    ) -> None:
        self._stage, self._project, self._feed = stage, project, feed
        self._uid, self._config, self._held_back = uid, config, held_back
        self._tested: dict[str, float] = {}
        self._shown: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self.checks = 0
        self.order_problems: list[str] = []
        self.newest = ""  # the active version at the last look
        print(f"{'labels':>7}  {'version':<8} {'held-out accuracy':<32}" + ("test accuracy" if held_back else ""))

    def has_news(self, status: Status) -> bool:
        """Whether a version became active, or was rejected, that has no line yet."""
        return any(row["name"] not in self._shown and row["state"] != "ready" for row in status["versions"])

    def show(self, status: Status) -> None:
        """Takes in a status; measures and prints what is new in it."""
        self._rows = status["versions"]
        active = next((row["name"] for row in self._rows if row["state"] == "active"), "")
        for row in self._rows:
            if row["name"] not in self._shown and row["state"] != "ready":
                self._shown.add(row["name"])
                if row["state"] == "active":
                    self._measure(row["name"])
                self._print(row)
        self.newest = active or self.newest

    def note_order(self, problem: str | None) -> None:
        """Counts a comparison of the order: "" was right, None could not be made."""
        if problem is not None:
            self.checks += 1
        if problem:
            self.order_problems.append(problem)

    def versions(self) -> list[dict[str, Any]]:
        """All versions, oldest first, with what was measured of them."""
        keys = ("name", "labels", "audit", "state", "seconds", "created_at")
        return [
            {**{key: row.get(key) for key in keys}, "test_accuracy": self._tested.get(row["name"])}
            for row in self._rows
        ]

    def _measure(self, version: str) -> None:
        if self._held_back:
            name, share = measure_accuracy(self._stage, self._uid, self._config, self._held_back, self.seconds)
            self._tested[name.split("-r")[0]] = share  # a publication anew of a version has a name of its own
        self.note_order(order_problem(self._stage, self._project, self._feed))

    def _print(self, row: Mapping[str, Any]) -> None:
        audit, test = row["audit"], self._tested.get(row["name"])
        measured = f"{audit['value']:.0%} of {audit['n']} ({audit['low']:.0%}–{audit['high']:.0%})" if audit else "–"
        note = "rejected: not better than the active version" if row["state"] == "rejected" else ""
        tested = f"{test:.1%}" if test is not None else ""
        print(f"{row['labels']:>7}  {row['name']:<8} {measured:<32}{tested}{note}", flush=True)
