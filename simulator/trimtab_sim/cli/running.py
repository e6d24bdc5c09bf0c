"""The commands `run`, `compare` and `sweep`: experiments."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads it
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from trimtab.cli.consoles import for_output
from trimtab.strategies import STRATEGIES
from trimtab_sim import experiment
from trimtab_sim.cli.options import (
    DEFAULT,
    Common,
    Json,
    ScenarioName,
    Share,
    find,
    settings,
    several,
)
from trimtab_sim.cli.terminal import DONE, FAILED, progress
from trimtab_sim.errors import ScenarioError
from trimtab_sim.simulation import quiet, simulate
from trimtab_sim.streams import child_seed

if TYPE_CHECKING:
    from trimtab_sim.expectations import Judgement
    from trimtab_sim.result import Result
    from trimtab_sim.tables import Table

__all__ = ["compare", "run", "sweep"]

Set = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]
Replication = Annotated[tuple[int, ...], Parameter(negative=())]


def run(
    scenario: ScenarioName,
    /,
    *,
    common: Common = DEFAULT,
    set_: Set = (),
    replication: Replication = (),
    precision: Share = None,
    report: Path | None = None,
    trace: Path | None = None,
    json: Json = False,
) -> int:
    """Run a scenario, and check its expectations.

    Args:
        scenario: A scenario file, or the name of a ready one (see `list`).
        common: Shared options.
        set_: A setting to change, as path=value; repeatable.
        replication: Only the replication with this number; repeatable.
        precision: Add replications until the half width of the mean's interval is this share.
        report: Write a report into this folder.
        trace: Write one JSON line per request of the first run to this file.
        json: Print JSON instead of tables.
    """
    result = _experiment(
        scenario,
        common,
        overrides=settings(list(set_)),
        replications=list(replication) or None,
        precision=precision,
    )
    if trace is not None:
        _trace(result, trace)
    return _show(result, report=report, as_json=json)


def compare(
    scenario: ScenarioName,
    /,
    *,
    common: Common = DEFAULT,
    set_: Set = (),
    precision: Share = None,
    report: Path | None = None,
    json: Json = False,
) -> int:
    """Compare strategies on the same random draws, with paired differences.

    Args:
        scenario: A scenario file, or the name of a ready one (see `list`).
        common: Shared options. Without --strategy, the strategies of the scenario; all of the
            SDK's when it names fewer than two.
        set_: A setting to change, as path=value; repeatable.
        precision: Add replications until the half width of the mean's interval is this share.
        report: Write a report into this folder.
        json: Print JSON instead of tables.
    """
    chosen = common.strategy or list(find(scenario).strategies)
    if len(chosen) < 2:  # noqa: PLR2004 - a comparison takes two
        if common.strategy:
            raise ScenarioError("a comparison needs --strategy twice or more, or not at all")
        chosen = sorted(STRATEGIES)
    result = _experiment(
        scenario,
        common,
        overrides=settings(list(set_)),
        precision=precision,
        strategies=chosen,
    )
    return _show(result, report=report, as_json=json)


def sweep(
    scenario: ScenarioName,
    /,
    *,
    common: Common = DEFAULT,
    set_: Set = (),
    metric: str = "p99",
    json: Json = False,
) -> int:
    """Run a scenario at every point of a grid of settings.

    Args:
        scenario: A scenario file, or the name of a ready one (see `list`).
        common: Shared options.
        set_: A path and its values, as path=value,value,...; several make a grid.
        metric: The figure by which the best point is chosen.
        json: Print JSON instead of a table.
    """
    if not set_:
        raise ScenarioError("a sweep needs --set, like --set discovery.poll_interval_s=1,5,30")
    with progress("runs") as report_progress:
        found = experiment.sweep(
            find(scenario),
            several(list(set_)),
            reps=common.reps,
            seed=common.seed,
            jobs=common.jobs,
            dask=common.dask,
            depth=common.depth,
            strategies=_strategies(common),
            source=scenario,
            progress=report_progress,
        )
    best = found.best(metric)
    if json:
        print(found.to_json())
        return DONE if found.holds else FAILED
    _print(found.table())
    print(best)
    for result in found.results:
        _print_failures(result.judgements())
    return DONE if found.holds else FAILED


def _experiment(scenario: str, common: Common, **more: Any) -> Result:
    strategies = more.pop("strategies", None) or _strategies(common)
    with progress("runs") as report_progress:
        return experiment.run(
            find(scenario),
            reps=common.reps,
            seed=common.seed,
            jobs=common.jobs,
            dask=common.dask,
            depth=common.depth,
            strategies=strategies,
            source=scenario,
            progress=report_progress,
            **more,
        )


def _strategies(common: Common) -> list[str] | None:
    return list(common.strategy) or None


def _trace(result: Result, path: Path) -> None:
    """Repeat the first run, and write its requests to a file."""
    with path.open("w", encoding="utf-8") as file, quiet():
        run = simulate(
            result.scenario,
            strategy=result.strategies[0],
            seed=child_seed(result.seed, result.replications[0]),
            depth=result.depth,  # type: ignore[arg-type] # one of the three
            trace=file,
        )
        # Taking the digest writes the last requests.
        run.recorder.digest()


def _show(result: Result, *, report: Path | None, as_json: bool) -> int:
    judgements = result.judgements()
    if report is not None:
        _report(result, report)
    if as_json:
        print(result.to_json())
    else:
        _print(result.table())
        if len(result.strategies) > 1:
            _print(result.differences_table())
        if judgements:
            _print(result.judgements_table())
        _print_failures(judgements)
    return DONE if all(one.holds for one in judgements) else FAILED


def _report(result: Result, folder: Path) -> None:
    from trimtab_sim import report  # noqa: PLC0415 - templates and pictures are slow to load

    print(f"report: {report.write(result, folder)}", file=sys.stderr)


def _print(table: Table) -> None:
    console = for_output()
    table = table.fitted(console.width)
    if table.width <= console.width:
        console.print(table.rich())
        for note in table.notes:
            console.print(note, markup=False)
    else:
        # Too wide: wrapped lines are ugly, but cut columns would be lost.
        console.print(str(table), markup=False, soft_wrap=True)
    console.print()


def _print_failures(judgements: list[Judgement]) -> None:
    for one in judgements:
        if not one.holds:
            print(f"FAILS: {one.strategy}: {one.clause} {one.wanted}; worst {one.worst}")
            for detail in one.details:
                print(f"  {detail}")
            print(f"  replay: {one.replay}")
