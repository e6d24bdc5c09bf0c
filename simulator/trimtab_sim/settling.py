"""How long changes took to reach the clients: what `convergence` saw, as plain figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab_sim.convergence import Change, Violation
    from trimtab_sim.simulation import Run

__all__ = ["ChangeFigures", "Settling", "ViolationFigures", "settle"]

_MOST = 1000


class ChangeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the truth.

    Attributes:
        kind: "add", "remove" or "death".
        bound_s: within which every client must agree.
        last_s: until the last client agreed; None when some never did.
        waited_s: how long those who never did had, until the next change of the same instance or
            the end; 0 when all agreed.
    """

    at: float
    instance: str
    kind: str
    bound_s: float
    last_s: float | None
    waited_s: float


class ViolationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A client that did not agree within the bound; `took_s` is None if it never did."""

    client: int
    change: int
    instance: str
    kind: str
    at: float
    bound_s: float
    took_s: float | None
    text: str


class Settling(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of a run, and how long clients took to follow them.

    Lists are cut to a thousand: `times` to quantiles at even distances, both ends included,
    `changes` and `violations` to the first.

    Attributes:
        count: pairs of a change and a client that agreed in the end.
        mean_s, max_s: of all those pairs; None when there are none.
        times: seconds, rising.
        last_times: per change that all agreed on, the last client's; rising.
        slowest_s: the longest that any client took or, where one never agreed, had.
        violation_count: all violations, listed or not.
    """

    count: int
    mean_s: float | None
    max_s: float | None
    times: list[float]
    last_times: list[float]
    slowest_s: float
    changes: list[ChangeFigures]
    violations: list[ViolationFigures]
    violation_count: int


def settle(run: Run) -> Settling:
    """Take what a run's convergence saw."""
    # Moments may be the scenario's own durations, which are floats of a kind.
    convergence, end = run.convergence, float(run.scenario.about.duration)
    times = sorted(map(float, convergence.times()))
    violations = convergence.violations(end)
    changes = [_change(change, end) for change in convergence.changes if change.counts]
    slowest = [change.waited_s if change.last_s is None else change.last_s for change in changes]
    return Settling(
        count=len(times),
        mean_s=sum(times) / len(times) if times else None,
        max_s=times[-1] if times else None,
        times=_thinned(times),
        last_times=_thinned(sorted(map(float, convergence.last_times()))),
        slowest_s=max(slowest, default=0.0),
        changes=changes[:_MOST],
        violations=[_violation(violation) for violation in violations[:_MOST]],
        violation_count=len(violations),
    )


def _change(change: Change, end: float) -> ChangeFigures:
    settled = [moment for moment in change.settled.values() if moment is not None]
    everyone = len(settled) == len(change.settled)
    until = end if change.superseded_at is None else min(end, change.superseded_at)
    return ChangeFigures(
        at=float(change.at),
        instance=change.instance,
        kind=change.kind,
        bound_s=float(change.bound_s),
        last_s=float(max(settled, default=change.at) - change.at) if everyone else None,
        waited_s=0.0 if everyone else max(0.0, until - change.at),
    )


def _violation(violation: Violation) -> ViolationFigures:
    return ViolationFigures(
        client=violation.client,
        change=violation.change,
        instance=violation.instance,
        kind=violation.kind,
        at=float(violation.at),
        bound_s=float(violation.bound_s),
        took_s=None if violation.took_s is None else float(violation.took_s),
        text=str(violation),
    )


def _thinned(rising: Sequence[float]) -> list[float]:
    """Return at most a thousand of them, evenly from the first to the last."""
    if len(rising) <= _MOST:
        return list(rising)
    last = len(rising) - 1
    return [rising[round(place * last / (_MOST - 1))] for place in range(_MOST)]
