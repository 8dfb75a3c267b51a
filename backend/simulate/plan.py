"""What a simulation is: the data, when it trains, what is varied; and the folder that holds all of it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend.active.audit import audit_rank, is_audit
from backend.active.selection import fails, parse
from backend.demo.corpus import Corpus, check_learnable, read_pair
from backend.demo.formats import check_answered
from backend.errors import UserError
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec, TextSpec
from backend.problems.base import readers
from backend.problems.schema import Example, Item, Schema
from backend.settings import Settings
from backend.studio.schema import parse_schema

Adapter = Literal["lora", "none"]
DEFAULT, RANDOM = "default", "random"
FULL, BEFORE = "full", "before"  # one training on all data, the ceiling; and what there is without a label, the floor
SEED_STEP = 10_000  # seeds of one run are so far from those of the next
FIRST = 20  # labels before the first training
TEXTS = 100  # test tasks that texts are written for, where nothing else is asked for


@dataclass(frozen=True)
class Plan:
    """All that changes a result. ``rounds``: numbers of labels at which a version is trained and measured; ``batch``:
    labels between two decisions; ``config``: the label config of an export; ``weights`` of the controls."""

    data: str
    test: str
    adapter: Adapter
    rounds: tuple[int, ...]
    batch: int
    audit_share: float
    model: ModelSpec
    recipe: Recipe
    text: TextSpec | None = None
    config: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rounds or list(self.rounds) != sorted(set(self.rounds)) or self.rounds[0] < 1:
            raise UserError(
                f"The rounds {list(self.rounds)} are no rising numbers of labels.", "Such as --rounds 50,100,200."
            )
        if self.batch < 1 or not 0 <= self.audit_share <= 0.5:
            raise UserError("The batch must be at least 1 and the audit share between 0 and 0.5.")

    def on_one_thread(self) -> "Plan":
        """The same plan, for one of several processes side by side; loading a model sets how many threads there are."""
        return replace(self, model=replace(self.model, threads=1), text=self.text and replace(self.text, threads=1))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; threads and device do not change a result beyond rounding."""
        content = asdict(self)
        for model in filter(None, (content["model"], content["text"])):
            del model["threads"], model["device"]
        del content["recipe"]["seed"]  # each run has its own
        for name in ("text", "config", "weights"):
            if not content[name]:
                del content[name]
        return {**content, "rounds": list(self.rounds)}


def plan_of(
    settings: Settings,
    data: Path,
    test: Path,
    *,
    adapter: Adapter,
    labels: int,
    rounds: Sequence[int],
    batch: int,
    audit_share: float | None,
    test_tasks: int = 0,
    config: Path | None = None,
) -> Plan:
    """The plan of these options; without ``rounds`` those of a project with these settings, up to ``labels``."""
    share = settings.audit_share if audit_share is None else audit_share
    schedule = tuple(r for r in rounds if r <= labels) or tuple(_schedule(settings, labels, adapter, batch))
    recipe = Recipe.from_settings(settings)
    models = ModelSpec.from_settings(settings), recipe, TextSpec.from_settings(settings)
    measured = f"{_digest(test)}:{test_tasks}" if test_tasks else _digest(test)
    asked = _digest(config) if config else ""
    return Plan(_digest(data), measured, adapter, schedule, batch, share, *models, asked, settings.weights)


