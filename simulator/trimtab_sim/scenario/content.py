"""The static tables of a scenario: service, registry, network, clients, expectations.

Each class is one table of the file, each attribute one key. Durations, shares and rates may be
written as texts (`"10ms"`, `"5%"`, `"100/s"`).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trimtab.instance import MAX_PRIORITY
from trimtab_sim.durations import Duration, Factor, Share  # noqa: TC001 - msgspec reads them
from trimtab_sim.laws import Constant, Exponential, Law
from trimtab_sim.scenario.arrivals import Arrivals, Poisson

__all__ = [
    "About",
    "Clients",
    "ColdStart",
    "Cost",
    "Count",
    "Expect",
    "Network",
    "Path",
    "Priority",
    "Registry",
    "ServerGroup",
    "Service",
    "Table",
]

Priority: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRIORITY)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a scenario file: frozen, and strict about unknown keys."""


class About(Table, frozen=True, kw_only=True):
    """The table `[scenario]`: title, duration, strategies.

    Attributes:
        name: for titles and reports.
        description: what it shows.
        duration: the virtual time of a run.
        warmup: the time at the start that is left out of the figures.
        heal: the moment at which all faults end; everything must converge after it. Without it,
            faults end after their own durations.
        strategies: the strategies to compare; the balancer's own when empty.
    """

    duration: Duration
    name: str = ""
    description: str = ""
    warmup: Duration = 0.0
    heal: Duration | None = None
    strategies: tuple[str, ...] = ()


class ColdStart(Table, frozen=True, kw_only=True):
    """How slow a new server is: `factor` times at first, falling to 1 over `duration`.

    Servers that exist at the start are warm.
    """

    factor: Factor
    duration: Duration


class ServerGroup(Table, frozen=True, kw_only=True):
    """Servers of one kind.

    Attributes:
        count: how many.
        zone: their failure domain.
        priority: their tier, 0 the best; `[balancer.priorities]` says how tiers share requests.
        weight: their registered weight; 0 takes no traffic.
        time: their service time; by default the service's.
        concurrency: requests that each works on at once; by default the service's.
    """

    count: Count = 1
    zone: str = ""
    priority: Priority = 0
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
        queue_limit: requests that may wait at a server in addition; None for no limit.
        overflow: what happens beyond the limit: `reject` answers 503 at once, `drop` never
            answers.
        cold_start: how slow a new server is; None for no cold start.
        on_crash: requests inside a crashing server: `lose` breaks them off, `finish` completes
            them (a graceful stop).
        reports_load: whether servers run the SDK's middleware, which reports their load to clients
            whose strategy uses it.
    """

    servers: Count | tuple[ServerGroup, ...]
    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "service"
    time: Law = Exponential(mean=0.01)
    concurrency: Count = 1
    queue_limit: Limit | None = None
    overflow: Literal["reject", "drop"] = "reject"
    cold_start: ColdStart | None = None
    on_crash: Literal["lose", "finish"] = "lose"
    reports_load: bool = False

    def groups(self) -> tuple[ServerGroup, ...]:
        """Return the servers as groups, also when the file gives only a number."""
        if isinstance(self.servers, int):
            return (ServerGroup(count=self.servers),)
        return self.servers

    @property
    def count(self) -> int:
        """The number of servers at the start."""
        return sum(group.count for group in self.groups())

    def capacity_per_s(self) -> float:
        """Return the requests per second that all servers together can do, in the long run."""
        return sum(
            group.count * (group.concurrency or self.concurrency) / (group.time or self.time).mean
            for group in self.groups()
        )


class Registry(Table, frozen=True, kw_only=True):
    """The registry: how clients learn of servers.

    Attributes:
        mode: `poll` (clients ask for whole lists), `long_poll` (they ask, and get the answer at the
            next change) or `push` (lists are sent at each change).
        propagation: the time from a change until the registry's answers show it.
        latency: the registry's time for one question, in addition to the network's.
        ttl: how long a registration lasts without a heartbeat.
        heartbeat: the interval of heartbeats; shorter than `ttl`.
        sweep: the interval at which lapsed registrations are removed.
        long_poll_wait: the longest wait of a long poll.
        zone: its failure domain.
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
    """The path between two zones, in both directions unless the other has its own entry."""

    from_: str
    to: str
    latency: Law
    loss: Share = 0.0


class Network(Table, frozen=True, kw_only=True):
    """Latency and loss, one way.

    Attributes:
        latency: between any two zones that `paths` does not name.
        loss: the share of messages lost; a lost one is not sent again.
        paths: pairs of zones with other values.
    """

    latency: Law = Constant(mean=0.0)
    loss: Share = 0.0
    paths: tuple[Path, ...] = ()


class Cost(Table, frozen=True, kw_only=True):
    """What requests ask of a server: their cost multiplies the time that it takes for them.

    Attributes:
        units: the law of the cost, in numbers above 0; usually 1 for most requests.
        told: whether the balancer knows the cost of each request before it picks; otherwise all
            count alike. The requests and their costs are the same in both cases.
    """

    units: Law
    told: bool = False


class Clients(Table, frozen=True, kw_only=True):
    """A group of equal clients, each with its own list, pool and random draws.

    Attributes:
        count: how many.
        name: the group's name on the timeline.
        zone: their failure domain.
        arrivals: when each of them sends a request.
        timeout: how long it waits for an answer.
        method: the HTTP method; it decides what may be retried.
        start: the moment at which they start.
        cost: what each of their requests asks of a server; None: all the same.
    """

    count: Count = 1
    name: str = ""
    zone: str = ""
    arrivals: Arrivals = Poisson(rate=100.0)
    timeout: Duration = 1.0
    method: Literal["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"] = "GET"
    start: Duration = 0.0
    cost: Cost | None = None

    @property
    def mean_work_per_s(self) -> float | None:
        """Requests per second of each, counted by their costs; None for a closed loop."""
        rate = self.arrivals.mean_rate
        return rate if rate is None or self.cost is None else rate * self.cost.units.mean


class Expect(Table, frozen=True, kw_only=True):
    """Expectations; each given clause is judged.

    Attributes:
        views_converged_within: the time from each change until the last client's view is right.
        views_within_bound: whether every client must follow every change within the bound that
            the settings imply.
        traffic_off_dead_within: the time from a server's end to the last request sent to it.
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
