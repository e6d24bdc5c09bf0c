"""The lists that one user keeps on one event loop, bounded in number and in idle time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cachetools import Cache, TLRUCache

from trimtab.discovery.hub import Hub
from trimtab.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.discovery.hub import Lease, RegistryHold
    from trimtab.discovery.settings import DiscoverySettings, DiscoveryState
    from trimtab.instance import Instance, Snapshot
    from trimtab.registries import Registry

__all__ = ["Lists", "ServiceCache", "Watch"]


class Lists:
    """Keeps the lists of services that were asked for, until they are idle or this is closed.

    All methods belong to one event loop, the one on which the first of them is called.

    Args:
        registry: a registry or its URL.
        settings: of discovery.
        rng: seeds the supervisors that are started here.
    """

    def __init__(
        self, registry: str | Registry, settings: DiscoverySettings, *, rng: Random
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._rng = rng
        self._hub: Hub | None = None
        self._hold: RegistryHold | None = None
        self._entries: ServiceCache[_Entry] | None = None
        self._subscribed: list[Lease] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    def open(self) -> None:
        """Hold the registry, so that it stays open until this is closed.

        Raises:
            ClosedError: this was closed.
        """
        self._opened()

    async def snapshot(self, service: str) -> Snapshot:
        """Return the list of a service; wait only for the first one.

        Raises:
            DiscoveryError: no first list can be had.
            ClosedError: this was closed.
        """
        return await self._lease_of(service).first(self._settings.startup_timeout_s)

    async def services(self) -> list[str]:
        """Ask the registry for the names of its services, sorted.

        Raises:
            RegistryError: it does not answer, or cannot name them.
        """
        self._opened()
        assert self._hold is not None
        return await self._hold.registry.services()

    def state(self, service: str) -> DiscoveryState:
        """Return how fresh the list of a service is."""
        return self._lease_of(service).state()

    def watch(self, service: str) -> Watch:
        """Return a reader of the list; close it when it is not needed any more."""
        # With a lease of its own, it keeps the service in use, however idle the cache is.
        return Watch(self._new_lease(service))

    def on_change(self, service: str, callback: Callable[[Snapshot], None]) -> None:
        """Call `callback` with the list, now and on every change, until this is closed."""
        # A lease of its own: the cache drops services that are not asked for.
        lease = self._new_lease(service)
        self._subscribed.append(lease)
        lease.subscribe(callback)

    async def aclose(self) -> None:
        """Drop every service and the registry. A second call does nothing."""
        self._closed = True
        while self._subscribed:
            await self._subscribed.pop().aclose()
        if self._entries is not None:
            for name in list(self._entries):
                self._drop(self._entries.pop(name))
        await asyncio.gather(*self._leaving)
        if self._hold is not None:
            hold, self._hold = self._hold, None
            await hold.aclose()

    async def let_go(self) -> None:
        """Close it, since its user was dropped; not while there is a callback on changes."""
        if not self._subscribed:
            await self.aclose()

    def _opened(self) -> Hub:
        if self._closed:
            raise ClosedError("the directory was closed; make a new one")
        if self._hub is None:
            loop = asyncio.get_running_loop()
            self._hub = Hub.of(loop)
            self._hold = self._hub.hold(self._registry)
            self._entries = ServiceCache(
                self._settings.max_services,
                self._settings.idle_s,
                clock=loop.time,
                release=self._drop,
            )
        return self._hub

    def _lease_of(self, service: str) -> Lease:
        hub = self._opened()
        assert self._entries is not None
        entry = self._entries.use(service)
        if entry is None:
            entry = _Entry(self._new_lease(service), hub.loop.time())
            self._entries.add(service, entry)
        return entry.lease

    def _new_lease(self, service: str) -> Lease:
        rng = Random(self._rng.getrandbits(64))
        return self._opened().lease(self._registry, service, self._settings, rng=rng)

    def _drop(self, entry: _Entry) -> bool:
        task = asyncio.get_running_loop().create_task(entry.lease.aclose())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return True


class Watch:
    """One reader of a service's list: gives the latest list, and then each difference.

    A slow reader misses lists in between, never the latest.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._latest: asyncio.Queue[Snapshot] = asyncio.Queue(maxsize=1)
        self._seen: tuple[Instance, ...] | None = None
        lease.subscribe(self._put)

    async def next(self) -> Snapshot:
        """Return the list, as soon as it differs from the one returned before."""
        while True:
            snapshot = await self._latest.get()
            if snapshot.instances != self._seen:
                self._seen = snapshot.instances
                return snapshot

    async def aclose(self) -> None:
        """Stop reading. A second call does nothing."""
        await self._lease.aclose()

    def _put(self, snapshot: Snapshot) -> None:
        if self._latest.full():
            self._latest.get_nowait()
        self._latest.put_nowait(snapshot)


class _Entry:
    """A service in the cache."""

    def __init__(self, lease: Lease, now: float) -> None:
        self.lease = lease
        self.used_at = now


class Used(Protocol):
    """A value that knows when it was last used."""

    used_at: float


V = TypeVar("V", bound=Used)


class ServiceCache(TLRUCache[str, V]):
    """Services by name, bounded in number and in idle time.

    Services that were not used for `idle_s`, and the least recently used beyond `max_services`,
    are given to `release` and dropped. If `release` refuses, because the service is in use, it
    stays; so there may be more than `max_services` for a while.

    Args:
        max_services: how many at most.
        idle_s: seconds for which an unused service is kept.
        clock: seconds, monotonic.
        release: called with each value to drop; returns False if it is in use and must stay.
    """

    def __init__(
        self,
        max_services: int,
        idle_s: float,
        *,
        clock: Callable[[], float],
        release: Callable[[V], bool],
    ) -> None:
        super().__init__(inf, lambda _name, value, _now: value.used_at + idle_s, timer=clock)
        self._max_services = max_services
        self._idle_s = idle_s
        self._clock = clock
        self._release = release

    def use(self, name: str) -> V | None:
        """Return a service and note that it is in use, or None if it is not here."""
        try:
            value: V = self[name]
        except KeyError:
            self.expire()  # An idle service that must not be released stays.
            if name not in self:
                return None
            value = self[name]
        now = self._clock()
        # Moving the expiry costs more than looking up: a tenth of the time is exact enough.
        if now - value.used_at > self._idle_s / 10:
            value.used_at = now
            self[name] = value
        return value

    def kept(self) -> list[V]:
        """Return all services that are here, idle ones included. This does not count as a use."""
        return [Cache.__getitem__(self, name) for name in Cache.__iter__(self)]

    def add(self, name: str, value: V) -> None:
        """Add a new service; drop the least recently used ones to make room."""
        with suppress(KeyError):  # All others have expired.
            for _ in range(len(self)):
                if len(self) < self._max_services:
                    break
                self._drop(*self.popitem())
        self[name] = value

    def expire(self, time: float | None = None) -> Any:
        """Drop what has been idle for too long."""
        expired = super().expire(time)
        for name, value in expired or ():
            self._drop(name, value)
        return expired

    def _drop(self, name: str, value: V) -> None:
        if not self._release(value):
            value.used_at = self._clock()
            self[name] = value
