"""The run itself: its plan, its traffic, and what happens to the instances and when."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from trimtab.cli.demo.backends import SERVICE, Fleet
from trimtab.cli.demo.record import Call, Event, Record
from trimtab.server import EmbeddedRegistry
from trimtab.transports import BalancedTransport

if TYPE_CHECKING:
    from trimtab.discovery import DiscoveryState
    from trimtab.instance import Instance
    from trimtab.pool import PoolStatistics

__all__ = ["EVENTS", "Clock", "Plan", "RecordingTransport", "Run", "Viewer", "drive", "run_demo"]

_BACKENDS = 6
_TTL_S = 2.0
EVENTS = (("killed", 0.25), ("slowed", 0.45), ("added", 0.70))
"""The events, each with the part of the run after which it happens."""
_FIRST_FAILING_STATUS = 400


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings of a run."""

    rate_per_s: float
    duration_s: float
    strategy: str
    seed: int

    def when_s(self, kind: str) -> float:
        """Return the time of an event."""
        return dict(EVENTS)[kind] * self.duration_s


@dataclass(kw_only=True)
class Run:
    """What viewers show: the plan, the record so far, and the client's present view.

    Attributes:
        ids: all instances, in the order in which they were started.
    """

    plan: Plan
    ids: list[str] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    pool: PoolStatistics | None = None
    discovery: DiscoveryState | None = None


class Viewer(Protocol):
    """Shows a run. It is called a few times per second, and at each event."""

    every_s: float

    def opening(self, run: Run) -> None:
        """Show that the run is being prepared."""
        ...

    def event(self, _: Run, event: Event) -> None:
        """Show an event."""
        ...

    def update(self, run: Run) -> None:
        """Show the present state of the run."""
        ...


async def run_demo(plan: Plan, viewer: Viewer) -> Run:
    """Run the demo once on real processes and sockets; it leaves no process behind.

    Raises:
        TrimtabError: a backend does not start.
    """
    rng = Random(plan.seed)
    run = Run(plan=plan, ids=[f"{SERVICE}-{number}" for number in range(1, _BACKENDS + 1)])
    viewer.opening(run)
    async with EmbeddedRegistry() as registry, Fleet(registry.url, ttl_s=_TTL_S) as fleet:
        await asyncio.gather(*map(fleet.start, run.ids))
        clock = Clock()
        transport = BalancedTransport(
            registry.url,
            strategy=plan.strategy,
            inner=lambda instance: RecordingTransport(instance, run.record, clock, verify=False),
            rng=Random(rng.random()),
        )
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            clock.start()
            watching = asyncio.create_task(_watch(run, viewer, transport, clock))
            try:
                async with asyncio.TaskGroup() as acting:
                    acting.create_task(_cause_events(run, viewer, fleet, clock, rng))
                    await drive(
                        client,
                        run.record,
                        clock,
                        rate_per_s=plan.rate_per_s,
                        duration_s=plan.duration_s,
                        rng=Random(rng.random()),
                    )
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            _refresh(run, transport, clock)
    return run


async def _cause_events(run: Run, viewer: Viewer, fleet: Fleet, clock: Clock, rng: Random) -> None:
    """Kill one instance, slow the busiest one, and add one, each at its time."""
    victim = rng.choice(run.ids)

    def happened(kind: str, id_: str, alive: int) -> None:
        event = Event(kind=kind, instance_id=id_, at_s=clock(), fair_ratio=1 / alive)
        run.record.events.append(event)
        viewer.event(run, event)

    await asyncio.sleep(run.plan.when_s("killed") - clock())
    happened("killed", victim, _BACKENDS - 1)
    await fleet.kill(victim)
    await asyncio.sleep(run.plan.when_s("slowed") - clock())
    recent = run.record.attempts(from_s=clock() - _TTL_S)
    busiest = max(run.ids, key=lambda id_: recent[id_])
    fleet.slow_down(busiest)
    happened("slowed", busiest, _BACKENDS - 1)
    await asyncio.sleep(run.plan.when_s("added") - clock())
    added = f"{SERVICE}-{_BACKENDS + 1}"
    await fleet.start(added)
    run.ids.append(added)
    happened("added", added, _BACKENDS)


async def _watch(run: Run, viewer: Viewer, transport: BalancedTransport, clock: Clock) -> None:
    while True:
        await asyncio.sleep(viewer.every_s)
        _refresh(run, transport, clock)
        viewer.update(run)


def _refresh(run: Run, transport: BalancedTransport, clock: Clock) -> None:
    run.record.now_s = clock()
    run.pool = transport.statistics().get(SERVICE)
    run.discovery = transport.state().get(SERVICE)


class Clock:
    """Seconds since `start` on the running loop's clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()

    def start(self) -> None:
        """Set the time to zero."""
        self._started_at = self._loop.time()

    def __call__(self) -> float:
        """Return the time."""
        return self._loop.time() - self._started_at


class RecordingTransport(httpx.AsyncHTTPTransport):
    """The usual transport to one instance; it records each attempt."""

    def __init__(self, instance: Instance, record: Record, clock: Clock, **options: Any) -> None:
        super().__init__(**options)
        self._id, self._record, self._clock = instance.id, record, clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Record the attempt, and send it."""
        self._record.attempt(self._clock(), self._id)
        return await super().handle_async_request(request)


async def drive(
    client: httpx.AsyncClient,
    record: Record,
    clock: Clock,
    *,
    rate_per_s: float,
    duration_s: float,
    rng: Random,
) -> None:
    """Make calls at random times, `rate_per_s` on average, for `duration_s`; wait for their ends.

    The traffic is open-loop: slow answers do not delay later calls.
    """
    due_s = rng.expovariate(rate_per_s)
    async with asyncio.TaskGroup() as calls:
        while due_s < duration_s:
            # A late call is sent at once, so the rate holds even if this loop lags.
            await asyncio.sleep(due_s - clock())
            calls.create_task(_call(client, record, clock))
            due_s += rng.expovariate(rate_per_s)


async def _call(client: httpx.AsyncClient, record: Record, clock: Clock) -> None:
    started_s = clock()
    try:
        response = await client.get(f"http://{SERVICE}/")
    except httpx.HTTPError as error:
        id_, attempts, why = "", 1, str(error) or type(error).__name__
    else:
        info = response.extensions["trimtab"]
        id_, attempts = info.instance.id, info.attempts
        failed = response.status_code >= _FIRST_FAILING_STATUS
        why = f"{id_} answered {response.status_code}" if failed else ""
    ended_s = clock()
    record.calls.append(
        Call(
            ended_at_s=ended_s,
            instance_id=id_,
            latency_s=ended_s - started_s,
            attempts=attempts,
            error=why,
        )
    )
