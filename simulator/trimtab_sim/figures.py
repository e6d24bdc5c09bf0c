"""The figures of one run, as a plain value that can be stored, sent and compared.

`trimtab_sim.measuring.measure` takes them. They are a function of (scenario digest, strategy, seed,
depth) alone: no wall clock, no addresses, no order of sets. So the same replication gives the same
bytes in any process, on any machine. Latencies and ratios are those of requests that began after
the warm-up; bins, counts of attempts and the checks concern the whole run.
"""

from __future__ import annotations

import msgspec

from trimtab_sim.errors import SimulationError
from trimtab_sim.sketches import Sketch  # noqa: TC001 - msgspec reads it

__all__ = [
    "ChangeFigures",
    "Checks",
    "ConvergenceFigures",
    "EventFigures",
    "Figures",
    "ServerFigures",
    "ViolationFigures",
]

_ROUNDING = 1e-8


class EventFigures(msgspec.Struct, frozen=True, kw_only=True):
    """An action that was applied to the world.

    Attributes:
        at, until: when it began and was undone; `until` is None if it was not undone.
        well_after_s: the time from its beginning to the last failed request before the next event,
            to the width of a bin; 0 when no request failed, None when requests still failed then.
    """

    label: str
    at: float
    until: float | None
    well_after_s: float | None


class ServerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    Attributes:
        served_s: how long it served and was registered.
        sent: attempts sent to it, in all.
        sent_by_bin: the same by bin of time; empty beyond the first 256 servers.
        ends: per end of it, the moment, and the seconds until the last attempt sent to it after
            that.
    """

    id: str
    zone: str
    weight: float
    served_s: float
    sent: int
    sent_by_bin: list[int]
    ends: list[tuple[float, float]]


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """Totals that must agree in every run.

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
        """Return the rules that do not hold."""
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
                abs(self.area - self.sojourn) <= _ROUNDING * max(1.0, self.area),
                "Little's law: the area under requests in flight = the sum of their times",
            ),
        )
        return [rule for holds, rule in rules if not holds]


class ChangeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the truth.

    Attributes:
        kind: "add", "remove" or "death".
        bound_s: the time within which every client must agree.
        last_s: the time until the last client agreed; None when some never did.
        waited_s: the time that clients which never agreed had, until the next change of the same
            instance or the end; 0 when all agreed.
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


class ConvergenceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of a run, and how long clients took to follow them.

    Lists are cut to a thousand: `times` to quantiles at even distances, both ends included,
    `changes` and `violations` to the first thousand.

    Attributes:
        count: pairs of a change and a client that agreed in the end.
        mean_s, max_s: of all those pairs; None without pairs.
        times: seconds, rising.
        last_times: per change that all clients agreed on, the time of the last one; rising.
        slowest_s: the longest time that any client took or, where one never agreed, had.
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


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one run.

    Attributes:
        digest: a hash of every request's beginning, end, outcome and server.
        requests: begun after the warm-up and ended; `successes` of them succeeded.
        success_ratio: None when there was no request.
        outcomes: requests by how they ended.
        attempts, retries: of the whole run.
        retries_per_request: of the whole run.
        mean, p50, p90, p99, p999, max: seconds, of requests that succeeded; None without any.
        latency: of requests that succeeded, for pooling.
        fairness: the most that a server got, as a factor of its fair share; see `measuring`.
        late_sends: attempts sent to a server that was not alive.
        traffic_off_dead_s: the longest time from a server's end to the last attempt sent to it.
        bin_s: the width of a bin of time; `good`, `bad` and `spent` have 241 entries, the last
            for what ended after the end of the arrivals.
        spent: the sum of the seconds that the good requests of a bin took.
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
    convergence: ConvergenceFigures
    bounds: list[tuple[str, float]]
    checks: Checks
    ended_at: float

    def check(self) -> Figures:
        """Return itself if all totals agree.

        Raises:
            SimulationError: something was counted twice, or not at all; the message names it.
        """
        if complaints := self.checks.complaints():
            raise SimulationError(
                f"strategy {self.strategy}, seed {self.seed}, depth {self.depth}: the run does "
                f"not add up: {'; '.join(complaints)}; {self.checks}"
            )
        return self
