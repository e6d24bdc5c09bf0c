"""Take the figures of one run.

A server is *available* while it serves and is registered: the truth of `convergence`. Its fair
share of what is sent in a bin of time is its weight among the servers available in that bin, in
proportion to how long each was. So a server that comes late or leaves early is not called idle, and
one that stays when others crash is not called busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trimtab_sim.bounds import Bounds
from trimtab_sim.figures import (
    ChangeFigures,
    Checks,
    ConvergenceFigures,
    EventFigures,
    Figures,
    ServerFigures,
    ViolationFigures,
)
from trimtab_sim.recorder import BINS, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from trimtab_sim.convergence import Change, Violation
    from trimtab_sim.recorder import Recorder
    from trimtab_sim.simulation import Run

__all__ = ["measure"]

_DETAILED_SERVERS = 256
_MOST_EVENTS = 1000
_LONGEST_LIST = 1000
_LEAST_FAIR_RATIO = 0.05
"""Servers whose fair share is less than this part of the mean one are not judged."""


def measure(run: Run) -> Figures:
    """Turn a run into figures, and check what holds for every run.

    Raises:
        SimulationError: the totals do not agree.
    """
    recorder, scenario = run.recorder, run.scenario
    latency = recorder.latency
    requests, successes = sum(recorder.outcomes), recorder.outcomes[Outcome.OK]
    served = _served_seconds(run)
    servers = [_server(run, index, served[index]) for index in range(len(run.world.runners))]

    def quantile(q: float) -> float | None:
        return latency.quantile(q) if latency.count else None

    return Figures(
        strategy=_name(run.strategy),
        seed=run.seed,
        depth=run.depth,
        scenario_digest=scenario.digest,
        digest=recorder.digest(),
        requests=requests,
        successes=successes,
        success_ratio=successes / requests if requests else None,
        outcomes={kind.name.lower(): recorder.outcomes[kind] for kind in Outcome},
        attempts=recorder.attempts,
        retries=recorder.retries,
        retries_per_request=recorder.retries / max(1, recorder.begun),
        mean=latency.mean if latency.count else None,
        p50=quantile(0.5),
        p90=quantile(0.9),
        p99=quantile(0.99),
        p999=quantile(0.999),
        max=latency.largest if latency.count else None,
        latency=latency.freeze(),
        fairness=_fairness(run),
        late_sends=recorder.late_sends,
        traffic_off_dead_s=_longest_traffic(servers, recorder.warmup),
        bin_s=recorder.duration / BINS,
        good=list(recorder.good),
        bad=list(recorder.bad),
        spent=list(recorder.spent),
        servers=servers,
        events=_events(run),
        convergence=_convergence(run),
        bounds=Bounds(scenario).rows(),
        checks=_checks(run),
        ended_at=float(run.ended_at),
    ).check()


def _name(strategy: object) -> str:
    return strategy if isinstance(strategy, str) else getattr(strategy, "__name__", "custom")


def _server(run: Run, index: int, served_s: float) -> ServerFigures:
    server, sent = run.world.runners[index].server, _sent(run.recorder, index)
    ends = [*server.past_ends]
    if not server.is_alive:
        ends.append((server.ended_at, server.last_sent_at))
    return ServerFigures(
        id=server.instance.id,
        zone=server.instance.zone,
        weight=server.instance.weight,
        served_s=served_s,
        sent=sum(sent),
        sent_by_bin=sent if index < _DETAILED_SERVERS else [],
        ends=[(float(ended), 0.0 if last is None else float(last - ended)) for ended, last in ends],
    )


def _sent(recorder: Recorder, index: int) -> list[int]:
    return list(recorder.sent[index]) if index < len(recorder.sent) else [0] * (BINS + 1)


def _longest_traffic(servers: list[ServerFigures], warmup: float) -> float:
    return max((s for one in servers for at, s in one.ends if at >= warmup), default=0.0)


def _events(run: Run) -> list[EventFigures]:
    events = run.events[:_MOST_EVENTS]
    nexts = [*(event.at for event in run.events[1:]), run.scenario.about.duration]
    return [
        EventFigures(
            label=event.label,
            at=float(event.at),
            until=None if event.until is None else float(event.until),
            well_after_s=_well_after(run.recorder, event.at, following),
        )
        for event, following in zip(events, nexts, strict=False)
    ]


def _well_after(recorder: Recorder, at: float, following: float) -> float | None:
    """Return how long after `at` requests still failed, up to the moment `following`."""
    width = recorder.duration / BINS
    first, last = int(at / width), min(int(following / width), BINS)
    failing = [place for place in range(first, max(last, first + 1)) if recorder.bad[place]]
    if not failing:
        return 0.0
    ends_at = (failing[-1] + 1) * width
    return ends_at - at if failing[-1] + 1 < last else None


def _checks(run: Run) -> Checks:
    recorder = run.recorder
    area, sojourn = recorder.little(run.ended_at)
    return Checks(
        begun=recorder.begun,
        ended=recorder.ended,
        in_flight=recorder.in_flight,
        picks_in_flight=run.in_flight_left,
        attempts=recorder.attempts,
        retries=recorder.retries,
        unsent=recorder.unsent,
        sent=sum(map(sum, recorder.sent)),
        binned=sum(recorder.good) + sum(recorder.bad),
        counted=sum(recorder.outcomes),
        area=area,
        sojourn=sojourn,
    )


def _convergence(run: Run) -> ConvergenceFigures:
    """Return how long changes took to reach the clients, as plain figures."""
    # Moments may be a scenario's durations, a subclass of float.
    convergence, end = run.convergence, float(run.scenario.about.duration)
    times = sorted(map(float, convergence.times()))
    violations = convergence.violations(end)
    changes = [_change(change, end) for change in convergence.changes if change.counts]
    slowest = [change.waited_s if change.last_s is None else change.last_s for change in changes]
    return ConvergenceFigures(
        count=len(times),
        mean_s=sum(times) / len(times) if times else None,
        max_s=times[-1] if times else None,
        times=_thinned(times),
        last_times=_thinned(sorted(map(float, convergence.last_times()))),
        slowest_s=max(slowest, default=0.0),
        changes=changes[:_LONGEST_LIST],
        violations=[_violation(violation) for violation in violations[:_LONGEST_LIST]],
        violation_count=len(violations),
    )


def _change(change: Change, end: float) -> ChangeFigures:
    agreed = [moment for moment in change.agreed_at.values() if moment is not None]
    all_agreed = len(agreed) == len(change.agreed_at)
    until = end if change.superseded_at is None else min(end, change.superseded_at)
    return ChangeFigures(
        at=float(change.at),
        instance=change.instance,
        kind=change.kind,
        bound_s=float(change.bound_s),
        last_s=float(max(agreed, default=change.at) - change.at) if all_agreed else None,
        waited_s=0.0 if all_agreed else max(0.0, until - change.at),
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
    """Return at most a thousand of the numbers, evenly from the first to the last."""
    if len(rising) <= _LONGEST_LIST:
        return list(rising)
    last = len(rising) - 1
    return [rising[round(place * last / (_LONGEST_LIST - 1))] for place in range(_LONGEST_LIST)]


def _availability(run: Run) -> npt.NDArray[np.float64]:
    """Return what part of each bin each server was available: servers by bins, 0 to 1."""
    duration = run.scenario.about.duration
    available = np.zeros((len(run.world.runners), BINS))
    starts = np.arange(BINS) * (duration / BINS)
    for index, spells in enumerate(_spells(run)):
        for begun, ended in spells:
            overlap = np.minimum(starts + duration / BINS, ended) - np.maximum(starts, begun)
            available[index] += np.clip(overlap, 0.0, None)
    shares: npt.NDArray[np.float64] = available / (duration / BINS)
    return shares


def _served_seconds(run: Run) -> list[float]:
    """Return how long each server was available, in all."""
    return [sum(ended - begun for begun, ended in spells) for spells in _spells(run)]


def _fairness(run: Run) -> float | None:
    """Return the most that a server got, as a factor of its fair share, after the warm-up.

    With servers that are always available and weigh the same this is the busiest one's requests
    over the mean. None when nothing was sent.
    """
    recorder = run.recorder
    first = int(np.ceil(recorder.warmup / recorder.duration * BINS))
    weights = np.array([[runner.server.instance.weight] for runner in run.world.runners])
    sent = np.zeros((len(weights), BINS))
    for index, bins in enumerate(recorder.sent):
        sent[index] = bins[:BINS]
    claims = _availability(run) * weights
    claims[:, :first] = 0.0
    whole = claims.sum(axis=0)
    # Requests sent to servers that were not available are judged elsewhere (`late_sends`).
    taken = np.where(claims > 0, sent, 0.0)
    each = np.divide(taken.sum(axis=0), whole, out=np.zeros(BINS), where=whole > 0)
    fair, got = (claims * each).sum(axis=1), taken.sum(axis=1)
    judged = fair > _LEAST_FAIR_RATIO * fair.mean() if len(fair) else np.zeros(0, dtype=bool)
    return float((got[judged] / fair[judged]).max()) if judged.any() else None


def _spells(run: Run) -> list[list[tuple[float, float]]]:
    """Return, per server, when it was available: pairs of begin and end."""
    duration = float(run.scenario.about.duration)
    index = {runner.server.instance.id: at for at, runner in enumerate(run.world.runners)}
    spells: list[list[tuple[float, float]]] = [[] for _ in index]
    for change in run.convergence.changes:
        if change.is_present:
            ended = duration if change.superseded_at is None else change.superseded_at
            spells[index[change.instance]].append((min(change.at, duration), min(ended, duration)))
    return spells
