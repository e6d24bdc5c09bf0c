"""The lasting parts of a scenario: service, registry, network, clients, expectations.

Each class is one table of the file, each attribute one key; durations, shares and rates may be
written as texts (`"10ms"`, `"5%"`, `"100/s"`).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trimtab_sim.durations import Duration, Factor, Share  # noqa: TC001 - msgspec reads them
from trimtab_sim.laws import Constant, Exponential, Law
from trimtab_sim.scenario.arrivals import Arrivals, Poisson

__all__ = [
    "About",
    "Clients",
    "ColdStart",
    "Count",
    "Expect",
    "Network",
    "Path",
    "Registry",
    "ServerGroup",
    "Service",
    "Table",
]

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a scenario file: frozen, and strict about unknown keys."""


class About(Table, frozen=True, kw_only=True):
    """What the scenario is about, and how long it goes on.

    Attributes:
        name: for titles and reports.
        description: what it is meant to show.
        duration: virtual time in all.
        warmup: how much of it is left out of the figures, at the start.
        heal: the moment from which all faults are over; everything must converge after it.
            None: faults end as they say themselves.
        strategies: the strategies to compare; the balancer's own when empty.
    """

    duration: Duration
    name: str = ""
    description: str = ""
    warmup: Duration = 0.0
    heal: Duration | None = None
    strategies: tuple[str, ...] = ()


class ColdStart(Table, frozen=True, kw_only=True):
    """How a fresh server is slow: `factor` times at first, less and less over `duration`.

    Servers that are there when the story begins are warm.
    """

    factor: Factor
    duration: Duration


class ServerGroup(Table, frozen=True, kw_only=True):
    """Servers of one kind.

    Attributes:
        count: how many.
        zone: the failure domain they lie in.
        weight: as they register it; 0 takes no traffic.
        time: their service time, where it differs from the service's.
        concurrency: theirs, where it differs from the service's.
    """

    count: Count = 1
    zone: str = ""
    weight: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 1.0
    time: Law | None = None
    concurrency: Count | None = None


class Service(Table, frozen=True, kw_only=True):
    """The servers that are called.

    Attributes:
        name: the service's name in the registry and in URLs.
        servers: how many, or a list of groups.
        time: the law of the service time.
        concurrency: requests that a server works on at once.
        queue_limit: requests that may wait at a server besides; None for no limit.
        overflow: what happens beyond it: `reject` answers 503 at once, `drop` never answers.
        cold_start: how a server is slow when it is new; None when it is not.
        on_crash: requests inside a crashing server: `lose` breaks them off, `finish` lets them
            end (a graceful stop).
    """

    servers: Count | tuple[ServerGroup, ...]
    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "service"
    time: Law = Exponential(mean=0.01)
    concurrency: Count = 1
    queue_limit: Limit | None = None
    overflow: Literal["reject", "drop"] = "reject"
    cold_start: ColdStart | None = None
    on_crash: Literal["lose", "finish"] = "lose"

    def groups(self) -> tuple[ServerGroup, ...]:
        """Give the servers as groups, however the file put them."""
        if isinstance(self.servers, int):
            return (ServerGroup(count=self.servers),)
        return self.servers

    @property
    def count(self) -> int:
        """The number of servers at the start."""
        return sum(group.count for group in self.groups())

    def capacity_per_s(self) -> float:
        """Give the requests per second that all servers together can do, in the long run."""
        return sum(
            group.count * (group.concurrency or self.concurrency) / (group.time or self.time).mean
            for group in self.groups()
        )


class Registry(Table, frozen=True, kw_only=True):
    """How clients learn of servers.

    Attributes:
        mode: `poll` (whole lists, asked for), `long_poll` (asked for, answered at the next
            change) or `push` (sent at each change).
        propagation: the time from a change to the registry's answers showing it.
        latency: the time of one question and its answer, besides the network's.
        ttl: how long a registration lives without a heartbeat.
        heartbeat: the interval of heartbeats; shorter than `ttl`.
        sweep: how often lapsed registrations are taken out.
        long_poll_wait: the longest wait of a long poll.
        zone: where it lies.
    """

    mode: Literal["poll", "long_poll", "push"] = "poll"
    propagation: Law = Constant(mean=0.0)
    latency: Law = Constant(mean=0.0)
    ttl: Duration = 15.0
    heartbeat: Duration = 5.0
    sweep: Duration = 1.0
    long_poll_wait: Duration = 60.0
    zone: str = ""


class Path(Table, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The way between two zones, both directions unless the other has an entry of its own."""

    from_: str
    to: str
    latency: Law
    loss: Share = 0.0


class Network(Table, frozen=True, kw_only=True):
    """Latency and loss, one way.

    Attributes:
        latency: between any two zones that `paths` does not name.
        loss: the share of messages lost; a lost one is not sent again.
        paths: pairs of zones that differ.
    """

    latency: Law = Constant(mean=0.0)
    loss: Share = 0.0
    paths: tuple[Path, ...] = ()


class Clients(Table, frozen=True, kw_only=True):
    """A group of clients that are alike, each with its own list, pool and luck.

    Attributes:
        count: how many.
        name: how the timeline names the group.
        zone: where they lie.
        arrivals: when each of them sends a request.
        timeout: how long it waits for an answer.
        method: the HTTP method; it decides what may be retried.
        start: the moment from which they are there.
    """

    count: Count = 1
    name: str = ""
    zone: str = ""
    arrivals: Arrivals = Poisson(rate=100.0)
    timeout: Duration = 1.0
    method: Literal["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"] = "GET"
    start: Duration = 0.0


class Expect(Table, frozen=True, kw_only=True):
    """What must hold; each clause that is given is judged.

    Attributes:
        views_converged_within: from each change to the last client's view being right again.
        views_within_bound: every change within the bound that the settings imply.
        traffic_off_dead_within: from a server's end to the last request sent to it.
        success_ratio: the share of requests that succeed, at least.
        p50, p90, p99, p999: quantiles of the time of successful requests, at most.
        retries_per_request: at most, in the mean.
        fairness: the busiest server's requests over the mean of all servers, at most.
    """

    views_converged_within: Duration | None = None
    views_within_bound: bool = False
    traffic_off_dead_within: Duration | None = None
    success_ratio: Share | None = None
    p50: Duration | None = None
    p90: Duration | None = None
    p99: Duration | None = None
    p999: Duration | None = None
    retries_per_request: Annotated[float, msgspec.Meta(ge=0)] | None = None
    fairness: Annotated[float, msgspec.Meta(ge=1)] | None = None
