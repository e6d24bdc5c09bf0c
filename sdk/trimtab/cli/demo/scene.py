"""The run itself: who is on stage, what happens to them and when, and who watches."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Protocol

import httpx

from trimtab.cli.demo.backend import SERVICE
from trimtab.cli.demo.fleet import Fleet
from trimtab.cli.demo.record import Event, Record
from trimtab.cli.demo.traffic import Clock, RecordingTransport, drive
from trimtab.server import EmbeddedRegistry
from trimtab.transports import BalancedTransport

if TYPE_CHECKING:
    from trimtab.discovery import DiscoveryState
    from trimtab.pool import PoolStatistics

__all__ = ["ACTS", "Plan", "Stage", "Viewer", "play"]

_BACKENDS = 6
_TTL_S = 2.0

ACTS = (("killed", 0.25), ("slowed", 0.45), ("added", 0.70))
"""What happens, and after which part of the run."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be played."""

    rate_per_s: float
    duration_s: float
    strategy: str
    seed: int

    def when_s(self, kind: str) -> float:
        """Say when an act is due."""
        return dict(ACTS)[kind] * self.duration_s


@dataclass(kw_only=True)
class Stage:
    """What viewers see: the plan, the record so far, and what the client knows now.

    Attributes:
        ids: all instances, in the order in which they came.
    """

    plan: Plan
    ids: list[str] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    pool: PoolStatistics | None = None
    discovery: DiscoveryState | None = None


class Viewer(Protocol):
    """Who watches: told a few times a second, and when something is done."""

    every_s: float

    def opening(self, stage: Stage) -> None:
        """Say what is being prepared."""
        ...

    def event(self, _: Stage, event: Event) -> None:
        """Say what was done."""
        ...

    def look(self, stage: Stage) -> None:
        """Show how the run stands."""
        ...


async def play(plan: Plan, viewer: Viewer) -> Stage:
    """Play it once on real processes and sockets; nothing of it is left afterwards.

    Raises:
        TrimtabError: a backend does not start.
    """
    rng = Random(plan.seed)
    stage = Stage(plan=plan, ids=[f"{SERVICE}-{number}" for number in range(1, _BACKENDS + 1)])
    viewer.opening(stage)
    async with EmbeddedRegistry() as registry, Fleet(registry.url, ttl_s=_TTL_S) as fleet:
        await asyncio.gather(*map(fleet.start, stage.ids))
        clock = Clock()
        transport = BalancedTransport(
            registry.url,
            strategy=plan.strategy,
            inner=lambda instance: RecordingTransport(instance, stage.record, clock, verify=False),
            rng=Random(rng.random()),
        )
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            clock.start()
            watching = asyncio.create_task(_watch(stage, viewer, transport, clock))
            try:
                async with asyncio.TaskGroup() as acting:
                    acting.create_task(_act(stage, viewer, fleet, clock, rng))
                    await drive(
                        client,
                        stage.record,
                        clock,
                        rate_per_s=plan.rate_per_s,
                        duration_s=plan.duration_s,
                        rng=Random(rng.random()),
                    )
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            _refresh(stage, transport, clock)
    return stage


async def _act(stage: Stage, viewer: Viewer, fleet: Fleet, clock: Clock, rng: Random) -> None:
    """Kill one, slow the busiest down, add a new one, each at its time."""
    victim = rng.choice(stage.ids)

    def happened(kind: str, id_: str, alive: int) -> None:
        event = Event(kind=kind, instance_id=id_, at_s=clock(), fair_ratio=1 / alive)
        stage.record.events.append(event)
        viewer.event(stage, event)

    await asyncio.sleep(stage.plan.when_s("killed") - clock())
    happened("killed", victim, _BACKENDS - 1)
    await fleet.kill(victim)
    await asyncio.sleep(stage.plan.when_s("slowed") - clock())
    recent = stage.record.attempts(from_s=clock() - _TTL_S)
    laggard = max(stage.ids, key=lambda id_: recent[id_])
    fleet.slow_down(laggard)
    happened("slowed", laggard, _BACKENDS - 1)
    await asyncio.sleep(stage.plan.when_s("added") - clock())
    newcomer = f"{SERVICE}-{_BACKENDS + 1}"
    await fleet.start(newcomer)
    stage.ids.append(newcomer)
    happened("added", newcomer, _BACKENDS)


async def _watch(stage: Stage, viewer: Viewer, transport: BalancedTransport, clock: Clock) -> None:
    while True:
        await asyncio.sleep(viewer.every_s)
        _refresh(stage, transport, clock)
        viewer.look(stage)


def _refresh(stage: Stage, transport: BalancedTransport, clock: Clock) -> None:
    stage.record.now_s = clock()
    stage.pool = transport.statistics().get(SERVICE)
    stage.discovery = transport.state().get(SERVICE)
