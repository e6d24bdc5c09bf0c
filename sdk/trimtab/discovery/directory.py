"""The list itself: every instance of a service with its status, and its changes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeVar

from trimtab.discovery.cache import ServiceCache
from trimtab.discovery.home import Home
from trimtab.discovery.settings import DiscoverySettings
from trimtab.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from types import TracebackType

    from trimtab.discovery.hub import Lease, RegistryHold
    from trimtab.discovery.settings import DiscoveryState
    from trimtab.instance import Instance, Snapshot
    from trimtab.registries import Registry

__all__ = ["Directory", "SyncDirectory"]

T = TypeVar("T")


class _Entry:
    """A service in the directory's cache."""

    def __init__(self, lease: Lease, now: float) -> None:
        self.lease = lease
        self.used_at = now


class Directory:
    """The instances of services, healthy and not, kept fresh in the background.

    For asyncio; `SyncDirectory` is the same for synchronous code. Shares its supervisors with all
    transports on the same loop that name the same registry with the same settings.

    Args:
        registry: a registry or its URL.
        settings: of discovery; the defaults otherwise.
        rng: seeds the supervisors started here.

    Example:
        async with Directory("consul://127.0.0.1:8500") as directory:
            for instance in await directory.instances("orders"):
                print(instance.address, instance.status)
    """

    def __init__(
        self,
        registry: str | Registry,
        *,
        settings: DiscoverySettings | None = None,
        rng: Random | None = None,
    ) -> None:
        self._registry = registry
        self._settings = settings or DiscoverySettings()
        self._rng = rng or Random()
        self._home: Home | None = None
        self._hold: RegistryHold | None = None
        self._entries: ServiceCache[_Entry] | None = None
        self._subscribed: list[Lease] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """Return every instance of a service, healthy and not, in the registry's order.

        Waits only for the first list of a service, up to `startup_timeout_s`.

        Raises:
            DiscoveryError: no first list can be had.
        """
        return (await self.snapshot(service)).instances

    async def snapshot(self, service: str) -> Snapshot:
        """Return the whole list with its version and time; see `instances`."""
        return await self._lease_of(service).first(self._settings.startup_timeout_s)

    async def services(self) -> list[str]:
        """Ask the registry for the names of its services, sorted.

        Raises:
            RegistryError: it does not answer, or cannot name them.
        """
        self._open()
        assert self._hold is not None
        return await self._hold.registry.services()

    async def state(self, service: str) -> DiscoveryState:
        """Return how fresh the list of a service is, and what stands in the way."""
        return self._lease_of(service).state()

    async def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """Yield the whole list, then again each time that it differs from the one before.

        A slow reader misses states in between, never the latest. Waits for the first list as
        long as it takes.
        """
        async with self._own_lease(service) as lease:
            latest: asyncio.Queue[Snapshot] = asyncio.Queue(maxsize=1)

            def put(snapshot: Snapshot) -> None:
                if latest.full():
                    latest.get_nowait()
                latest.put_nowait(snapshot)

            lease.subscribe(put)
            seen = None
            while True:
                snapshot = await latest.get()
                if snapshot.instances != seen:
                    seen = snapshot.instances
                    yield snapshot

    def on_change(self, service: str, callback: Callable[[Snapshot], None]) -> None:
        """Call `callback` on this loop with the list, now and on every change, until closed.

        It must not block. One that raises is logged and called again at the next change.
        """
        # Its own lease: the cache lets services go that nobody asks for.
        lease = self._new_lease(service)
        self._subscribed.append(lease)
        lease.subscribe(callback)

    async def aclose(self) -> None:
        """Let go of every service and of the registry. Again: nothing."""
        self._closed = True
        while self._subscribed:
            await self._subscribed.pop().aclose()
        if self._entries is not None:
            for name in list(self._entries):
                self._let_go(self._entries.pop(name))
        await asyncio.gather(*self._leaving)
        if self._hold is not None:
            hold, self._hold = self._hold, None
            await hold.aclose()

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    def _open(self) -> ServiceCache[_Entry]:
        if self._closed:
            raise ClosedError("the directory was closed; make a new one")
        if self._entries is None:
            self._home = Home.for_async()
            self._hold = self._home.hub.hold(self._registry)
            self._entries = ServiceCache(
                self._settings.max_services,
                self._settings.idle_s,
                clock=self._home.clock,
                let_go=self._let_go,
            )
        return self._entries

    def _lease_of(self, service: str) -> Lease:
        entries = self._open()
        entry = entries.use(service)
        if entry is None:
            assert self._home is not None
            entry = _Entry(self._new_lease(service), self._home.clock())
            entries.add(service, entry)
        return entry.lease

    def _new_lease(self, service: str) -> Lease:
        self._open()
        assert self._home is not None
        return self._home.hub.lease(
            self._registry, service, self._settings, rng=Random(self._rng.getrandbits(64))
        )

    @asynccontextmanager
    async def _own_lease(self, service: str) -> AsyncIterator[Lease]:
        # A watcher is a user for as long as it watches, however idle the directory is.
        lease = self._new_lease(service)
        try:
            yield lease
        finally:
            await lease.aclose()

    def _let_go(self, entry: _Entry) -> bool:
        task = asyncio.get_running_loop().create_task(entry.lease.aclose())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return True


class SyncDirectory:
    """`Directory` for synchronous code: the same calls, without await, from any thread."""

    def __init__(
        self,
        registry: str | Registry,
        *,
        settings: DiscoverySettings | None = None,
        rng: Random | None = None,
    ) -> None:
        self._home = Home.for_sync()
        self._directory = Directory(registry, settings=settings, rng=rng)

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Return every instance of a service; see `Directory.instances`."""
        return self._run(self._directory.instances(service))

    def snapshot(self, service: str) -> Snapshot:
        """Return the whole list; see `Directory.snapshot`."""
        return self._run(self._directory.snapshot(service))

    def services(self) -> list[str]:
        """Name the services; see `Directory.services`."""
        return self._run(self._directory.services())

    def state(self, service: str) -> DiscoveryState:
        """Return how fresh a list is; see `Directory.state`."""
        return self._run(self._directory.state(service))

    def watch(self, service: str) -> Iterator[Snapshot]:
        """Yield the whole list on every change; see `Directory.watch`."""
        snapshots = self._directory.watch(service)
        try:
            while True:
                yield self._run(_next(snapshots))
        finally:
            self._run(_close(snapshots))

    def on_change(self, service: str, callback: Callable[[Snapshot], None]) -> None:
        """Call `callback` on the background thread on every change; see `Directory.on_change`."""

        async def subscribe() -> None:
            self._directory.on_change(service, callback)

        self._run(subscribe())

    def close(self) -> None:
        """Let go of everything. Again: nothing."""
        self._run(self._directory.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._home.run_blocking(coroutine)


async def _next(snapshots: AsyncIterator[Snapshot]) -> Snapshot:
    return await anext(snapshots)


async def _close(snapshots: AsyncIterator[Snapshot]) -> None:
    await snapshots.aclose()  # type: ignore[attr-defined] # it is an async generator
