"""The commands `run`, `compare` and `sweep`: experiments."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads it
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from trimtab.cli.consoles import for_output
from trimtab.cli.inputs import read_wholes
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
from trimtab_sim.cli.terminal import DONE, FAILED, INTERRUPTED, progress, show, warn
from trimtab_sim.errors import ScenarioError
from trimtab_sim.executors import Interrupted
from trimtab_sim.metrics import metric as find_metric
from trimtab_sim.simulation import quiet, simulate
from trimtab_sim.streams import child_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab_sim.result import Result
    from trimtab_sim.sweeps import Sweep

__all__ = ["compare", "run", "sweep"]

Set = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]
T = TypeVar("T")
Replication = Annotated[tuple[int, ...], Parameter(negative=(), converter=read_wholes)]


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

    The exit code is 0 if they hold for the first strategy, in every replication, and 1 if not; the
    other strategies are for comparison. `holds` in the JSON says the same.

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
    _check_outputs(report, trace)

    def do() -> Result:
        return _experiment(
            scenario,
            common,
            overrides=settings(list(set_)),
            replications=list(replication) or None,
            precision=precision,
        )

    def tell(result: Result) -> int:
        if trace is not None:
            _trace(result, trace)
        return _show(result, report=report, as_json=json)

    return _told(do, tell)


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
        # The first one's expectations decide, so the scenario's own stays the first.
        chosen += sorted(set(STRATEGIES) - set(chosen))
    _check_outputs(report)

    def do() -> Result:
        return _experiment(
            scenario,
            common,
            overrides=settings(list(set_)),
            precision=precision,
            strategies=chosen,
        )

    return _told(do, lambda result: _show(result, report=report, as_json=json))


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
    find_metric(metric)

    def do() -> Sweep:
        with progress("runs") as report_progress:
            return experiment.sweep(
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

    return _told(do, lambda found: _show_sweep(found, metric, as_json=json))


def _show_sweep(found: Sweep, metric: str, *, as_json: bool) -> int:
    if as_json:
        print(found.to_json())
    else:
        show(for_output(), found.table())
        print(found.best(metric))
        for result in found.results:
            _print_failures(result)
        if any(result.judgements() for result in found.results):
            print(f"verdict: {'holds' if found.holds else 'fails'} at all points")
    return DONE if found.holds else FAILED


def _told(do: Callable[[], T], tell: Callable[[T], int]) -> int:
    """Do the work and show its outcome; return the exit code.

    After Ctrl-C, what was done is shown in the same way.
    """
    try:
        return tell(do())
    except Interrupted as stopped:
        if stopped.done is None:
            warn("interrupted, before anything was finished")
        else:
            warn("interrupted; what follows is of the work that was finished")
            tell(stopped.done)
        return INTERRUPTED


def _check_outputs(*paths: Path | None) -> None:
    """Refuse a file or folder that cannot be written, before the work rather than after it."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


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
    if report is not None:
        _report(result, report)
    if as_json:
        print(result.to_json())
    else:
        show(for_output(), result.table())
        if len(result.strategies) > 1:
            show(for_output(), result.differences_table())
        if result.judgements():
            show(for_output(), result.judgements_table())
        _print_failures(result)
        if result.judgements():
            print(f"verdict: {'holds' if result.holds else 'fails'} for {result.strategies[0]}")
    return DONE if result.holds else FAILED


def _report(result: Result, folder: Path) -> None:
    from trimtab_sim import report  # noqa: PLC0415 - templates and pictures are slow to load

    print(f"report: {report.write(result, folder)}", file=sys.stderr)


def _print_failures(result: Result) -> None:
    """Print what fails for the first strategy, which decides, and for those to compare it with."""
    for one in result.judgements():
        if one.holds:
            continue
        decides = one.strategy == result.strategies[0]
        start = "FAILS" if decides else "for comparison, fails"
        print(f"{start}: {one.strategy}: {one.clause} {one.wanted}; worst {one.worst}")
        for detail in one.details:
            print(f"  {detail}")
        print(f"  replay: {one.replay}")
