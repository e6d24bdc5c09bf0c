"""All services of one user: found by name, started at first use, let go when idle."""

from __future__ import annotations

import asyncio
import threading
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from trimtab.discovery.probing import ProbeRunner
from trimtab.discovery.service import Service
from trimtab.discovery.services import ServiceCache
from trimtab.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.discovery.home import Home
    from trimtab.discovery.policies import Policies
    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.health.probing import ProbeSettings
    from trimtab.member import Member
    from trimtab.registries import Registry

__all__ = ["Balancer"]


class Balancer:
    """Pools by service name over one registry, at one home.

    Args:
        home: the loop that keeps the lists.
        registry: a URL or an object.
        policies: how calls are balanced.
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
        self._sweeper: asyncio.TimerHandle | None = None
        self._probing: dict[Service, asyncio.Task[NoReturn]] = {}
        self._leaving: set[asyncio.Task[Any]] = set()
        self._closed = False

    def find(self, name: str) -> Service | None:
        """Return a service whose list is known, without waiting; None if it must be opened."""
        with self._lock:
            service = self._services.use(name)
        return service if service is not None and service.is_ready else None

    async def open(self, name: str) -> Service:
        """Return a service, started if need be, once its first list is known. Runs at home.

        Raises:
            DiscoveryError: no first list can be had; see `Supervisor.first`.
            ClosedError: the balancer was closed.
        """
        if self._closed:
            raise ClosedError(f"service {name!r}: its transport was closed; make a new one")
        with self._lock:
            service = self._services.use(name)
        if service is None:
            service = self._start(name)
        await service.lease.first(self._settings.startup_timeout_s)
        return service

    def services(self) -> list[Service]:
        """Return the services in use."""
        with self._lock:
            return [self._services[name] for name in self._services]

    async def aclose(self) -> None:
        """Let every service go. Runs at home; again: nothing."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        with self._lock:
            while self._services:
                self._services.popitem()
            self._services.expire()
        await asyncio.sleep(0)
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _start(self, name: str) -> Service:
        lease = self.home.hub.lease(
            self._registry, name, self._settings, rng=Random(self._rng.getrandbits(64))
        )
        service = Service(
            name,
            policies=self._policies,
            lease=lease,
            rng=Random(self._rng.getrandbits(64)),
            clock=self.home.clock,
            on_removed=self._on_removed,
        )
        with self._lock:
            self._services[name] = service
        if self._policies.probe is not None:
            self._probing[service] = self._probe(service, self._policies.probe)
        if self._sweeper is None:
            self._sweep()
        return service

    def _sweep(self) -> None:
        """Let idle services go even when nobody calls."""
        with self._lock:
            self._services.expire()
        self._sweeper = asyncio.get_running_loop().call_later(
            self._settings.idle_s / 2, self._sweep
        )

    def _let_go(self, service: Service) -> None:
        # Called under the lock, in whichever thread made room; the lease belongs to the home.
        self.home.soon(lambda: self._leave(service))

    def _probe(self, service: Service, settings: ProbeSettings) -> asyncio.Task[NoReturn]:
        def judge(id_: str, is_well: bool, _now: float, why: str) -> None:  # noqa: FBT001 - as Judge is
            service.probed(id_, is_well=is_well, why=why)

        runner = ProbeRunner(
            settings,
            members=service.suspects if settings.only_ejected else service.instances,
            judge=judge,
            rng=Random(self._rng.getrandbits(64)),
        )
        return asyncio.get_running_loop().create_task(runner.run(), name=f"probe {service.name}")

    def _leave(self, service: Service) -> None:
        service.empty()
        probing = self._probing.pop(service, None)
        if probing is not None:
            probing.cancel()
            self._linger(probing)
        self._linger(asyncio.get_running_loop().create_task(service.lease.aclose()))

    def _linger(self, task: asyncio.Task[Any]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
