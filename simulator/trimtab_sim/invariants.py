"""Invariants of every run, whatever its faults: the rules that fuzzing tries to break.

1. Totals are right: attempts are conserved, all in flight comes back to 0, Little's law holds.
2. No request makes more attempts than the policy allows.
3. Views follow every change within its bound, and all are right within the bound after healing.
4. No attempt is sent to an instance that has been dead for longer than the bound.

After the healing and the bound, with a registered server and without overload:

5. No request fails.
6. Every server gets requests, in a period without faults that is long enough for every strategy to
   try it again, for ejections to end, and for slow starts to be over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.calls import RetryPolicy
from trimtab.health import EnvoyOutliers, GrpcOutliers, HealthSettings
from trimtab_sim.bounds import Bounds
from trimtab_sim.errors import SimulationError
from trimtab_sim.measuring import measure
from trimtab_sim.recorder import BINS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimtab_sim.scenario import Scenario
    from trimtab_sim.simulation import Run

__all__ = ["complaints", "longest_exclusion_s"]

_LONGEST_PAUSE_S = 90.0
"""The time after the last failure within which every strategy tries an instance again."""
_JUDGED_S = 30.0
_PLENTY = 30
"""With this many requests per server in the period, a server gets some by any strategy."""
_ROUNDING = 1e-6


def complaints(run: Run) -> list[str]:
    """Return the broken invariants of a run, a sentence each."""
    return [
        *_wrong_totals(run),
        *_too_many_attempts(run),
        *_wrong_views(run),
        *_late_attempts(run),
        *_not_recovered(run),
    ]


def longest_exclusion_s(scenario: Scenario) -> float:
    """Return the longest time after the last failure without requests to an instance."""
    settings = scenario.balancer_arguments
    health, probe = settings.get("health") or HealthSettings(), settings.get("probe")
    longest_s = _LONGEST_PAUSE_S
    if isinstance(health.outliers, EnvoyOutliers | GrpcOutliers):
        longest_s += health.outliers.max_ejection_s + 2 * health.outliers.interval_s
    if health.slow_start is not None:
        longest_s += health.slow_start.window_s
    if probe is not None:
        each_s = probe.check.interval_s * (1 + probe.jitter_ratio) + probe.check.timeout_s
        longest_s += (probe.check.rise + 1) * each_s
    return longest_s


def recovered_from(run: Run) -> float:
    """Return the moment from which no request may fail: the last change plus the bound."""
    heal = run.scenario.about.heal or 0.0
    changes = [change.at for change in run.convergence.changes]
    ends = [runner.server.ended_at for runner in run.world.runners if not runner.server.is_alive]
    return max(heal, *changes, *ends, 0.0) + Bounds(run.scenario).after_recovery_s()


def _wrong_totals(run: Run) -> Iterator[str]:
    try:
        measure(run)
    except SimulationError as error:
        yield str(error)


def _too_many_attempts(run: Run) -> Iterator[str]:
    policy = run.scenario.balancer_arguments.get("retry") or RetryPolicy()
    most = 1 if policy.max_attempts == 1 else max(policy.max_attempts, policy.max_refused)
    if run.recorder.most_attempts > most:
        yield f"a request made {run.recorder.most_attempts} attempts; the policy allows {most}"


def _wrong_views(run: Run) -> Iterator[str]:
    end, heal = float(run.scenario.about.duration), run.scenario.about.heal
    yield from map(str, run.convergence.violations(end))
    if heal is None:
        return
    after_s = Bounds(run.scenario).after_recovery_s()
    ready_s = run.scenario.discovery_settings.startup_timeout_s + after_s
    for one in run.world.clients:
        is_due = max(heal, one.group.start) + ready_s < end
        if is_due and one.place.index not in run.convergence.clients:
            yield f"client {one.place.index} never got a list"
    for change in run.convergence.changes:
        due = max(change.at, heal) + after_s
        if change.superseded_at is None and due < end:
            for client, agreed in change.agreed_at.items():
                if agreed is None or agreed > due:
                    yield (
                        f"client {client} does not agree on the {change.kind} of "
                        f"{change.instance} at {change.at:.3f} s by {due:.3f} s"
                    )


def _late_attempts(run: Run) -> Iterator[str]:
    bounds = Bounds(run.scenario)
    for runner in run.world.runners:
        server = runner.server
        ends = [*server.past_ends]
        if not server.is_alive:
            ends.append((server.ended_at, server.last_sent_at))
        for ended, last in ends:
            if last is not None and last - ended > bounds("death", ended) + _ROUNDING:
                yield (
                    f"{server.instance.id} was called at {last:.3f} s, {last - ended:.3f} s after "
                    f"its end; the bound is {bounds('death', ended):.3f} s"
                )


def _not_recovered(run: Run) -> Iterator[str]:
    scenario, calm = run.scenario, recovered_from(run)
    load = scenario.offered_load
    there = [runner.server for runner in run.world.runners if runner.is_available]
    serving = [server for server in there if server.instance.weight and not server.is_dark]
    is_judged = scenario.about.heal is not None and scenario.network.loss == 0
    if not (is_judged and serving and load is not None and _is_unsaturated(run, len(serving))):
        return
    failed = sum(run.recorder.bad[_bin_after(run, calm) :])
    if failed:
        yield f"{failed} requests failed after {calm:.3f} s, when no request may fail any more"
    start = _bin_after(run, calm + longest_exclusion_s(scenario))
    counts = [_sent(run, server.place.index, start) for server in serving]
    if (BINS - start) * scenario.about.duration / BINS >= _JUDGED_S:
        for server, count in zip(serving, counts, strict=True):
            if not count and sum(counts) >= _PLENTY * len(serving):
                yield f"{server.instance.id} got 0 of {sum(counts)} requests"


def _is_unsaturated(run: Run, serving: int) -> bool:
    """Return whether any one of the servers could take twice the load alone."""
    scenario = run.scenario
    rate = sum((group.mean_work_per_s or 0.0) * group.count for group in scenario.clients)
    each = scenario.service.capacity_per_s() / scenario.service.count
    return serving > 0 and 2 * rate <= each


def _sent(run: Run, index: int, start: int) -> int:
    """Return how many attempts a server got from a bin on."""
    sent = run.recorder.sent
    return sum(sent[index][start:BINS]) if index < len(sent) else 0


def _bin_after(run: Run, moment: float) -> int:
    """Return the first bin of time that begins after a moment."""
    return min(BINS + 1, int(moment / run.scenario.about.duration * BINS) + 1)
