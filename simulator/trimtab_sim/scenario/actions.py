"""Actions of the timeline and of churn: faults, deploys, load; one class each.

The effect on a server and its heartbeats:

| action | a new connection | a request inside | heartbeats |
|---|---|---|---|
| `crash` | refused | lost or finished, as the service says | end |
| `black_hole` | no answer at all | no answer | end, unless `heartbeats` |
| `hang` | accepted | no answer until the fault ends | go on |
| `slow` | accepted | takes `factor` times as long | go on |
| `errors` | accepted | a share answers `status` at once | go on |
| `refuse` | refused | goes on | go on |
| `flap` | as `crash` and restart, repeatedly | | with it |
| `gray` | accepted | a share hangs, fails or is slow | go on |
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trimtab_sim.durations import Duration, Factor, Share  # noqa: TC001 - msgspec reads them
from trimtab_sim.scenario.content import Count, Priority, Table

__all__ = [
    "Action",
    "Add",
    "BlackHole",
    "Churn",
    "Crash",
    "Errors",
    "Flap",
    "Gray",
    "Hang",
    "Load",
    "OnServers",
    "Partition",
    "Refuse",
    "RegistryClockSkew",
    "RegistryOutage",
    "RegistryRestartEmpty",
    "RegistryStale",
    "RegistryWrong",
    "Remove",
    "Replace",
    "Slow",
    "Targets",
]

_Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Status: TypeAlias = Annotated[int, msgspec.Meta(ge=400, le=599)]


class Targets(Table, frozen=True, kw_only=True):
    """The servers of an action: exactly one of these keys.

    Attributes:
        count: this many, drawn at random from the available servers.
        index: these servers, counted from 0 in the order of their start.
        share: this share of the available servers, drawn at random, at least one.
        zone: all servers in a zone.
    """

    count: Count | None = None
    index: tuple[_Index, ...] | None = None
    share: Share | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("targets need exactly one of count, index, share, zone")


class _Action(Table, frozen=True, kw_only=True, tag_field="action"):
    """Base of all actions: `at` is the moment on the timeline."""

    at: Duration | None = None


class _Lasting(_Action, frozen=True, kw_only=True):
    """An action that ends after `duration`; without it, at the healing or never."""

    duration: Duration | None = None


class OnServers(_Lasting, frozen=True, kw_only=True):
    """An action on some servers; by default on one, drawn at random."""

    targets: Targets | Literal["all"] = Targets(count=1)


class Crash(OnServers, frozen=True, kw_only=True, tag="crash"):
    """The process ends; after `duration` it restarts and registers again."""


class BlackHole(OnServers, frozen=True, kw_only=True, tag="black_hole"):
    """The machine vanishes from the network silently.

    With `heartbeats` its registration stays valid: a sidecar renews it, or only the path from the
    clients is blocked.
    """

    heartbeats: bool = False


class Hang(OnServers, frozen=True, kw_only=True, tag="hang"):
    """It accepts requests and does not answer; heartbeats go on."""


class Slow(OnServers, frozen=True, kw_only=True, tag="slow"):
    """Service takes `factor` times as long.

    Attributes:
        factor: of the service time; below 1 it is faster.
        waits: whether it waits in the additional time, as for a processor that neighbours on the
            same machine use. The CPU time that it reports (`reports_load`) does not show that.
            Otherwise it works all the time.
    """

    factor: Factor
    waits: bool = False


class Errors(OnServers, frozen=True, kw_only=True, tag="errors"):
    """A share of the requests (`rate`) is answered at once with `status`."""

    rate: Share = 1.0
    status: _Status = 500


class Refuse(OnServers, frozen=True, kw_only=True, tag="refuse"):
    """New connections are refused; heartbeats go on."""


class Flap(OnServers, frozen=True, kw_only=True, tag="flap"):
    """It crashes and restarts repeatedly; it is down for the share `down` of each `period`."""

    period: Duration
    down: Share = 0.5

    def __post_init__(self) -> None:
        if not self.period > 0:
            raise ValueError("period is 0; it must be above 0")


class Gray(OnServers, frozen=True, kw_only=True, tag="gray"):
    """A share of the requests fails, the others succeed.

    Attributes:
        share: of the requests.
        effect: `hang` without an answer, `error` with `status`, or `slow` by `factor`.
    """

    share: Share
    effect: Literal["hang", "error", "slow"] = "hang"
    status: _Status = 500
    factor: Factor = 10.0


class Partition(_Lasting, frozen=True, kw_only=True, tag="partition", rename={"from_": "from"}):
    """Messages between two sides are lost.

    A side is `clients`, `servers` or `registry`, one of them (`client:3`, `server:0`), a group
    of clients (`clients:web`) or a zone (`zone:a`).
    """

    from_: str
    to: str
    both_ways: bool = True


class Add(_Action, frozen=True, kw_only=True, tag="add"):
    """New servers start and register, one per `every`."""

    count: Count = 1
    zone: str = ""
    priority: Priority = 0
    weight: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 1.0
    every: Duration = 0.0


class Remove(_Action, frozen=True, kw_only=True, tag="remove"):
    """Servers shut down in order: deregister, then work on for `drain`, then stop."""

    targets: Targets | Literal["all"] = Targets(count=1)
    drain: Duration = 0.0


class Replace(_Action, frozen=True, kw_only=True, tag="replace"):
    """Servers are replaced by new ones, one per `every`: a rolling deploy.

    Attributes:
        order: `add_first` starts the new one, waits `every`, and removes the old one;
            `remove_first` the other way round.
        drain: as for `remove`.
        same_address: the new one gets the old one's host and port, as on fixed machines.
    """

    targets: Targets | Literal["all"] = "all"
    every: Duration = 0.0
    order: Literal["add_first", "remove_first"] = "add_first"
    drain: Duration = 0.0
    same_address: bool = False


class Load(_Lasting, frozen=True, kw_only=True, tag="load"):
    """Clients send `factor` times as many requests, all or one group of them."""

    factor: Factor
    clients: str = ""


class RegistryClockSkew(_Lasting, frozen=True, kw_only=True, tag="registry_clock_skew"):
    """The registry's clock jumps ahead by `offset_s`, or back when negative.

    The registry keeps the end of each lease as a time of its own clock, as Eureka does. A jump
    ahead ends leases at once, even those of live servers, which register again at their next
    heartbeat. A jump back keeps dead servers listed for longer. Clients and servers measure time
    with monotonic clocks, which do not jump.
    """

    offset_s: Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class RegistryOutage(_Lasting, frozen=True, kw_only=True, tag="registry_outage"):
    """The registry does not answer questions; `how` says what clients and servers meet instead."""

    how: Literal["refuse", "silent", "error"] = "refuse"


class RegistryRestartEmpty(_Action, frozen=True, kw_only=True, tag="registry_restart_empty"):
    """The registry loses all registrations; servers register again at their next heartbeat."""


class RegistryStale(_Lasting, frozen=True, kw_only=True, tag="registry_stale"):
    """The registry answers with the state at the fault's beginning, as a stale replica does."""


