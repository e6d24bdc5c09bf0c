"""All services of one user: found by name, started at first use, dropped when idle."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from trimtab.balancing.probes import ProbeRunner, Reconnects
from trimtab.balancing.service import Service
from trimtab.discovery import ServiceCache
from trimtab.errors import ClosedError
from trimtab.networks import NetworkPolicy
from trimtab.pool import together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trimtab.balancing.policies import Policies
    from trimtab.discovery import DiscoverySettings, DiscoveryState, Home, Lease
    from trimtab.health.probing import ProbeSettings
    from trimtab.member import Member
    from trimtab.pool import PoolStatistics
    from trimtab.registries import Registry

__all__ = ["Services", "state_of", "statistics_of"]


class Services:
    """Services by name over one registry, at one home. Any thread may call it.

    A service in `recent` that was used within `sure_s` will not be dropped now, so a request may
    take it from there, which costs least. Otherwise `get` returns it, and notes that it is in use.

    Args:
        home: the loop that keeps the lists.
        registry: a URL or an object.
        policies: how requests are balanced.
        settings: how lists are kept fresh.
        rng: seeds pools and supervisors; give a seeded one for repeatable runs.
        on_removed: called at home with members that left a list, so that their connections can
            be closed.
        prepare: opens connections to a member that joins a service's list, or that can be reached
            again, before requests are sent there. Runs at home; must not raise. None: not wanted;
            it needs `Policies.reconnect`.
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
        prepare: Callable[[Service, Member], Awaitable[None]] | None = None,
    ) -> None:
        self._prepare = prepare
        self.home = home
        self._registry = registry
        self._policies = policies
        self._settings = settings
        self._rng = rng
        self._on_removed = on_removed
        self._lock = threading.Lock()
        self._services: ServiceCache[Service] = ServiceCache(
            settings.max_services, settings.idle_s, clock=home.clock, release=self._release
        )
        self.recent: dict[str, Service] = {}
        self.sure_s = settings.idle_s / 10
        self._sweeper: asyncio.TimerHandle | None = None
        self._probing: dict[Service, asyncio.Task[NoReturn]] = {}
        self._closing: set[asyncio.Task[Any]] = set()
        self._closed = False

    def get(self, name: str) -> Service:
        """Return a service; start it at its first use. It may have no list yet.

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
                # From now on, the order of use must be exact.
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
        """Drop every service. Runs at home. A second call does nothing."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        with self._lock:
            services = self._services.kept()
            self._services.clear()
            self.recent.clear()
        for service in services:
            service.close()
            self._close_later(service)
        await asyncio.sleep(0)
        while self._closing:
            await asyncio.wait(self._closing)

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
        self._watch(service)
        return service, partial(self._start, service, probing_seed)

    def _watch(self, service: Service) -> None:
        settings = self._policies.reconnect
        if settings is not None:
            reconnects = Reconnects(
                settings,
                find=service.find,
                judge=service.connected,
                rng=Random(self._rng.getrandbits(64)),
                refusal_of=self._refusal_of(),
                prepare=partial(self._prepare_at, service) if self._prepare else None,
            )
            service.watch(reconnects, newcomers=self._prepare is not None)

    async def _prepare_at(self, service: Service, id_: str) -> None:
        member = service.member(id_)
        if member is not None and self._prepare is not None:
            await self._prepare(service, member)

    def _refusal_of(self) -> Callable[[str], str | None]:
        return NetworkPolicy(self._settings.allow_networks).refusal_of

    def _start(self, service: Service, probing_seed: int) -> None:
        """Start the background work of a service. Runs at home."""
        if self._closed:
            return
        if self._policies.probe is not None:
            self._probing[service] = self._probe(service, self._policies.probe, probing_seed)
        if self._sweeper is None:
            self._sweep()

    def _sweep(self) -> None:
        """Drop idle services, also when no request comes."""
        with self._lock:
            self._services.expire()
        self._sweeper = asyncio.get_running_loop().call_later(
            self._settings.idle_s / 2, self._sweep
        )

    def _release(self, service: Service) -> bool:
        # Called with the lock held, in any thread; the lease must be closed at home.
        if not service.let_go():
            return False
        self.recent.pop(service.name, None)
        self.home.soon(lambda: self._close_later(service))
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
            refusal_of=self._refusal_of(),
        )
        return asyncio.get_running_loop().create_task(runner.run(), name=f"probe {service.name}")

    def _close_later(self, service: Service) -> None:
        probing = self._probing.pop(service, None)
        if probing is not None:
            probing.cancel()
            self._await_later(probing)
        self._await_later(asyncio.get_running_loop().create_task(service.aclose()))

    def _await_later(self, task: asyncio.Task[Any]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def statistics_of(services: Iterable[Service]) -> dict[str, PoolStatistics]:
    """Return the figures by name; those of several services of one name are put together."""
    named: dict[str, list[PoolStatistics]] = {}
    for service in services:
        named.setdefault(service.name, []).append(service.statistics())
    return {name: together(figures) for name, figures in named.items()}


def state_of(services: Iterable[Service]) -> dict[str, DiscoveryState]:
    """Return how fresh the lists are, by name; of several of one name, that of the oldest list."""
    named: dict[str, DiscoveryState] = {}
    for service in services:
        state, before = service.state(), named.get(service.name)
        if before is None or _age_s(state) > _age_s(before):
            named[service.name] = state
    return named


def _age_s(state: DiscoveryState) -> float:
    return inf if state.age_s is None else state.age_s
