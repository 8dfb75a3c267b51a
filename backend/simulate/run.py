"""``ls-active simulate``: all runs of a plan, several side by side, and what they came to."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from backend.alone import alone
from backend.errors import UserError
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
        _check_rounds(plan, runs, out)
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


def _check_rounds(plan: Plan, runs: Sequence[Unit], out: Path) -> None:
    """Raises UserError where the rounds of runs on file are not the first of the plan, which made figures wrong."""
    wrong = []
    for path in (path_of(out, *unit) for unit in runs):
        labels = [row["labels"] for row in read_rows(path)]
        if labels != list(plan.rounds[: len(labels)]):
            wrong.append(str(path))
    if wrong:
        raise UserError(
            f"The rounds in {', '.join(wrong)} are not the first of the plan: several processes wrote them at once.",
            "Delete what is named here, and the same command makes these runs anew.",
        )


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
    """Run what is missing, on one thread each. The first error, or Ctrl-C, ends all of them; what is done is kept."""
    total = sum(_rounds(plan, unit) for unit in units)
    with _bar(total, lambda: sum(len(read_rows(path_of(out, *unit))) for unit in units)):
        if min(jobs, len(todo)) > 1:
            _side_by_side(plan, data, todo, out, min(jobs, len(todo)))
        else:
            _one_thread()
            for unit in todo:
                _unit(plan, data, unit, out)


@contextmanager
def _bar(total: int, rounds: Callable[[], int]) -> Iterator[None]:
    """Shows how many of the rounds are on file, as long as the block lasts."""
    from tqdm import tqdm

    ended = threading.Event()
    with tqdm(total=total, unit="round", desc="simulating", mininterval=1) as bar:

        def follow() -> None:
            while not ended.wait(POLL_S):
                bar.update(rounds() - bar.n)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()
            bar.update(rounds() - bar.n)


def _side_by_side(plan: Plan, data: Data, todo: Sequence[Unit], out: Path, jobs: int) -> None:
    """Run in so many processes. None of them is left when this ends, however it does: rounds are written whole."""
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _begin)
    try:
        for future in as_completed(_submitted(pool, plan, data, todo, out)):
            future.result()
    except BaseException as error:
        for process in active_children():
            process.kill()
        if isinstance(error, BrokenProcessPool):
            said = "The system ended one of the runs, for lack of memory perhaps."
            raise UserError(said, "Go on from there with fewer --jobs.") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(
    pool: ProcessPoolExecutor, plan: Plan, data: Data, todo: Sequence[Unit], out: Path
) -> list[Future[None]]:
    """The runs, in processes that are deaf to Ctrl-C from their start: it is for this one, which ends them."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return [pool.submit(_unit, plan, data, unit, out) for unit in todo]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _begin() -> None:
    """For each process: it ends with the one that started it, however that did, whose files are then another's."""
    _one_thread()
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _one_thread() -> None:
    """For this process: more threads than cores wait for each other longer than they compute."""
    threadpool_limits(1)  # type: ignore[no-untyped-call]


def _unit(plan: Plan, data: Data, unit: Unit, out: Path) -> None:
    execute(plan.on_one_thread(), data, lambda base: _store(out, base), *unit, out)


def jobs_here() -> int:
    """How many runs go side by side: one for each core."""
    from backend.models.device import cores

    return cores()
