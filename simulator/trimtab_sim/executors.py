"""Do many runs: one after the other, on a process pool, or on a Dask cluster.

The figures of a run depend on its task alone and come back in the order of the tasks. So the
executor changes how long it takes, and nothing else.

Ctrl-C ends the work at once, and `Interrupted` hands over what was done by then.
"""

from __future__ import annotations

from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from trimtab_sim.errors import ScenarioError, SimulationError
from trimtab_sim.measuring import measure
from trimtab_sim.processes import process_pool
from trimtab_sim.simulation import Depth, quiet, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trimtab_sim.figures import Figures
    from trimtab_sim.scenario import Scenario

    Progress: TypeAlias = "Callable[[int, int], None]"

__all__ = ["Interrupted", "Task", "perform"]

_WORTH_REQUESTS = 40_000
"""A chunk of this size takes a second or two; the cost of sending it is small beside that."""
_CHUNKS_PER_WORKER = 4


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of the work.

    Attributes:
        done: what was done by then. From `perform` these are figures by the place of their task;
            experiments make a result of them, or None if that is too little.
    """

    def __init__(self, done: Any) -> None:
        super().__init__()
        self.done = done


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run to do.

    Attributes:
        strategy: a name, or a factory that can be pickled.
        seed: of this run, already derived from the root seed and the replication.
    """

    scenario: Scenario
    strategy: Any
    seed: int
    depth: Depth


def perform(
    tasks: Sequence[Task],
    *,
    jobs: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
) -> list[Figures]:
    """Do all runs; return their figures in the order of the tasks.

    Args:
        tasks: the runs.
        jobs: processes of this machine; 1 works in this one, 0 takes one per core.
        dask: the address of a Dask scheduler ("tcp://127.0.0.1:8786"), instead of `jobs`.
        progress: called with (runs done, runs in all), in this thread.

    Raises:
        SimulationError: a run does not add up, or did what cannot be simulated.
        ScenarioError: `dask` cannot be reached, or is not installed.
        Interrupted: by Ctrl-C.
    """
    if progress is not None:
        progress(0, len(tasks))
    found: dict[int, Figures] = {}
    try:
        if dask is None and jobs == 1:
            _one_by_one(tasks, found, progress)
        else:
            with _executor(jobs, dask) as (executor, workers):
                _spread(tasks, executor, workers, found, progress)
    except KeyboardInterrupt:
        raise Interrupted(found) from None
    return [found[place] for place in range(len(tasks))]


def work(tasks: Sequence[Task]) -> list[Figures]:
    """Do a chunk of runs: the function that executors call."""
    with quiet():
        return [
            measure(
                simulate(task.scenario, strategy=task.strategy, seed=task.seed, depth=task.depth)
            )
            for task in tasks
        ]


def _one_by_one(
    tasks: Sequence[Task], found: dict[int, Figures], progress: Progress | None
) -> None:
    for place, task in enumerate(tasks):
        (found[place],) = work([task])
        if progress is not None:
            progress(len(found), len(tasks))


def _spread(
    tasks: Sequence[Task],
    executor: Executor,
    workers: int,
    found: dict[int, Figures],
    progress: Progress | None,
) -> None:
    futures = {
        executor.submit(work, tasks[start:end]): start for start, end in _chunks(tasks, workers)
    }
    for future in as_completed(futures):
        found.update(enumerate(future.result(), start=futures[future]))
        if progress is not None:
            progress(len(found), len(tasks))


def _chunks(tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, int]]:
    """Cut the tasks into chunks that are worth sending, enough for every worker."""
    most = max(1, len(tasks) // (workers * _CHUNKS_PER_WORKER))
    start, weight = 0, 0.0
    for place, task in enumerate(tasks):
        weight += _requests(task.scenario)
        if weight >= _WORTH_REQUESTS or place + 1 - start >= most:
            yield start, place + 1
            start, weight = place + 1, 0.0
    if start < len(tasks):
        yield start, len(tasks)


def _requests(scenario: Scenario) -> float:
    """Estimate the number of requests of a run."""
    rates = [(group.count, group.arrivals.mean_rate) for group in scenario.clients]
    if any(rate is None for _, rate in rates):
        return float(_WORTH_REQUESTS)
    return scenario.about.duration * sum(count * (rate or 0.0) for count, rate in rates)


@contextmanager
def _executor(jobs: int, dask: str | None) -> Iterator[tuple[Executor, int]]:
    if dask is not None:
        with _dask(dask) as found:
            yield found
        return
    with process_pool(jobs) as (pool, workers):
        yield pool, workers


@contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        client_type = import_module("distributed").Client  # an extra of its own, without types
    except ImportError:
        raise ScenarioError(
            "a Dask cluster needs the package distributed; run: pip install 'trimtab[dask]'"
        ) from None
    try:
        client = client_type(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ScenarioError(
            f"no Dask scheduler answers at {address!r}: {error}; start one with `dask scheduler`"
        ) from None
    with client:
        workers = sum(client.nthreads().values())
        if not workers:
            raise SimulationError(f"the Dask scheduler at {address} has no workers")
        with client.get_executor(pure=False, retries=0) as executor:
            yield executor, workers
