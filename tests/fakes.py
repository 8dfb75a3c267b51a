"""Stand-ins with behaviour: a Label Studio in memory, and an encoder that knows words."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from backend.errors import NotFound, StudioError

CONFIG = """<View><Text name="text" value="$text"/><Choices name="topic" toName="text" choice="single">
<Choice value="sport"/><Choice value="food"/><Choice value="music"/></Choices></View>"""
LABELS = ("sport", "food", "music")
WORDS = {
    "sport": ["goal", "match", "league", "coach", "team"],
    "food": ["soup", "bread", "salt", "oven", "taste"],
    "music": ["song", "guitar", "choir", "rhythm", "melody"],
}
CREATED_AT = "2026-11-24T19:30:26.058143Z"
KEY = "2.1795548626"
DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
"""For tests that are to hold on both."""


def text_of(number: int) -> tuple[str, str]:
    """(text, label) number so-and-so; every third has words of another label too, so that it is less certain."""
    generator = np.random.default_rng(number)
    label = LABELS[number % 3]
    words = list(generator.choice(WORDS[label], 3))
    if number % 3 == 0:
        words += list(generator.choice(WORDS[LABELS[(number + 1) % 3]], 2))
    return " ".join([*words, f"n{number}"]), label


class WordEncoder:
    """Features from word hashes: texts that share words are near each other. (N, 32), deterministic."""

    dim = 32

    def __init__(self, base_id: str = "words") -> None:
        self.base_id = base_id
        self.embedded = 0

    def embed(self, texts: Sequence[str], on_progress: Any = None) -> np.ndarray:
        self.embedded += len(texts)
        return np.array([self._one(t) for t in texts], np.float32).reshape(-1, self.dim)

    def _one(self, text: str) -> np.ndarray:
        return np.mean([_vector(self.base_id, word) for word in text.split() or [""]], axis=0)


@cache
def _vector(base_id: str, word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(f"{base_id}{word}".encode()).digest()[:4], "big")
    return np.random.default_rng(seed).standard_normal(WordEncoder.dim)


class FakeStudio:
    """Label Studio as the client sees it, for one project."""

    def __init__(self, tasks: int = 60, config: str = CONFIG) -> None:
        self.config, self.sampling, self.model_version = config, "Uncertainty sampling", "ls-active"
        self.tasks = {number: {"text": text_of(number)[0]} for number in range(1, tasks + 1)}
        self.answers: dict[int, dict[str, Any]] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        self.next_id, self.calls, self.gone = 1, [], False
        self.failures: dict[str, int] = {}

    # -------------------------------------------------------------------------------------------- what people do
    def annotate(self, task: int, label: str | None, annotator: int = 1, at: str = "2026-11-25T00:00:00Z") -> dict:
        """An annotation (None: a skip), as the webhook carries it, with the current version's prediction."""
        shown = [
            {"id": n, **row}
            for n, row in self.rows.items()
            if row["task"] == task and row["model_version"] == self.model_version
        ]
        number = self._id()
        self.answers[number] = {
            "id": number,
            "task": task,
            "completed_by": annotator,
            "was_cancelled": label is None,
            "updated_at": at,
            "prediction": shown[0] if shown else {},
            "result": []
            if label is None
            else [{"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}],
        }
        return self.answers[number]

    def served(self) -> list[int]:
        """Unlabelled tasks in the order in which Label Studio would serve them, those with a prediction only."""
        return [task for task, _ in self.queue(2, 10**6)]

    # ------------------------------------------------------------------------------------------------ the client
    def project(self, project_id: int) -> dict[str, Any]:
        self._call("project")
        if self.gone:
            raise NotFound("no such project")
        return {
            "id": 2,
            "created_at": CREATED_AT,
            "title": "fake",
            "label_config": self.config,
            "task_number": len(self.tasks),
            "total_annotations_number": sum(not a["was_cancelled"] for a in self.answers.values()),
            "skipped_annotations_number": sum(a["was_cancelled"] for a in self.answers.values()),
            "model_version": self.model_version,
            "sampling": self.sampling,
        }

    def all_tasks(self, project_id: int, since: Any = None) -> Iterator[dict[str, Any]]:
        self._call("all_tasks")
        yield from ({"id": number, "data": data} for number, data in self.tasks.items())

    def labelled(self, project_id: int, since: Any) -> Iterator[dict[str, Any]]:
        self._call("labelled")
        for number, data in self.tasks.items():
            found = [a for a in self.answers.values() if a["task"] == number]
            if found:
                yield {"id": number, "data": data, "annotations": found}

    def annotations(self, task: int) -> list[dict[str, Any]]:
        self._call("annotations")
        return [a for a in self.answers.values() if a["task"] == task]

    def push_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        self._call("push_predictions")
        if any(p["task"] not in self.tasks for p in predictions):
            raise StudioError("unknown task: nothing stored")
        for prediction in predictions:
            self.rows[self._id()] = dict(prediction)
        return len(predictions)

    def predictions(self, project_id: int, version: str | None = None) -> list[dict[str, Any]]:
        self._call("predictions")
        return [
            {"id": number, **row}
            for number, row in self.rows.items()
            if version is None or row["model_version"] == version
        ]

    def create_prediction(self, task: int, result: Any, score: float, model_version: str) -> int:
        self._call("create_prediction")
        number = self._id()
        self.rows[number] = {"task": task, "result": result, "score": score, "model_version": model_version}
        return number

    def patch_score(self, prediction_id: int, score: float) -> None:
        self._call("patch_score")
        if prediction_id not in self.rows:
            raise NotFound("no such prediction")
        self.rows[prediction_id]["score"] = score

    def patch_result(self, prediction_id: int, result: Any) -> None:
        self._call("patch_result")
        self.rows[prediction_id]["result"] = result

    def set_model_version(self, project_id: int, version: str) -> None:
        self._call("set_model_version")
        if all(row["model_version"] != version for row in self.rows.values()):
            raise StudioError("a version without predictions")
        self.model_version = version

    def delete_prediction(self, prediction_id: int) -> None:
        self._call("delete_prediction")
        self.rows.pop(prediction_id, None)

    def model_versions(self, project_id: int) -> list[str]:
        self._call("model_versions")
        return sorted({row["model_version"] for row in self.rows.values()})

    def delete_version(self, project_id: int, version: str, limit: int | None = None, pause_s: float = 0) -> int:
        self._call("delete_version")
        assert version != self.model_version
        old = [number for number, row in self.rows.items() if row["model_version"] == version]
        for number in old[:limit]:
            del self.rows[number]
        return len(old) - len(old[:limit])

    def queue(self, project_id: int, n: int) -> list[tuple[int, float]]:
        self._call("queue")
        answered = {a["task"] for a in self.answers.values() if not a["was_cancelled"]}
        scores: dict[int, list[float]] = {}
        for row in self.rows.values():
            if row["model_version"] == self.model_version and row["task"] in self.tasks.keys() - answered:
                scores.setdefault(row["task"], []).append(row["score"])
        means = {task: float(np.mean(own)) for task, own in scores.items()}
        return sorted(means.items(), key=lambda item: item[1])[:n]

    def _id(self) -> int:
        self.next_id += 1
        return self.next_id

    def _call(self, name: str) -> None:
        """Remember the call; fail where a test asked for it, before anything was done."""
        self.calls.append(name)
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            raise StudioError(f"{name} failed, as the test wants it")
