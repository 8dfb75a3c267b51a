"""What versions said of tasks whose labels came later, and what the next version makes of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from backend.active.calibration import fit_temperature
from backend.active.head import LinearHead
from backend.models.encoder import Encoder
from backend.models.spec import ModelSpec
from backend.problems import trials
from backend.problems.base import PROBLEMS
from backend.problems.schema import Control, Example, Item, Schema
from backend.problems.training import measured, train_version
from backend.problems.trials import NEWEST, TRIALS, Trial, save_trials, tried
from backend.problems.version import HEADS, META, Version, load_version, save_heads
from tests.fakes import WordEncoder, text_of
from tests.problems.test_training import RECIPE, SCHEMA, examples

CHOICE = Control("asks", "choices", "text", "text", ("a", "b"), ("a", "b"))
STARS = Control("stars", "rating", "text", "text", ("1", "2"), ("1", "2"))
BOTH = Schema((CHOICE, STARS))
HEAD = LinearHead(np.eye(2, 32, dtype=np.float32), np.zeros(2, np.float32))


def example(task: int, label: int = 0, weight: float = 1.0) -> Example:
    target = np.eye(2, dtype=np.float32)[label]
    return Example(task, Item.of(text_of(task)[0]), {"asks": target, "stars": target}, weight)


def labelled(*tasks: int) -> list[Example]:
    return [example(task) for task in tasks]


def version(folder: Path, learned: list[Example], trials: Mapping[str, list[Trial]] = MappingProxyType({})) -> Path:
    """A version on frozen features that learned from these examples."""
    folder.mkdir()
    save_heads({c.name: HEAD for c in BOTH.controls}, folder / HEADS)
    meta = {"schema": BOTH.to_json(), "base": {"id": "words", "name": "words"}, "adapted": []}
    (folder / META).write_text(json.dumps({**meta, "examples": sum(e.weight == 1 for e in learned)}))
    save_trials(folder / TRIALS, learned, trials)
    return folder


class Words(WordEncoder):
    spec = ModelSpec("words")


def found(before: Path, train: list[Example], schema: Schema = BOTH, base_id: str = "words") -> dict[str, list[Trial]]:
    return tried(before, Words(base_id), schema, train, seed=0)  # type: ignore[arg-type]


def calibrated(held: list[Example], came: list[Example], logits: np.ndarray) -> tuple[LinearHead, dict[str, int]]:
    """The head of the choice after trials, and what is told of it."""
    trials = {"asks": [Trial(e, row, 10) for e, row in zip(came, logits, strict=True)]}
    heads, metrics = measured(WordEncoder(), Schema((CHOICE,)), {"asks": HEAD}, held, None, trials)  # type: ignore[arg-type]
    return heads["asks"], metrics["asks"]


def ids(trials: list[Trial]) -> list[int]:
    return [trial.example.task_id for trial in trials]


def test_labels_that_a_version_did_not_know_try_it(tmp_path: Path) -> None:
    before = version(tmp_path / "one", labelled(*range(9)))
    trials = found(before, labelled(*range(9), 15, 13))
    assert list(trials) == ["asks"], "stars have no logits to try"
    assert ids(trials["asks"]) == [15, 13]
    said = HEAD.logits(WordEncoder().embed([text_of(15)[0], text_of(13)[0]]))
    assert np.allclose([trial.logits for trial in trials["asks"]], said)
    assert {trial.knew for trial in trials["asks"]} == {9}
    assert found(before, labelled(*range(9))) == {}


def test_they_stay_on_record_from_version_to_version_with_the_labels_of_now(tmp_path: Path) -> None:
    many = labelled(*range(100, 110))
    first = version(tmp_path / "one", many)
    trials = found(first, [*many, *labelled(3, 4, 5)])
    second = version(tmp_path / "two", [*many, *labelled(3, 4, 5)], trials)
    now = [*many, *labelled(3), example(5, label=1), *labelled(6)]  # 4 has no label any more, 5 has another
    later = found(second, now)["asks"]
    assert ids(later) == [3, 5, 6]
    assert [int(t.example.targets["asks"].argmax()) for t in later] == [0, 1, 0]
    assert [t.knew for t in later] == [10, 10, 13]
    assert np.array_equal(later[1].logits, trials["asks"][2].logits)
    third = version(tmp_path / "three", now, {"asks": later})
    again = found(third, [*many, *labelled(3, 4, 5, 6)])["asks"]
    assert ids(again) == [3, 5, 6, 4], "what comes again is the newest"


def test_versions_that_knew_far_fewer_labels_are_not_counted(tmp_path: Path) -> None:
    first = version(tmp_path / "one", labelled(*range(12)))
    assert ids(found(first, labelled(*range(20)))["asks"]) == [*range(12, 20)]
    assert found(first, labelled(*range(21))) == {}
    second = version(tmp_path / "two", labelled(*range(20)), found(first, labelled(*range(20))))
    assert ids(found(second, labelled(*range(30)))["asks"]) == [*range(20, 30)]
    assert not found(second, labelled(*range(1000)))


def test_the_newest_are_kept_and_no_more_are_read(tmp_path: Path) -> None:
    first = version(tmp_path / "one", labelled(*range(1000)))
    trials = found(first, labelled(*range(1000 + NEWEST)))
    second = version(tmp_path / "two", labelled(*range(1000 + NEWEST)), trials)
    later = found(second, labelled(*range(1030 + NEWEST)))["asks"]
    assert ids(later) == [*range(1030, 1030 + NEWEST)]
    encoder = WordEncoder()
    some = tried(second, encoder, BOTH, labelled(*range(2000)), seed=0)["asks"]  # type: ignore[arg-type]
    assert encoder.embedded == len(some) == NEWEST
    assert min(ids(some)) >= 1000 + NEWEST
    assert max(ids(some)) > 1900, "a sample of all that came, not the first of them"


def test_guesses_neither_try_nor_are_tried(tmp_path: Path) -> None:
    before = version(tmp_path / "one", [*labelled(*range(5)), example(7, weight=0.5)])
    assert found(before, [*labelled(*range(5), 7), example(8, weight=0.5)]) == {}


def test_nothing_is_loaded_where_no_control_makes_use_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(folder: Path, encoder: Encoder) -> Version:
        loaded.append(folder)
        return load_version(folder, encoder)

    monkeypatch.setattr(trials, "load_version", load)
    before = version(tmp_path / "one", labelled(1, 2))
    assert found(before, labelled(1, 2, 3), Schema((STARS,))) == {}
    assert loaded == []
    assert found(before, labelled(1, 2, 3))
    assert loaded == [before]


def test_a_version_of_something_else_or_a_damaged_one_is_not_tried(tmp_path: Path) -> None:
    before, train = version(tmp_path / "one", labelled(1, 2)), labelled(1, 2, 3)
    assert found(before, train)
    assert found(before, train, Schema((STARS, CHOICE))) == {}
    assert found(before, train, base_id="others") == {}
    save_file({"something": np.zeros(1)}, str(before / TRIALS))
    assert found(before, train) == {}
    (before / TRIALS).write_bytes(b"no such thing")
    assert found(before, train) == {}
    (before / TRIALS).unlink()  # by a former build
    assert found(before, train) == {}
    assert found(tmp_path / "gone", train) == {}


def drawn(n: int, temperature: float, seed: int) -> tuple[np.ndarray, list[Example]]:
    """Logits (n, 2), and labels as likely as they say at a temperature."""
    generator = np.random.default_rng(seed)
    logits = np.stack([generator.normal(0, 3, n), np.zeros(n)], axis=1).astype(np.float32)
    right = generator.random(n) < 1 / (1 + np.exp(-logits[:, 0] / temperature))
    return logits, [example(at, label=int(not r)) for at, r in enumerate(right)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_trials_tell_how_sure_the_next_version_may_be(temperature: float) -> None:
    logits, came = drawn(400, temperature, seed=1)
    head, told = calibrated([], came, logits)
    assert told == {"n": 0, "tried": 400}
    assert head.temperature == pytest.approx(temperature, rel=0.2)


def test_a_held_out_answer_counts_for_two_trials() -> None:
    logits, came = drawn(40, 3.0, seed=2)
    held = [example(at, label=at % 2) for at in range(100, 110)]
    head, told = calibrated(held, came, logits)
    own = HEAD.logits(WordEncoder().embed([e.item.text for e in held]))
    wanted = np.stack([e.targets["asks"] for e in [*held, *came]])
    assert head.temperature == fit_temperature(
        np.concatenate([own, logits]), wanted, weights=[2.0] * len(own) + [1.0] * len(logits)
    )
    assert told == {"n": 10, "tried": 40}


@pytest.mark.parametrize("kind", [k for k, problem in PROBLEMS.items() if not problem.tried and k != "pairwise"])
def test_other_kinds_say_that_they_keep_no_logits(kind: str) -> None:
    nothing: Any = None
    with pytest.raises(NotImplementedError):
        PROBLEMS[kind].logits(CHOICE, HEAD, nothing, [])
    with pytest.raises(NotImplementedError):
        PROBLEMS[kind].calibrated_as_tried(CHOICE, HEAD, nothing, [], (HEAD.weight, []))


def test_a_preference_is_not_tried() -> None:
    """It could be; no public set was at hand to measure it on."""
    assert not PROBLEMS["pairwise"].tried
    assert PROBLEMS["choices"].tried


def test_each_version_of_a_project_is_tried_by_the_labels_of_the_next(encoder: Encoder, tmp_path: Path) -> None:
    before = None
    for n, (upto, tries) in enumerate([(8, 0), (11, 3), (13, 5)]):
        folder = tmp_path / f"v{n}"
        meta = train_version(encoder, SCHEMA, examples(0, upto), [], RECIPE, folder, lambda *_: None, before=before)
        assert meta["controls"]["asks"] == {"n": 0, "tried": tries}
        if before is not None:
            known = tried(before, encoder, SCHEMA, examples(0, upto), RECIPE.seed)["asks"]
            assert ids(known) == [*range(8, upto)]
            wanted, logits = [t.example.targets["asks"] for t in known], [t.logits for t in known]
            temperature = load_version(folder, encoder).heads["asks"].temperature
            assert temperature == pytest.approx(fit_temperature(logits, wanted))
        before = folder
