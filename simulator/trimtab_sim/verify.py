"""Check the simulator against theory: the oracle table, as equivalence tests.

An oracle holds when the whole 95 % interval over replications lies within the stated tolerance of
theory (`EQUIVALENT`). That theory lies somewhere in a wide interval shows nothing. So a row that is
`UNDECIDED` gets more replications, twice, and fails if it still is undecided. Bounds (a longest
time, a least success) must hold in every replication.

Source: the formulas are those of `trimtab_sim.oracles`; `black_hole` and `short_outage` are
palantir/dialogue's simulations, with the figures that it publishes.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trimtab_sim.errors import ScenarioError
from trimtab_sim.executors import Interrupted
from trimtab_sim.oracle_runs import Trial
from trimtab_sim.oracle_table import TABLE, Experiment, Oracle
from trimtab_sim.processes import process_pool
from trimtab_sim.statistics import Verdict, equivalence, student_interval
from trimtab_sim.streams import child_seed
from trimtab_sim.tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from trimtab_sim.statistics import Interval

    Values: TypeAlias = "Sequence[Mapping[str, float]]"

__all__ = ["Row", "verify", "verify_table"]

_QUICK = 0.25
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One oracle, and what was measured.

    Attributes:
        oracle: the value of theory.
        interval: the measured one; for a bound, the worst replication instead of a mean.
        tolerance: as a share of the expected value.
        holds: whether the two agree.
    """

    oracle: Oracle
    interval: Interval
    tolerance: float
    holds: bool
    verdict: Literal["equivalent", "different", "undecided", "within", "beyond"]


def verify(
    *,
    quick: bool = False,
    seed: int = 1,
    jobs: int = 1,
    strategies: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Row]:
    """Run every experiment of the table and judge its oracles.

    Args:
        quick: a quarter of the requests, and twice the tolerance of equivalences.
        seed: the root seed.
        jobs: processes; 1 works in this one.
        strategies: factories by name, used instead of the SDK's: to test that a broken one
            fails.
        only: the names of experiments; all by default.
        progress: called with (experiments done, in all, the name of the next).

    Raises:
        ScenarioError: `only` names an unknown experiment.
        Interrupted: by Ctrl-C; `done` has the rows of the finished experiments.
    """
    chosen = [one for one in TABLE if only is None or one.name in only]
    if unknown := sorted(set(only or ()) - {one.name for one in TABLE}):
        names = ", ".join(one.name for one in TABLE)
        raise ScenarioError(f"unknown experiment {unknown[0]!r}; known are {names}")
    judge = partial(_judge, quick=quick, seed=seed, strategies=dict(strategies or {}))
    rows: list[Row] = []
    try:
        with process_pool(jobs) if jobs != 1 else nullcontext((None, 1)) as (executor, _):
            for done, experiment in enumerate(chosen):
                if progress is not None:
                    progress(done, len(chosen), experiment.name)
                rows += judge(experiment, executor)
    except KeyboardInterrupt:
        raise Interrupted(rows) from None
    if progress is not None:
        progress(len(chosen), len(chosen), "")
    return rows


def verify_table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table: theory, measured value, interval, tolerance, verdict."""
    signs = {"equal": "", "at most": "<= ", "at least": ">= "}
    return Table(
        "Theory, and what was measured",
        ("oracle", "theory", "measured", "95 % interval", "tolerance", "verdict"),
        [
            (
                row.oracle.label,
                f"{signs[row.oracle.kind]}{row.oracle.expected:.5g}",
                f"{row.interval.estimate:.5g}",
                f"{row.interval.low:.5g} .. {row.interval.high:.5g}"
                if row.oracle.kind == "equal"
                else f"worst of {row.interval.count}",
                f"{row.tolerance:.2%}" if row.oracle.kind == "equal" else "-",
                f"{row.verdict}{'' if row.holds else '  <-- FAILS'}",
            )
            for row in rows
        ],
    )


def _judge(
    experiment: Experiment,
    executor: Executor | None,
    *,
    quick: bool,
    seed: int,
    strategies: dict[str, Any],
) -> list[Row]:
    found: list[Mapping[str, float]] = []
    rows: list[Row] = []
    for _ in range(_ROUNDS):
        start = len(found)
        trials = [
            Trial(
                seed=child_seed(seed, start + number, experiment.name),
                size=_QUICK if quick else 1.0,
                strategies=strategies,
            )
            for number in range(experiment.reps)
        ]
        if executor is None:
            found += map(experiment.measure, trials)
        else:
            found += executor.map(experiment.measure, trials)
        rows = [_row(oracle, found, quick=quick) for oracle in experiment.oracles]
        if not any(row.verdict == "undecided" for row in rows):
            break
    return rows


def _row(oracle: Oracle, found: Values, *, quick: bool) -> Row:
    values = [one[oracle.figure] for one in found]
    tolerance = oracle.tolerance * (2 if quick else 1)
    interval = student_interval(values)
    if oracle.kind == "equal":
        verdict = equivalence(interval, oracle.expected, relative=tolerance)
        return Row(
            oracle=oracle,
            interval=interval,
            tolerance=tolerance,
            holds=verdict is Verdict.EQUIVALENT,
            verdict=verdict.value,
        )
    worst = max(values) if oracle.kind == "at most" else min(values)
    holds = worst <= oracle.expected if oracle.kind == "at most" else worst >= oracle.expected
    shown = student_interval([worst] * len(values)) if len(values) > 1 else interval
    return Row(
        oracle=oracle,
        interval=shown,
        tolerance=0.0,
        holds=holds,
        verdict="within" if holds else "beyond",
    )
