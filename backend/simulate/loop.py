"""One run: a strategy and a seed, from no label to the last round. Goes on where it stopped.

``RUNS/<strategy>-<seed>.jsonl`` has one line for each round, with the tasks labelled since the line before it; so a run
that was interrupted is read back and goes on with the next round.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from backend.active.curve import Point, predicted_gain
from backend.active.stopping import is_vague
from backend.pipeline.audit import qualities
from backend.pipeline.decide import Field, Policy, decide_by_first, fresh_judge
from backend.pipeline.evaluation import comparable, diversity, earlier_one, rise, stop_set
from backend.problems.base import contexts, problem_for, readers, said
from backend.problems.schema import Example, Floats, Item
from backend.problems.training import examples_in_update
from backend.problems.version import cold_version
from backend.serving.features import FeatureStore
from backend.simulate import measure
from backend.simulate.learner import Learner, examples, learner_of
from backend.simulate.plan import BEFORE, DEFAULT, FULL, RANDOM, SEED_STEP, Data, Plan, strategy_of

Row = dict[str, Any]
GAIN_AT = (50, 100, 128, 200)  # labels at which the next 100 are predicted, where these are rounds
NEXT = 100
REST = 1000  # tasks without a label that a version is measured on, where it has to read them for that
FULL_PASSES = 2  # times that each example is seen in the training on all data, at least


class Run:
    """One strategy and one seed."""

    def __init__(
        self, plan: Plan, data: Data, learner: Learner, base: Floats, strategy: str, seed: int, path: Path
    ) -> None:
        self._plan, self._data, self._learner, self._base = plan, data, learner, base
        self._strategy, self._seed, self._path = strategy_of(strategy), seed, path
        self._audit, self._audit_rank = data.audit(seed, plan.audit_share)
        self._contexts = contexts(data.schema, data.items)
        self._labelled: list[int] = []
        self._audits: list[Point] = []
        self._stop = stop_set(self._audit, self._audit_rank)
        self._answers: list[tuple[int, list[Any]]] = []  # of each round: examples learned from, answers to the stop set
        self._learned = 0  # labels that the learner's version knows
        self._by_default = 0  # labels of this round that the strategy could not choose

    def go(self) -> None:
        """All rounds that are not on file yet."""
        done = read_rows(self._path)
        for row in done:
            self._labelled += row["picks"]
            self._note_audit(row["audit"])
            self._note_answers(row.get("answers"))
        restored = self._learner.restore(len(self._trained()))
        if done and not restored:
            self._learn()
        for labels in self._plan.rounds[len(done) :]:
            append_row(self._path, self._round(labels))

    def _round(self, labels: int) -> Row:
        start, before, self._by_default = _clock(), len(self._labelled), 0
        while len(self._labelled) < labels:
            self._label(min(self._plan.batch, labels - len(self._labelled)))
        chosen = _clock()
        self._learn()
        learned = _clock()
        return {
            "labels": len(self._labelled),
            "picks": self._labelled[before:],
            "by_default": self._by_default,
            **self._measured(),
            "seconds": {"choose": chosen - start, "learn": learned - chosen, "measure": _clock() - learned},
        }

    def _label(self, n: int) -> None:
        """Label the next ``n`` tasks, as an annotator would who is always right."""
        own = replace(self._learner.version.judge, weights=self._plan.weights)
        field = self._field()
        wanted = dict.fromkeys([self._strategy, strategy_of(DEFAULT)])  # as in a project
        policies = [Policy(name, self._plan.audit_share, self._seed * SEED_STEP) for name in wanted]
        known = self._plan.adapter == "none" and self._learned == len(self._labelled)
        judge = own if known or self._strategy == RANDOM else fresh_judge(own, field, self._seed)
        unable: list[ValueError] = []
        chosen = decide_by_first(judge, field, n, policies, lambda _, error: unable.append(error))
        self._labelled += [c.position for c in chosen]
        self._by_default += len(chosen) if unable else 0

    def _field(self) -> Field:
        open_ = np.ones(len(self._data.pool), bool)
        open_[self._labelled] = False
        targets = {p: self._data.pool[p].targets for p in self._labelled}
        # random order looks at nothing, so nothing is encoded for it
        rows = self._base if self._strategy == RANDOM else self._learner.rows
        clusters = None if self._strategy == RANDOM else self._learner.clusters(~self._audit, self._seed)
        texts = [item.text for item in self._data.items]
        return Field(rows, open_, self._audit, self._audit_rank, targets, clusters, texts, self._contexts)

    def _learn(self) -> None:
        held_out = [p for p in self._labelled if self._audit[p]]
        self._learner.learn([p for p in self._labelled if not self._audit[p]], held_out)
        self._learned = len(self._labelled)

    def _measured(self) -> Row:
        learner, data, schema = self._learner, self._data, self._data.schema
        held_out = examples(data, [p for p in self._labelled if self._audit[p]])
        audit = measure.audit(schema, learner.audited(held_out), held_out, self._plan.weights)
        answers = self._answered()
        self._note_audit(audit)
        self._note_answers(answers)
        return {
            **measure.quality(schema, learner.outputs([e.item for e in data.test]), data.test, self._plan.weights),
            "characters": sum(measure.characters(schema, batch) for batch in self._batches()),
            "audit": audit,
            "answers": answers,
            "rest": self._rest(),
            "predicted_gain": self._predicted_gain() if len(self._labelled) in GAIN_AT else None,
            "coverage": measure.coverage(schema, self._base, data.pool, self._labelled),
        }

    def _batches(self) -> Iterator[list[Item]]:
        """What was labelled, in pieces of the size of a batch."""
        for start in range(0, len(self._labelled), self._plan.batch):
            yield [self._data.pool[p].item for p in self._labelled[start : start + self._plan.batch]]

    def _rest(self) -> float | None:
        """Quality on the tasks that have no label yet; None where there is none.

        A test file may have another mixture of classes than the pool; what a team would not have to label has not. They
        are a sample, unless rows are enough to judge all of them, which are computed for the queue anyway.
        """
        schema = self._data.schema
        order = np.random.default_rng(self._seed).permutation(len(self._data.pool))
        rest = order[~np.isin(order, self._labelled)]
        whole = all(problem_for(control).fast for control in schema.controls)
        if not whole:
            rest = rest[: len(self._data.test) if "generator" in readers(schema) else REST]
        if not len(rest):
            return None
        sample = examples(self._data, rest.tolist())
        items, learner = [e.item for e in sample], self._learner
        outputs = learner.version.outputs(items, learner.rows[rest]) if whole else learner.outputs(items)
        quality = qualities(schema, sample, outputs, self._plan.weights)
        return float(quality.mean()) if len(quality) else None

    def _note_audit(self, audit: Mapping[str, Any] | None) -> None:
        if audit and len(self._labelled) > audit["n"]:
            self._audits.append(Point(len(self._labelled) - audit["n"], audit["value"], audit["n"], audit=True))

    def _answered(self) -> list[Any] | None:
        """The answers to the stop set, where later ones are compared with them."""
        if not comparable(self._data.schema):
            return None
        (control,) = self._data.schema.controls
        problem = problem_for(control)
        outputs = self._learner.outputs([self._data.pool[p].item for p in self._stop])
        return [said(problem, output) for output in outputs[control.name]]

    def _note_answers(self, answers: list[Any] | None) -> None:
        if answers is not None:
            self._answers.append((len(self._trained()), answers))

    def _trained(self) -> list[int]:
        return [p for p in self._labelled if not self._audit[p]]

    def _predicted_gain(self) -> dict[str, Any]:
        """What is predicted of the accuracy that the next labels add; ``told``: whether a project sees the value."""
        schema, train = self._data.schema, examples(self._data, self._trained())
        answers, earlier = self._answers[-1][1] if self._answers else [], earlier_one(schema, self._answers, len(train))
        points, change = rise(schema, train, answers, earlier, self._columns, seed=self._seed)
        more, classes = NEXT * (1 - self._plan.audit_share), diversity(schema, train)
        changes = [] if change is None else [change]
        gain = predicted_gain([*points, *self._audits], len(train), more, changes=changes, classes=classes)
        return {**asdict(gain), "told": not is_vague(gain)}

    def _columns(self, taught: Sequence[Example]) -> tuple[Floats, Floats]:
        """Columns of labelled tasks, and of the stop set, on features of the base model."""
        judge, name = self._learner.version.judge, self._data.schema.controls[0].name
        own, others = (judge.columns(name, self._base[at]) for at in ([e.task_id for e in taught], self._stop))
        return own, others


def run_full(plan: Plan, data: Data, learner: Learner, path: Path) -> None:
    """One round with a label for every task: what there is to reach."""
    if read_rows(path):
        return
    start = _clock()
    learner.restore(0)
    learner.learn(list(range(len(data.pool))), [])
    quality = measure.quality(data.schema, learner.outputs([e.item for e in data.test]), data.test, plan.weights)
    append_row(path, {"labels": len(data.pool), "picks": [], **quality, "seconds": {"learn": _clock() - start}})


def run_before(plan: Plan, data: Data, learner: Learner, path: Path) -> None:
    """One round without a label."""
    quality = measure.quality(data.schema, learner.outputs([e.item for e in data.test]), data.test, plan.weights)
    append_row(path, {"labels": 0, "picks": [], **quality})


def full_plan(plan: Plan, data: Data) -> Plan:
    """The plan for the training on all tasks: enough updates to see each one twice, a text once."""
    recipe, n = plan.recipe, len(data.pool)
    steps = max(recipe.steps, -(-FULL_PASSES * n // examples_in_update(data.schema, data.pool, recipe.batch_size)))
    text_steps = max(recipe.text_steps, -(-n // recipe.text_batch_size))
    return replace(plan, recipe=replace(recipe, steps=steps, text_steps=text_steps))


def path_of(out: Path, strategy: str, seed: int) -> Path:
    """Where the rounds of a run are."""
    return out / "runs" / f"{strategy.replace('/', '_')}-{seed}.jsonl"


def read_rows(path: Path) -> list[Row]:
    """The rounds on file; a last line that was cut off by an interruption does not count."""
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.split("\n") if line]


def append_row(path: Path, row: Row) -> None:
    """Add a round; what an interruption cut off is overwritten."""
    rows = [*read_rows(path), row]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(r) + "\n" for r in rows))
    temporary.replace(path)


def _clock() -> float:
    """CPU seconds of this process: two runs side by side do not lengthen each other's."""
    return time.process_time()


def execute(
    plan: Plan, data: Data, store_of: Callable[[Any], FeatureStore], strategy: str, seed: int, out: Path
) -> None:
    """Load the base model and make one run."""
    from backend.models.encoder import Encoder

    base = Encoder.load(plan.model)
    store = store_of(cold_version(base, data.schema))
    folder = out / "work" / f"{strategy.replace('/', '_')}-{seed}"
    if strategy == FULL:
        plan = full_plan(plan, data)
        run_full(plan, data, learner_of(plan, data, base, store, seed, folder), path_of(out, strategy, seed))
        return
    learner = learner_of(plan, data, base, store, seed, folder)
    if strategy == BEFORE:
        run_before(plan, data, learner, path_of(out, strategy, seed))
        return
    Run(plan, data, learner, store.get(data.items), strategy, seed, path_of(out, strategy, seed)).go()
