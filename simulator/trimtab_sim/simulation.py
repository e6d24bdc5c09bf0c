"""Run one scenario once: under one strategy, with one seed, at one depth."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import simpy

from trimtab.balancing import Policies, Services, reconnect_settings
from trimtab.discovery import Home
from trimtab.errors import ClosedError, DiscoveryError
from trimtab.health import reason_against
from trimtab_sim import loop as simulated
from trimtab_sim.bounds import Bounds
from trimtab_sim.convergence import Convergence
from trimtab_sim.events import until
from trimtab_sim.recorder import Recorder
from trimtab_sim.streams import stream
from trimtab_sim.timeline import Director
from trimtab_sim.world.core_clients import CoreClient
from trimtab_sim.world.http_clients import HttpClient, load
from trimtab_sim.world.model_transport import ModelTransport
from trimtab_sim.world.places import Place
from trimtab_sim.world.probes import probe_from
from trimtab_sim.world.registry import PolledView, WatchedView
from trimtab_sim.world.wire import WireTransport
from trimtab_sim.world.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from trimtab.balancing import Service
    from trimtab.instance import Snapshot
    from trimtab_sim.scenario import Scenario
    from trimtab_sim.scenario.content import Clients as Group
    from trimtab_sim.timeline import Event
    from trimtab_sim.world.clients import Client
    from trimtab_sim.world.http_clients import FamilyName

__all__ = ["Depth", "Run", "quiet", "rare_collections", "simulate"]

Depth: TypeAlias = Literal["core", "client", "wire"]
_INNER: dict[Depth, Any] = {"client": ModelTransport, "wire": WireTransport}
# Without this, Python prints the SDK's warnings about simulated faults to the terminal.
logging.getLogger("trimtab").addHandler(logging.NullHandler())
_GC_THRESHOLDS = (5_000, 10, 100)
_LONGEST_REST_S = 3600.0
"""Twice the time after the last arrival that the run waits for requests in flight."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One finished run; `trimtab_sim.measuring` takes its figures.

    Attributes:
        events: the actions that were applied to the world.
        ended_at: the virtual second at which the last request had ended.
        in_flight_left: requests in flight in the clients' pools at the end; 0 unless picks leak.
    """

    scenario: Scenario
    strategy: str
    seed: int | str
    depth: Depth
    recorder: Recorder
    convergence: Convergence
    events: list[Event]
    world: World
    ended_at: float
    in_flight_left: int


def simulate(
    scenario: Scenario,
    *,
    strategy: str | None = None,
    seed: int | str = 1,
    depth: Depth = "core",
    family: FamilyName = "httpx",
    trace: TextIO | None = None,
) -> Run:
    """Run a scenario once.

    The result is a function of the scenario's digest, the strategy, the seed and the depth. `core`
    and `client` model the same things and give the same trace. `wire` also models connections,
    which take a round trip to open, are kept, and stay open when a server refuses new ones.

    Args:
        scenario: the scenario.
        strategy: used instead of the scenario's (first) one.
        seed: of all random draws.
        depth: how much of the client is real.
        family: the HTTP client of the depths `client` and `wire`.
        trace: where to write one JSON line per request.

    Raises:
        SimulationError: the simulated program did something that cannot be simulated, or a check
            of the run itself failed.
    """
    if depth != "core":
        load(family)
    env = simpy.Environment(0.0)
    recorder = Recorder(duration=scenario.about.duration, warmup=scenario.about.warmup, trace=trace)
    convergence = Convergence(Bounds(scenario), warmup=scenario.about.warmup)
    world = World(env, scenario, seed=seed, recorder=recorder, convergence=convergence)
    chosen = strategy or scenario.strategies[0]
    execution = _Execution(world, chosen, depth, family)
    with rare_collections():
        simulated.run(execution.run(), env=env)
    return Run(
        scenario=scenario,
        strategy=chosen,
        seed=seed,
        depth=depth,
        recorder=recorder,
        convergence=convergence,
        events=execution.director.events,
        world=world,
        ended_at=env.now,
        in_flight_left=execution.in_flight_left,
    )


class _Execution:
    """Build a world, run it until its end, and close it."""

    def __init__(self, world: World, strategy: str, depth: Depth, family: FamilyName) -> None:
        self.world = world
        self.director = Director(world)
        self.in_flight_left = 0
        self._strategy = strategy
        self._depth = depth
        self._family: FamilyName = family
        self._services: list[Service] = []

    async def run(self) -> None:
        """Run the whole scenario."""
        world, scenario = self.world, self.world.scenario
        loop = asyncio.get_running_loop()
        for servers in scenario.service.groups():
            for _ in range(servers.count):
                world.add_server(servers, at_start=True)
        world.spawn(world.registry.sweep())
        for group in scenario.clients:
            for _ in range(group.count):
                self._add_client(group)
        self.director.start()
        await until(world.end)
        await self._finish_requests(loop)
        self.in_flight_left = sum(s.statistics().requests_in_flight for s in self._services)
        for client in world.clients:
            await client.aclose()
        await world.close()
        if world.failures:
            raise world.failures[0]

    async def _finish_requests(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the requests in flight: each ends by an answer or by its timeout."""
        recorder = self.world.recorder
        step = 2 * max(float(group.timeout) for group in self.world.scenario.clients)
        deadline = self.world.end + _LONGEST_REST_S / 2
        while recorder.in_flight and loop.time() < deadline:
            await until(loop.time() + step)

    def _add_client(self, group: Group) -> None:
        world = self.world
        place = Place("client", len(world.clients), group=group.name, zone=group.zone)
        seed = f"{world.seed}/client {place.index}"
        view_type = PolledView if world.registry.content.mode == "poll" else WatchedView
        view = view_type(world.registry, place, stream(seed, "registry"))
        arguments = dict(world.scenario.balancer_arguments)
        arguments["strategy"] = self._strategy
        carrier = probe_from(world, place)
        if "probe" in arguments:
            arguments["probe"] = replace(arguments["probe"], carrier=carrier)
        reconnect = reconnect_settings(arguments.get("reconnect"), by_default=True)
        arguments["reconnect"] = reconnect and replace(reconnect, carrier=carrier)
        client = self._make(group, place, view, arguments, seed)
        world.clients.append(client)
        world.spawn(self._start(client, group.start))

    def _make(
        self, group: Group, place: Place, view: PolledView, arguments: dict[str, Any], seed: str
    ) -> Client:
        world, rng = self.world, stream(seed, "balancer")
        discovery = world.scenario.discovery_settings
        if self._depth != "core":
            return HttpClient(
                world,
                place,
                group,
                seed=world.seed,
                inner=_INNER[self._depth],
                family=self._family,
                balancer={"registry": view, "discovery": discovery, "rng": rng, **arguments},
            )
        services = Services(
            Home.for_async(),
            view,
            policies=Policies(**arguments),
            settings=discovery,
            # As the transport does for each kind of clients: the same draws at every depth.
            rng=Random(rng.getrandbits(64)),
            on_removed=lambda _members: None,
        )
        return CoreClient(world, place, group, services, seed=world.seed)

    async def _start(self, client: Client, start: float) -> None:
        await until(start)
        client.start()
        while True:
            try:
                service = await client.open()
            except ClosedError:
                return
            except DiscoveryError:
                # Requests try again, and so does a process that waits until it is ready.
                continue
            break
        self._services.append(service)
        self._follow(client.place.index, service)

    def _follow(self, client: int, service: Service) -> None:
        convergence, env = self.world.convergence, self.world.env
        convergence.client_started(client)

        def note_view(_snapshot: Snapshot) -> None:
            # Instances that the client ejected itself, or whose probes failed, are in its view.
            held = [one.id for one in service.suspects() if reason_against(one) is None]
            convergence.view_changed(client, (*service.eligible(), *held), env.now)

        assert service.lease is not None
        service.lease.subscribe(note_view)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logger `trimtab` inside the block: in a simulation faults are expected."""
    logger = logging.getLogger("trimtab")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Run the cycle collector less often, until the end of the block.

    A run makes and drops many small objects beside a world that stays, in a process that may be
    large: scanning all of it over and over took up to a sixth of the time. Cycles are still found,
    some megabytes later. A collector that was switched off stays off.
    """
    before = gc.get_threshold()
    if before[0]:
        gc.set_threshold(*map(max, before, _GC_THRESHOLDS))
    try:
        yield
    finally:
        gc.set_threshold(*before)