def numbers(text: str) -> list[int]:
    """The numbers of a list such as ``50,100``; none for an empty text. Raises UserError."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"The rounds {text!r} are no list of numbers.", "Such as --rounds 50,100,200.") from None


def _schedule(settings: Settings, labels: int, adapter: Adapter, batch: int) -> list[int]:
    """When a project would train; a frozen encoder's head is measured after each batch."""
    found = [min(FIRST if adapter == "none" else settings.retrain_after_labels, labels)]
    while found[-1] < labels:
        step = batch if adapter == "none" else max(settings.retrain_after_labels, found[-1] // 10)
        found.append(min(found[-1] + step, labels))
    return found


_CONTENT = re.compile(r":([0-9a-f]{16}(?::\d+)?)$")  # of what :func:`_digest` says, and how many of its tasks


def _digest(path: Path) -> str:
    """Name and content of a file in one word."""
    try:
        whole = path.resolve()
        return f"{whole.parent.name}/{whole.name}:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


@dataclass(frozen=True)
class Data:
    """Gold examples to learn from (N) and to be measured on; the id of one is its position among its like. ``notes``
    say what of the files is left out."""

    schema: Schema
    pool: list[Example]
    test: list[Example]
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> list[Item]:
        """What the tasks hold, (N)."""
        return [example.item for example in self.pool]

    def audit(self, seed: int, share: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which tasks are held out (N,), and the random order in which they are labelled (N,)."""
        key = f"simulation-{seed}"
        held = [is_audit(key, at, share) for at in range(len(self.pool))]
        return np.array(held, bool), np.array([audit_rank(key, at) for at in range(len(self.pool))])


def read_data(data: Path, test: Path, most_labels: int, config: Path | None = None, test_tasks: int = 0) -> Data:
    """Both files; ``config`` is the label config of exports. Of the second ``test_tasks`` at random, always the same;
    0: all, or ``TEXTS`` where texts are to be written. Raises UserError for too few tasks, answers that are all the
    same, or labels that only the test file has."""
    train, held_back = read_pair(data, test, config)
    if config is None:
        check_answered(data, train.tasks)
    schema = parse_schema(train.config)
    pool, lost = _examples(schema, data, train)
    measured, lost_too = _examples(schema, test, held_back)
    most = test_tasks or (TEXTS if "generator" in readers(schema) else len(measured))
    chosen = np.random.default_rng(0).permutation(len(measured))[:most]
    found = Data(schema, pool, [measured[at] for at in sorted(chosen.tolist())], (*lost, *lost_too))
    check_learnable(schema, found.pool)
    if len(found.pool) < most_labels:
        raise UserError(
            f"The data has {len(found.pool)} tasks, fewer than the {most_labels} labels to be given.",
            f"Give --labels {len(found.pool)} or fewer (without it they are 500), or --rounds that end there.",
        )
    return found


def _examples(schema: Schema, path: Path, corpus: Corpus) -> tuple[list[Example], list[str]]:
    """The tasks whose result says something, and what is to be said of the others."""
    found, notes = corpus.read(schema)
    if not found:
        asked = ", ".join(c.name for c in schema.controls)
        raise UserError(f"{path} has no task with an answer to {asked}.", " ".join(notes))
    return found, [f"{path}: {note}" for note in notes]


def strategy_of(name: str) -> str:
    """The strategy's own name; ``default`` is what a project does without a setting. Raises UserError."""
    found = str(Settings.model_fields["strategy"].default) if name == DEFAULT else name
    try:
        plan = parse(found)
    except ValueError as error:
        raise UserError(f"{error}; and {DEFAULT}") from None
    if reason := fails(plan):
        raise UserError(f"{found} cannot choose: {reason}", "Leave that --strategy out.")
    return plan.name


def open_folder(out: Path, plan: Plan) -> None:
    """Make the folder, or check that what it holds was made by the same plan. Raises UserError."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "plan.json"
    text = json.dumps(plan.to_json(), indent=1, sort_keys=True)
    before = _settled(json.loads(path.read_text())) if path.exists() else None
    now = _settled(json.loads(text))
    if before is not None and before != now:
        differing = ", ".join(sorted(name for name in {*now, *before} if now.get(name) != before.get(name)))
        raise UserError(f"{out} holds a simulation with another {differing}.", "Give another --out, or delete it.")
    path.write_text(text)


def _settled(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What of a plan's JSON makes a result another one, each by its name: of files their content."""
    parts = {name: value for name, value in plan.items() if isinstance(value, Mapping) and name != "weights"}
    flat = {f"{name}: {inner}": value for name, part in parts.items() for inner, value in part.items()}
    files = {name: _CONTENT.findall(str(plan.get(name, ""))) for name in ("data", "test", "config")}
    rest = {name: value for name, value in plan.items() if name not in parts and name not in files}
    return {**flat, **files, **rest}
