"""The world of one run: servers that register, clients that call, network and registry."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from trimtab import Instance
from trimtab.errors import RegistryError
from trimtab.registration import Registration, register
from trimtab_sim.events import call_at
from trimtab_sim.streams import KeyedUniforms, stream
from trimtab_sim.world.network import Network
from trimtab_sim.world.places import Place
from trimtab_sim.world.registry import RegistryModel, Writer
from trimtab_sim.world.servers import Draws, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    import simpy

    from trimtab_sim.convergence import Convergence
    from trimtab_sim.recorder import Recorder
    from trimtab_sim.scenario import Scenario
    from trimtab_sim.scenario.content import ServerGroup
    from trimtab_sim.world.clients import Client

__all__ = ["Runner", "World"]

_PORT = 8080


class Runner:
    """A server together with its registration.

    Attributes:
        registration: the SDK's, while the server runs.
        keeping: the task that registers it, until the registry accepts it.
        is_leaving: it deregisters, and will not come back.
        is_replaced: a replacement has begun.
    """

    def __init__(self, server: Server, group: ServerGroup) -> None:
        self.server = server
        self.group = group
        self.registration: Registration | None = None
        self.keeping: asyncio.Task[None] | None = None
        self.is_leaving = False
        self.is_replaced = False

    @property
    def is_available(self) -> bool:
        """Whether it runs and is not leaving."""
        return self.server.is_alive and not self.is_leaving


class World:
    """Everything of one run that is not the SDK, with the methods that change it.

    Attributes:
        env: the SimPy environment, with the one clock of the run.
        end: the virtual second after which no request begins.
        runners: all servers since the start, by index.
        clients: all clients, by index.
        by_address: the server that has an instance's address now.
        next_request: returns the id of a new request, counted from 0: the key of its draws.
        costs: the draws of the costs of requests, by their ids.
    """

    def __init__(
        self,
        env: simpy.Environment,
        scenario: Scenario,
        *,
        seed: int | str,
        recorder: Recorder,
        convergence: Convergence,
    ) -> None:
        self.env = env
        self.scenario = scenario
        self.seed = seed
        self.recorder = recorder
        self.convergence = convergence
        self.end = float(scenario.about.duration)
        self.service_name = scenario.service.name
        self.network = Network(scenario.network, seed)
        place = Place("registry", zone=scenario.registry.zone)
        self.registry = RegistryModel(env, self.network, scenario.registry, place, seed)
        self.runners: list[Runner] = []
        self.clients: list[Client] = []
        self._draws = Draws(seed)
        self.costs = KeyedUniforms(seed, "clients", "cost")
        self.by_address: dict[str, Server] = {}
        self.next_request: Callable[[], int] = count().__next__
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failures: list[BaseException] = []

    def route(self, instance: Instance) -> Server:
        """Return the server that has an instance's address now."""
        return self.by_address[instance.address]

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task; its failure fails the run."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel all tasks and registrations."""
        for runner in self.runners:
            if runner.registration is not None:
                runner.registration.abandon()
        for task in sorted(self._tasks, key=hash):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- servers -----------------------------------------------------------------------------

    def add_server(
        self, group: ServerGroup, *, at_start: bool = False, like: Instance | None = None
    ) -> Runner:
        """Start a server, which registers itself; `like` gives it a host and port."""
        service, index = self.scenario.service, len(self.runners)
        instance = Instance(
            id=f"s{index}",
            host=like.host if like else f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}",
            port=_PORT,
            weight=group.weight,
            zone=group.zone,
            priority=group.priority,
        )
        server = Server(
            self.env,
            self.network,
            instance,
            index=index,
            service=service,
            sampler=(group.time or service.time).sampler(),
            concurrency=group.concurrency or service.concurrency,
            draws=self._draws,
            is_warm=at_start,
        )
        runner = Runner(server, group)
        self.runners.append(runner)
        self.by_address[instance.address] = server
        if at_start:
            # Registered before the run starts; heartbeats have a random phase.
            self.registry.put(instance, is_old=True)
            self._note(runner, "add")
            rng = stream(self.seed, f"server {index}", "phase")
            phase_s = rng.random() * self.scenario.registry.heartbeat
        else:
            phase_s = 0.0
        self._keep_registered(runner, phase_s)
        return runner

    def crash(self, runner: Runner) -> None:
        """End a server's process and its heartbeats."""
        self._stop_heartbeats(runner)
        runner.server.crash()
        self._note(runner, "death")

    def restart(self, runner: Runner) -> None:
        """Restart a crashed server, which registers again; ignore one that runs or has left."""
        server = runner.server
        if server.is_running or runner.is_leaving:
            return
        server.start()
        if server.is_alive:
            self._keep_registered(runner)

    def vanish(self, runner: Runner, *, stays_registered: bool) -> None:
        """Take a server off the network."""
        runner.server.vanish(stays_registered=stays_registered)
        if not stays_registered:
            self._stop_heartbeats(runner)
            self._note(runner, "death")

    def reappear(self, runner: Runner, *, stays_registered: bool) -> None:
        """Undo `vanish`: the server is back with the requests inside it, and registers again."""
        server = runner.server
        was_alive = server.is_alive
        server.reappear(stays_registered=stays_registered)
        if runner.is_available and not was_alive:
            self._keep_registered(runner)

    def remove(self, runner: Runner, drain_s: float) -> None:
        """Make a server deregister, work on for `drain_s`, and stop."""
        runner.is_leaving = True
        registration, runner.registration = runner.registration, None
        self._stop_heartbeats(runner)
        if registration is not None:
            self.spawn(registration.stop())
        else:
            self.spawn(self._deregister(runner))
        self._note(runner, "remove")
        call_at(self.env, self.env.now + drain_s, lambda _step: runner.server.stop())

    def _note(self, runner: Runner, kind: str) -> None:
        instance = runner.server.instance
        # An instance of weight 0 takes no traffic and is in no view.
        self.convergence.truth_changed(instance.id, kind, self.env.now, is_seen=instance.weight > 0)

    def _keep_registered(self, runner: Runner, wait_s: float = 0.0) -> None:
        runner.keeping = self.spawn(self._register(runner, wait_s))

    def _stop_heartbeats(self, runner: Runner) -> None:
        """End the heartbeats, and cancel a registration that has not been sent yet."""
        if runner.keeping is not None:
            runner.keeping.cancel()
            runner.keeping = None
        if runner.registration is not None:
            runner.registration.abandon()
            runner.registration = None

    async def _register(self, runner: Runner, wait_s: float) -> None:
        """Register with the SDK's own registration, which lasts until the server ends."""
        await asyncio.sleep(wait_s)
        settings, writer = self.scenario.registry, self._writer(runner)
        registration = register(
            writer,
            self.service_name,
            runner.server.instance,
            ttl_s=settings.ttl,
            heartbeat_s=settings.heartbeat,
            rng=writer.rng,
        )
        await registration.start_persistently()
        runner.registration = registration

    async def _deregister(self, runner: Runner) -> None:
        """Deregister a server that was registered at the start and has sent no heartbeat yet."""
        # As in the SDK: if the registry cannot be reached, the lease lapses by itself.
        with suppress(RegistryError):
            await self._writer(runner).deregister(self.service_name, runner.server.instance)

    def _writer(self, runner: Runner) -> Writer:
        place = runner.server.place
        rng = stream(self.seed, f"server {place.index}", "registration")
        return Writer(self.registry, place, rng, on_taken=lambda: self._note(runner, "add"))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)