class RegistryWrong(_Lasting, frozen=True, kw_only=True, tag="registry_wrong"):
    """The registry gives wrong answers.

    Attributes:
        kind: `partial` omits a share, `duplicate` lists a share twice, `garbage` cannot be parsed.
        share: the share of the list.
    """

    kind: Literal["partial", "duplicate", "garbage"]
    share: Share = 0.5


Action: TypeAlias = (
    Crash
    | BlackHole
    | Hang
    | Slow
    | Errors
    | Refuse
    | Flap
    | Gray
    | Partition
    | Add
    | Remove
    | Replace
    | Load
    | RegistryClockSkew
    | RegistryOutage
    | RegistryRestartEmpty
    | RegistryStale
    | RegistryWrong
)


class Churn(Table, frozen=True, kw_only=True, rename={"from_": "from"}):
    """An action that is repeated at random moments.

    Attributes:
        every: the mean time between two actions, exponentially distributed.
        do: the action, without `at`.
        from_: the first moment; by default the end of the warm-up.
        until: the last moment; by default the healing, or the end.
        at_most: the most repetitions; None for no limit.
    """

    every: Duration
    do: Action
    from_: Duration | None = None
    until: Duration | None = None
    at_most: Count | None = None

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise ValueError("every is 0; it must be above 0")
