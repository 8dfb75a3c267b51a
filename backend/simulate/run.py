"""``ls-active simulate``: all runs of a plan, several side by side, and what they came to."""

import json
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from backend.alone import alone
from backend.serving.features import FeatureStore, FeatureStores
from backend.simulate.loop import execute, path_of, read_rows
from backend.simulate.plan import BEFORE, DEFAULT, FULL, RANDOM, Data, Plan, open_folder, strategy_of

POLL_S = 0.5
Unit = tuple[str, int]


def simulate(plan: Plan, data: Data, strategies: Sequence[str], seeds: int, out: Path, jobs: int) -> dict[str, Any]:
    """The content of ``results.json``. What is on file in ``out`` is not computed again."""
    names = list(dict.fromkeys([DEFAULT, RANDOM, *strategies]))
    for name in names:
        strategy_of(name)
    open_folder(out, plan)
    runs: list[Unit] = [(name, seed) for seed in range(seeds) for name in names]
    units = [(BEFORE, 0), *runs, (FULL, 0)]
    with alone(out, "Wait for it, or give another --out."):
        todo = [unit for unit in units if len(read_rows(path_of(out, *unit))) < _rounds(plan, unit)]
        if todo:
            _encode_base(plan, data, out)
            _run_all(plan, data, todo, units, out, jobs)

        from backend.simulate.summary import summarise

        rows = {unit: read_rows(path_of(out, *unit)) for unit in units}
        results = summarise(plan, data, rows)
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return results


def _rounds(plan: Plan, unit: Unit) -> int:
    return 1 if unit[0] in (BEFORE, FULL) else len(plan.rounds)


def _encode_base(plan: Plan, data: Data, out: Path) -> None:
    """Features of the frozen base model, once for all runs; only this process writes them."""
    from tqdm import tqdm

    from backend.models.encoder import Encoder
    from backend.problems.version import cold_version

    base = cold_version(Encoder.load(plan.model), data.schema)
    items = [example.item for example in (*data.pool, *data.test)]
    with tqdm(total=len(set(items)), unit="task", desc="encoding") as bar:
        _store(out, base).fill(base, items, lambda done, _: bar.update(done - bar.n))
        bar.update((bar.total or 0) - bar.n)


def _store(out: Path, base: Any) -> FeatureStore:
    return FeatureStores(out / "features").of(base)


def _run_all(plan: Plan, data: Data, todo: Sequence[Unit], units: Sequence[Unit], out: Path, jobs: int) -> None:
    """Run what is missing in processes of one thread each. The first error ends all of them; what is done is kept."""
    from tqdm import tqdm

    total = sum(_rounds(plan, unit) for unit in units)
    with (
        tqdm(total=total, unit="round", desc="simulating", mininterval=1) as bar,
        _executor(min(jobs, len(todo))) as pool,
    ):
        waiting = {pool.submit(_unit, plan, data, unit, out) for unit in todo}
        while waiting:
            done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            bar.update(sum(len(read_rows(path_of(out, *unit))) for unit in units) - bar.n)
            _raise_first(done, waiting)


def _executor(jobs: int) -> Executor:
    """Processes side by side; a single run at a time needs none."""
    if jobs == 1:
        return ThreadPoolExecutor(1, initializer=_one_thread)
    return ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread)


def _raise_first(done: set[Future[None]], waiting: set[Future[None]]) -> None:
    for future in done:
        if error := future.exception():
            for other in waiting:
                other.cancel()
            raise error


def _one_thread() -> None:
    """For this process: small matrices only, with which more threads wait for each other longer than they compute."""
    threadpool_limits(1)  # type: ignore[no-untyped-call]


def _unit(plan: Plan, data: Data, unit: Unit, out: Path) -> None:
    execute(plan, data, lambda base: _store(out, base), *unit, out)


def jobs_here() -> int:
    """How many runs go side by side: one for each core."""
    from backend.models.device import cores

    return cores()
