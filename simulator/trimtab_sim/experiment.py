"""Experiments: replications, comparisons on the same random draws, grids of settings.

Replication k of root seed s has the seed `child_seed(s, k)`, for every strategy and every point of
a grid: two columns then differ by the strategy, not by the random draws. It makes no difference
which process does a run, or together with which others.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

from trimtab.strategies import resolve
from trimtab_sim.errors import ScenarioError
from trimtab_sim.executors import Interrupted, Task, perform
from trimtab_sim.metrics import metric
from trimtab_sim.result import Result
from trimtab_sim.scenario import Scenario
from trimtab_sim.statistics import replications_for
from trimtab_sim.streams import child_seed
from trimtab_sim.sweeps import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from trimtab_sim.figures import Figures
    from trimtab_sim.simulation import Depth

    Progress: TypeAlias = "Callable[[int, int], None]"

__all__ = ["compare", "run", "sweep"]

_PILOT = 5
_MOST_REPLICATIONS = 200
_FEWEST_TO_COMPARE = 2
_ESTIMATES = 2


def run(
    scenario: Scenario | str | Path,
    *,
    reps: int = 5,
    seed: int = 1,
    jobs: int = 1,
    dask: str | None = None,
    depth: Depth = "core",
    strategies: Sequence[Any] | None = None,
    precision: float | None = None,
    precision_of: str = "mean",
    replications: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    source: str = "",
    progress: Progress | None = None,
) -> Result:
    """Run replications of a scenario, under each strategy.

    Args:
        scenario: a scenario, or the path of its file.
        reps: how many replications; with `precision`, how many the pilot has (at least 5).
        seed: the root seed.
        jobs: processes; 1 works in this one, 0 takes one per core.
        dask: the address of a Dask scheduler, instead of `jobs`.
        depth: "core", "client" or "wire".
        strategies: names, or factories; by default those of the scenario.
        precision: the wanted half width of the interval as a share of the mean, 0.02 for 2 %;
            replications are added until all strategies reach it, 200 at most.
        precision_of: the figure that it applies to, a name in METRICS.
        replications: their numbers, instead of `reps`: to repeat a few of them.
        overrides: settings that differ from the scenario, by path.
        source: the scenario's name in replay commands; its path by default.
        progress: called with (runs done, runs in all).

    Raises:
        ScenarioError: the scenario, or an argument, is wrong.
        SimulationError: the totals of a run are wrong.
        Interrupted: by Ctrl-C; `done` is the result of the finished replications, if any.
    """
    _check(reps, precision)
    metric(precision_of)
    scenario, source = _read(scenario, source)
    plan = _Plan(
        scenario,
        source=source,
        overrides=dict(overrides or {}),
        seed=seed,
        depth=depth,
        strategies=strategies,
    )
    numbers = list(replications) if replications is not None else list(range(reps))

    def do(numbers: list[int], before: Result | None = None) -> Result:
        try:
            found = perform(plan.tasks(numbers), jobs=jobs, dask=dask, progress=progress)
        except Interrupted as stopped:
            raise Interrupted(plan.finished(numbers, stopped.done, before)) from None
        return plan.result(numbers, found, before)

    if precision is None or replications is not None:
        return do(numbers)
    result = do(list(range(max(reps, _PILOT))))
    # The pilot's variance is itself uncertain, so estimate a second time.
    for _ in range(_ESTIMATES):
        wanted = _wanted(result, precision, precision_of)
        more = list(range(len(result.replications), wanted))
        if not more:
            break
        result = do(more, result)
    return result


def compare(
    scenario: Scenario | str | Path, *, strategies: Sequence[Any], **arguments: Any
) -> Result:
    """Run a scenario under several strategies on the same random draws; arguments as for `run`.

    Raises:
        ScenarioError: fewer than two strategies, or as for `run`.
    """
    if len(strategies) < _FEWEST_TO_COMPARE:
        raise ScenarioError("a comparison needs two strategies or more")
    return run(scenario, strategies=strategies, **arguments)


def sweep(
    scenario: Scenario | str | Path,
    grid: Mapping[str, Sequence[Any]],
    *,
    reps: int = 5,
    seed: int = 1,
    jobs: int = 1,
    dask: str | None = None,
    depth: Depth = "core",
    strategies: Sequence[Any] | None = None,
    source: str = "",
    progress: Progress | None = None,
) -> Sweep:
    """Run a scenario at every point of a grid of settings, on the same random draws.

    Args:
        scenario: a scenario, or the path of its file.
        grid: values by path, such as `{"discovery.poll_interval_s": [1, 5, 30]}`.
        reps: replications at each point.
        seed: the root seed.
        jobs: processes; 1 works in this one, 0 takes one per core.
        dask: the address of a Dask scheduler, instead of `jobs`.
        depth: "core", "client" or "wire".
        strategies: names, or factories; by default those of the scenario.
        source: the scenario's name in replay commands; its path by default.
        progress: called with (runs done, runs in all).

    Raises:
        ScenarioError: a path does not exist, a value is wrong, or as for `run`.
        Interrupted: by Ctrl-C; `done` has the finished points, if any.
    """
    _check(reps, None)
    if not grid or not all(grid.values()):
        raise ScenarioError("a sweep needs at least one path with at least one value")
    scenario, source = _read(scenario, source)
    plans = [
        _Plan(
            scenario,
            source=source,
            overrides=dict(zip(grid, point, strict=True)),
            seed=seed,
            depth=depth,
            strategies=strategies,
        )
        for point in product(*grid.values())
    ]
    numbers = list(range(reps))
    tasks = [task for plan in plans for task in plan.tasks(numbers)]
    size = len(tasks) // len(plans)
    try:
        found = perform(tasks, jobs=jobs, dask=dask, progress=progress)
    except Interrupted as stopped:
        raise Interrupted(
            _finished_points(plans, numbers, size, list(grid), stopped.done)
        ) from None
    results = [
        plan.result(numbers, found[place * size : (place + 1) * size])
        for place, plan in enumerate(plans)
    ]
    return Sweep(paths=list(grid), results=results)


def _finished_points(
    plans: Sequence[_Plan],
    numbers: list[int],
    size: int,
    paths: list[str],
    found: Mapping[int, Figures],
) -> Sweep | None:
    """Combine the points of a sweep that are finished; None if there are none."""
    results = [
        plan.result(numbers, [found[start + k] for k in range(size)])
        for start, plan in zip(range(0, size * len(plans), size), plans, strict=True)
        if all(start + k in found for k in range(size))
    ]
    return Sweep(paths=paths, results=results) if results else None


class _Plan:
    """One scenario under its strategies: its tasks, and the result made of their figures."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        source: str,
        overrides: dict[str, Any],
        seed: int,
        depth: Depth,
        strategies: Sequence[Any] | None,
    ) -> None:
        for path, value in overrides.items():
            scenario = scenario.replace(path, value)
        self.scenario = scenario
        self._source = source
        self._overrides = overrides
        self._seed = seed
        self._depth: Depth = depth
        self._strategies = list(strategies or scenario.strategies)
        for one in self._strategies:
            resolve(one)
        names = [_name(one) for one in self._strategies]
        if len(set(names)) < len(names):
            raise ScenarioError(f"a strategy is listed twice: {', '.join(names)}")
        self._names = names

    def tasks(self, numbers: Sequence[int]) -> list[Task]:
        """Return the runs: the first replication under all strategies, then the next one.

        So what is finished when the work is interrupted are whole replications.
        """
        return [
            Task(
                scenario=self.scenario,
                strategy=strategy,
                seed=child_seed(self._seed, number),
                depth=self._depth,
            )
            for number in numbers
            for strategy in self._strategies
        ]

    def result(
        self, numbers: list[int], found: Sequence[Figures], before: Result | None = None
    ) -> Result:
        """Combine figures, in the order of `tasks`, with a result of other replications."""
        count = len(self._names)
        runs = {name: list(found[place::count]) for place, name in enumerate(self._names)}
        if before is not None:
            numbers = [*before.replications, *numbers]
            runs = {name: [*before.runs[name], *own] for name, own in runs.items()}
        return Result(
            source=self._source,
            overrides=self._overrides,
            toml=self.scenario.to_toml(),
            scenario_digest=self.scenario.digest,
            depth=self._depth,
            seed=self._seed,
            replications=numbers,
            runs=runs,
        )

    def finished(
        self, numbers: list[int], found: Mapping[int, Figures], before: Result | None = None
    ) -> Result | None:
        """Combine what was done of `tasks`: the replications that all strategies have.

        Args:
            numbers: the replications.
            found: figures by the place of their task.
            before: a result of other replications.
        """
        count = len(self._names)
        places = {number: range(k * count, (k + 1) * count) for k, number in enumerate(numbers)}
        whole = [number for number in numbers if all(place in found for place in places[number])]
        if not whole:
            return before
        figures = [found[place] for number in whole for place in places[number]]
        return self.result(whole, figures, before)


def _wanted(result: Result, precision: float, name: str) -> int:
    """Return how many replications in all the precision needs, estimated from a result."""
    wanted = len(result.replications)
    for strategy in result.strategies:
        values = result.values(strategy, name)
        # A share of a zero or missing mean is undefined; more runs would not help.
        if values.mean() > 0:
            needed = replications_for(values.tolist(), relative_half_width=precision)
            wanted = max(wanted, needed)
    return min(wanted, _MOST_REPLICATIONS)


def _read(scenario: Scenario | str | Path, source: str) -> tuple[Scenario, str]:
    if isinstance(scenario, Scenario):
        return scenario, source
    return Scenario.load(scenario), source or str(scenario)


def _check(reps: int, precision: float | None) -> None:
    if reps < 1:
        raise ScenarioError(f"reps is {reps}; at least one replication is needed")
    if precision is not None and not 0 < precision < 1:
        raise ScenarioError(f"precision is {precision}; write a share above 0, such as 0.02")


def _name(strategy: Any) -> str:
    return strategy if isinstance(strategy, str) else getattr(strategy, "__name__", "custom")
