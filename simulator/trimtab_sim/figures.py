"""The figures of one run, as a plain value that can be stored, sent and compared.

`figures(run)` is a function of (scenario digest, strategy, seed, depth) and nothing else: no
wall clock, no addresses, no order of sets. So the same replication gives the same bytes in any
process, on any machine. Latencies and ratios are those of requests that began after the warm-up;
bins, counts of attempts and the checks concern the whole run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trimtab_sim.bounds import Bounds
from trimtab_sim.errors import SimulationError
from trimtab_sim.presence import fairness, served_seconds
from trimtab_sim.recorder import BINS, Outcome
from trimtab_sim.settling import Settling, settle
from trimtab_sim.sketches import Sketch  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from trimtab_sim.recorder import Recorder
    from trimtab_sim.simulation import Run

__all__ = ["Checks", "EventFigures", "Figures", "ServerFigures", "figures"]

_DETAILED_SERVERS = 256
_MOST_EVENTS = 1000
_ROUNDING = 1e-9


class EventFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to the world.

    Attributes:
        at, until: when it began and was undone; `until` is None if it never was.
        well_after_s: from its beginning until the last failed request that ended before the next
            event, to the width of a bin; 0 when none failed, None when they still did then.
    """

    label: str
    at: float
    until: float | None
    well_after_s: float | None


class ServerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    Attributes:
        served_s: how long it served and was announced.
        sent: attempts sent to it, in all.
        sent_by_bin: the same by bin of time; empty beyond the first 256 servers.
        ends: when it ended, and the seconds until the last attempt sent to it after that, for
            each time that it did.
    """

    id: str
    zone: str
    weight: float
    served_s: float
    sent: int
    sent_by_bin: list[int]
    ends: list[tuple[float, float]]


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """What must add up in every run.

    Attributes:
        area, sojourn: both sides of Little's law, in request-seconds.
        unsent: requests that ended before any attempt.
    """

    begun: int
    ended: int
    in_flight: int
    picks_in_flight: int
    attempts: int
    retries: int
    unsent: int
    sent: int
    binned: int
    counted: int
    area: float
    sojourn: float

    def complaints(self) -> list[str]:
        """Say what does not add up."""
        rules = (
            (self.begun == self.ended + self.in_flight, "begun = ended + in flight"),
            (self.in_flight == 0, "no request is in flight at the end"),
            (self.picks_in_flight == 0, "no pick of a pool is in flight at the end"),
            (
                self.attempts == self.begun - self.in_flight - self.unsent + self.retries,
                "attempts = first tries + retries",
            ),
            (self.sent == self.attempts, "attempts per server = attempts"),
            (self.binned == self.ended, "ended per bin = ended"),
            (self.counted <= self.ended, "outcomes <= ended"),
            (
                abs(self.area - self.sojourn) <= _ROUNDING * max(1.0, self.area) * 10,
                "Little's law: the area under requests in flight = the sum of their times",
            ),
        )
        return [rule for holds, rule in rules if not holds]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one run.

    Attributes:
        digest: a hash of every request's beginning, end, outcome and server.
        requests: begun after the warm-up and ended; `successes` of them went well.
        success_ratio: None when there was no request.
        outcomes: requests by how they ended.
        attempts, retries: of the whole run.
        retries_per_request: of the whole run.
        mean, p50, p90, p99, p999, max: seconds, of requests that succeeded; None without any.
        latency: of requests that succeeded, for pooling.
        fairness: the most that a server got of what was its fair share; see `presence`.
        late_sends: attempts sent to a server that was not alive.
        traffic_off_dead_s: the longest time from a server's end to the last attempt sent to it.
        bin_s: the width of a bin of time; `good`, `bad` and `spent` have 241 entries, the last
            for what ended after the end of the arrivals.
        spent: seconds that the good requests of a bin took together.
        ended_at: when the last request had ended.
    """

    strategy: str
    seed: int | str
    depth: str
    scenario_digest: str
    digest: str
    requests: int
    successes: int
    success_ratio: float | None
    outcomes: dict[str, int]
    attempts: int
    retries: int
    retries_per_request: float
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    max: float | None
    latency: Sketch
    fairness: float | None
    late_sends: int
    traffic_off_dead_s: float
    bin_s: float
    good: list[int]
    bad: list[int]
    spent: list[float]
    servers: list[ServerFigures]
    events: list[EventFigures]
    settling: Settling
    bounds: list[tuple[str, float]]
    checks: Checks
    ended_at: float

    def check(self) -> Figures:
        """Return itself if everything adds up.

        Raises:
            SimulationError: something was counted twice, or not at all; names what.
        """
        if complaints := self.checks.complaints():
            raise SimulationError(
                f"strategy {self.strategy}, seed {self.seed}, depth {self.depth}: the run does "
                f"not add up: {'; '.join(complaints)}; {self.checks}"
            )
        return self


def figures(run: Run) -> Figures:
    """Turn a run into figures, and assert what holds for every run.

    Raises:
        SimulationError: something does not add up.
    """
    recorder, scenario = run.recorder, run.scenario
    latency = recorder.latency
    requests, successes = sum(recorder.outcomes), recorder.outcomes[Outcome.OK]
    served = served_seconds(run)
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
        fairness=fairness(run),
        late_sends=recorder.late_sends,
        traffic_off_dead_s=_longest_traffic(servers, recorder.warmup),
        bin_s=recorder.duration / BINS,
        good=list(recorder.good),
        bad=list(recorder.bad),
        spent=list(recorder.spent),
        servers=servers,
        events=_events(run),
        settling=settle(run),
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
    """Return how long after `at` requests still failed, looking no further than `following`."""
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
