"""Whether a scenario's `[expect]` holds, replication by replication.

A clause holds when it holds in *every* replication: a mean over replications would hide the one in
twenty in which a fault hit the wrong instance. Each clause that fails comes with the command that
replays it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trimtab_sim.metrics import Unit, formatted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trimtab_sim.figures import Figures
    from trimtab_sim.scenario.content import Expect

__all__ = ["Judgement", "judge"]


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One clause of `[expect]`, judged for one strategy.

    Attributes:
        clause: the key in the file.
        wanted: the limit, formatted for people.
        worst: the worst value of all replications, formatted for people.
        worst_value: the same as a number; None when there was nothing to measure.
        failed: the replications in which it does not hold.
        count: the number of replications.
        replay: the command that runs the first of `failed` again; empty when it holds.
        details: what went wrong in that one, at most five lines.
    """

    strategy: str
    clause: str
    wanted: str
    worst: str
    worst_value: float | None
    failed: list[int]
    count: int
    replay: str
    details: list[str]

    @property
    def holds(self) -> bool:
        """Whether it holds in every replication."""
        return not self.failed


_MOST_DETAILS = 5
# Per clause: its unit, and the figure. `success_ratio` is a minimum, all others are a maximum.
_CLAUSES: dict[str, tuple[Unit, Callable[[Figures], float | None]]] = {
    "views_converged_within": ("s", lambda run: run.convergence.slowest_s),
    "traffic_off_dead_within": ("s", lambda run: run.traffic_off_dead_s),
    "success_ratio": ("share", lambda run: run.success_ratio),
    "p50": ("s", lambda run: run.p50),
    "p90": ("s", lambda run: run.p90),
    "p99": ("s", lambda run: run.p99),
    "p999": ("s", lambda run: run.p999),
    "retries_per_request": ("number", lambda run: run.retries_per_request),
    "fairness": ("number", lambda run: run.fairness),
}
_AT_LEAST = "success_ratio"


def judge(
    expect: Expect,
    runs: Sequence[Figures],
    *,
    replications: Sequence[int],
    replay: Callable[[int], str],
) -> list[Judgement]:
    """Judge every clause that is given, for the runs of one strategy.

    Args:
        expect: the clauses.
        runs: one per replication.
        replications: their numbers.
        replay: returns the command that runs a replication again.
    """
    found = []
    for clause, (unit, figure) in _CLAUSES.items():
        wanted = getattr(expect, clause)
        if wanted is not None:
            values = [figure(run) for run in runs]
            failed = [not _holds(clause, value, wanted) for value in values]
            sign = ">=" if clause == _AT_LEAST else "<="
            worst = _worst(clause, values)
            found.append(
                Judgement(
                    strategy=runs[0].strategy,
                    clause=clause,
                    wanted=f"{sign} {formatted(wanted, unit)}",
                    worst=formatted(worst, unit) if worst is not None else "nothing to measure",
                    worst_value=worst,
                    count=len(runs),
                    **_failures(failed, replications, replay),
                    details=[],
                )
            )
    if expect.views_within_bound:
        found.append(_within_bound(runs, replications, replay))
    return found


def _holds(clause: str, value: float | None, wanted: float) -> bool:
    if value is None:
        return False
    return value >= wanted if clause == _AT_LEAST else value <= wanted


def _worst(clause: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return float(min(known) if clause == _AT_LEAST else max(known))


def _failures(
    failed: Sequence[bool], replications: Sequence[int], replay: Callable[[int], str]
) -> dict[str, Any]:
    numbers = [number for number, bad in zip(replications, failed, strict=True) if bad]
    return {"failed": numbers, "replay": replay(numbers[0]) if numbers else ""}


def _within_bound(
    runs: Sequence[Figures], replications: Sequence[int], replay: Callable[[int], str]
) -> Judgement:
    counts = [run.convergence.violation_count for run in runs]
    first = next((run for run in runs if run.convergence.violation_count), None)
    shown = first.convergence.violations[:_MOST_DETAILS] if first else []
    worst = max(counts)
    return Judgement(
        strategy=runs[0].strategy,
        clause="views_within_bound",
        wanted="every view within its bound",
        worst=f"{worst} too late" if worst else "all in time",
        worst_value=float(worst),
        count=len(runs),
        **_failures([bool(count) for count in counts], replications, replay),
        details=[violation.text for violation in shown],
    )
