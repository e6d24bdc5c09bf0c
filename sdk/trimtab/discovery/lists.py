"""The lists that one directory keeps on one event loop."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from trimtab.discovery.cache import ServiceCache
from trimtab.discovery.hub import Hub
from trimtab.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.discovery.hub import Lease, RegistryHold
    from trimtab.discovery.settings import DiscoverySettings, DiscoveryState
    from trimtab.instance import Instance, Snapshot
    from trimtab.registries import Registry

__all__ = ["Lists", "Watch"]


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
