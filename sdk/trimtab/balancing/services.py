"""All services of one user: found by name, started at first use, let go when idle."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from trimtab.balancing.probes import ProbeRunner
from trimtab.balancing.service import Service
from trimtab.discovery import ServiceCache
from trimtab.errors import ClosedError
from trimtab.networks import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.balancing.policies import Policies
    from trimtab.discovery import DiscoverySettings, Home, Lease
    from trimtab.health.probing import ProbeSettings
    from trimtab.member import Member
    from trimtab.registries import Registry

__all__ = ["Services"]


class Services:
    """Services by name over one registry, at one home. Any thread may call it.

    A service in `recent` that was used within `sure_s` is not due to be let go: a request may take
    it from there, at no cost. Otherwise `get` returns it, and notes that it is in use.

    Args:
        home: the loop that keeps the lists.
        registry: a URL or an object.
        policies: how requests are balanced.
        settings: how lists are kept fresh.
        rng: seeds pools and supervisors; give a seeded one for repeatable runs.
        on_removed: called at home with members that left a list, so that their connections can
            be closed.
    """

    def __init__(
        self,
        home: Home,
        registry: str | Registry,
        *,
        policies: Policies,
        settings: DiscoverySettings,
        rng: Random,
        on_removed: Callable[[list[Member]], None],
    ) -> None:
        self.home = home
        self._registry = registry
        self._policies = policies
        self._settings = settings
        self._rng = rng
        self._on_removed = on_removed
        self._lock = threading.Lock()
        self._services: ServiceCache[Service] = ServiceCache(
            settings.max_services, settings.idle_s, clock=home.clock, let_go=self._let_go
        )
        self.recent: dict[str, Service] = {}
        self.sure_s = settings.idle_s / 10
        self._sweeper: asyncio.TimerHandle | None = None
        self._probing: dict[Service, asyncio.Task[NoReturn]] = {}
        self._leaving: set[asyncio.Task[Any]] = set()
        self._closed = False

    def get(self, name: str) -> Service:
        """Return a service, started if need be; its list may still be to come.

        Raises:
            ClosedError: this was closed.
        """
        start: Callable[[], None] | None = None
        with self._lock:
            service = self._services.use(name)
            if service is None:
                if self._closed:
                    raise ClosedError(f"service {name!r}: closed while the request began")
                service, start = self._new(name)
                self._services.add(name, service)
            if len(self._services) < self._settings.max_services:
                self.recent[name] = service
            else:
                # From now on it matters exactly which one was used last.
                self.recent.clear()
        if start is not None:
            self.home.do(start)
        return service

    async def open(self, name: str) -> Service:
        """Return a service whose list is known. Runs at home.

        Raises:
            DiscoveryError: no first list can be had; see `Supervisor.first`.
            ClosedError: this was closed.
        """
        service = self.get(name)
        await service.ready(self._settings.startup_timeout_s)
        return service

    def all(self) -> list[Service]:
        """Return the services in use."""
        with self._lock:
            return self._services.kept()

    async def aclose(self) -> None:
        """Let every service go. Runs at home. Again: nothing."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        with self._lock:
            services = self._services.kept()
            self._services.clear()
            self.recent.clear()
        for service in services:
            service.close()
            self._leave(service)
        await asyncio.sleep(0)
        while self._leaving:
            await asyncio.wait(self._leaving)

    def _new(self, name: str) -> tuple[Service, Callable[[], None]]:
        seeds = [self._rng.getrandbits(64) for _ in range(2)]
        probing_seed = self._rng.getrandbits(64) if self._policies.probe is not None else 0

        def take_lease() -> Lease:
            lease = self.home.hub.lease(self._registry, name, self._settings, rng=Random(seeds[0]))
            lease.vouch(service.answers_since)
            return lease

        service = Service(
            name,
            policies=self._policies,
            settings=self._settings,
            home=self.home,
            take_lease=take_lease,
            rng=Random(seeds[1]),
            on_removed=self._on_removed,
        )
        return service, partial(self._start, service, probing_seed)

    def _start(self, service: Service, probing_seed: int) -> None:
        """Run what goes on in the background of a service. Runs at home."""
        if self._closed:
            return
        if self._policies.probe is not None:
            self._probing[service] = self._probe(service, self._policies.probe, probing_seed)
        if self._sweeper is None:
            self._sweep()

    def _sweep(self) -> None:
        """Let idle services go even when no request comes."""
        with self._lock:
            self._services.expire()
        self._sweeper = asyncio.get_running_loop().call_later(
            self._settings.idle_s / 2, self._sweep
        )

    def _let_go(self, service: Service) -> bool:
        # Called under the lock, in the thread that made room; the lease belongs to the home.
        if not service.let_go():
            return False
        self.recent.pop(service.name, None)
        self.home.soon(lambda: self._leave(service))
        return True

    def _probe(
        self, service: Service, settings: ProbeSettings, seed: int
    ) -> asyncio.Task[NoReturn]:
        def judge(id_: str, is_well: bool, _now: float, why: str) -> None:  # noqa: FBT001 - as Judge is
            service.probed(id_, is_well=is_well, why=why)

        runner = ProbeRunner(
            settings,
            members=service.suspects if settings.only_ejected else service.instances,
            judge=judge,
            heard=service.heard,
            rng=Random(seed),
            refusal_of=NetworkPolicy(self._settings.allow_networks).refusal_of,
        )
        return asyncio.get_running_loop().create_task(runner.run(), name=f"probe {service.name}")

    def _leave(self, service: Service) -> None:
        probing = self._probing.pop(service, None)
        if probing is not None:
            probing.cancel()
            self._linger(probing)
        self._linger(asyncio.get_running_loop().create_task(service.aclose()))

    def _linger(self, task: asyncio.Task[Any]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
