"""The list itself: every instance of a service with its status, and its changes.

`Directory` is for asyncio and for synchronous code. Its lists belong to the event loop that uses
them (`lists`); synchronous code uses the background's loop.
"""

from __future__ import annotations

import asyncio
import threading
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet, finalize

from trimtab.background import background, close_soon, on_fork
from trimtab.discovery.lists import Lists
from trimtab.discovery.settings import DiscoverySettings
from trimtab.registries import check_registry, shown_url
from trimtab.strategies.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from types import TracebackType

    from trimtab.discovery.lists import Watch
    from trimtab.discovery.settings import DiscoveryState
    from trimtab.instance import Instance, Snapshot
    from trimtab.registries import Registry

__all__ = ["Directory", "SyncDirectory"]

T = TypeVar("T")


class Directory:
    """The instances of services, healthy and not, kept fresh in the background.

        async with Directory("consul://127.0.0.1:8500") as directory:
            for instance in await directory.instances("orders"):
                print(instance.address, instance.status)

    Synchronous code writes the same without async and await. Without a block, `sync()` returns
    what `with` gives:

        directory = Directory("consul://127.0.0.1:8500").sync()
        print(directory.instances("orders"))
        directory.close()

    Any thread and any asyncio loop may use it. Transports and directories on the same loop that
    name the same registry with the same settings share their lists. A forked child starts with
    no lists; callbacks stay with its parent. A directory that is dropped without being closed lets
    its lists go, unless `on_change` still uses them.

    Args:
        registry: a registry or its URL.
        settings: of discovery; the defaults otherwise.
        rng: the source of chance; give a seeded one for repeatable runs.

    Raises:
        ConfigurationError: an argument is wrong; found when made.
    """

    def __init__(
        self,
        registry: str | Registry,
        *,
        settings: DiscoverySettings | None = None,
        rng: Random | None = None,
    ) -> None:
        check_registry(registry)
        self._registry = registry
        self._settings = settings_of("settings", settings, DiscoverySettings)
        self._rng = rng or Random()
        self._is_seeded = rng is not None
        self._lock = threading.Lock()
        self._lists: dict[asyncio.AbstractEventLoop, Lists] = {}
        _directories.add(self)
        finalize(self, _end_all, self._lists).atexit = False

    def __repr__(self) -> str:
        return f"<Directory {shown_url(self._registry)}>"

    def sync(self) -> SyncDirectory:
        """Return this directory for synchronous code: the same calls, without await.

        For annotations, the result's type is `trimtab.discovery.SyncDirectory`.
        """
        return SyncDirectory(self, self._here)

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """Return every instance of a service, healthy and not, in the registry's order.

        Waits only for the first list of a service, up to `startup_timeout_s`.

        Raises:
            DiscoveryError: no first list can be had.
            ClosedError: the directory was closed.
        """
        return (await self.snapshot(service)).instances

    async def snapshot(self, service: str) -> Snapshot:
        """Return the whole list with its version and time; see `instances`."""
        return await self._here().snapshot(service)

    async def services(self) -> list[str]:
        """Ask the registry for the names of its services, sorted.

        Raises:
            RegistryError: it does not answer, or cannot name them.
        """
        return await self._here().services()

    async def state(self, service: str) -> DiscoveryState:
        """Return how fresh the list of a service is, and the last error."""
        return self._here().state(service)

    async def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """Yield the whole list, then again each time that it differs from the one before.

        A slow reader misses states in between, never the latest. Waits for the first list as
        long as it takes.
        """
        watch = self._here().watch(service)
        try:
            while True:
                yield await watch.next()
        finally:
            await watch.aclose()

    def on_change(self, service: str, callback: Callable[[Snapshot], None]) -> None:
        """Call `callback` on this loop with the list, now and on every change, until closed.

        It must not block. If it raises, the error is logged, and the next change calls it again.
        """
        self._here().on_change(service, callback)

    async def aclose(self) -> None:
        """Close what this event loop uses. A second call does nothing."""
        await self._here().aclose()

    def forget(self) -> None:
        """Start afresh in a forked child: lists and threads are the parent's."""
        self._lock = threading.Lock()
        self._lists.clear()
        if not self._is_seeded:
            self._rng.seed()

    def _here(self) -> Lists:
        """Return the lists of the running event loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"{self!r}: there is no asyncio event loop; synchronous code writes "
                "`with Directory(...) as directory`, or uses `directory.sync()`"
            ) from None
        lists = self._lists.get(loop)
        if lists is None:
            with self._lock:
                for ended in [each for each in self._lists if each.is_closed()]:
                    del self._lists[ended]
                lists = self._lists[loop] = Lists(self._registry, self._settings, rng=self._rng)
        return lists

    async def __aenter__(self) -> Self:
        self._here().open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    def __enter__(self) -> SyncDirectory:
        return self.sync().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.sync().close()


class SyncDirectory:
    """A `Directory` for synchronous code: the same calls, without await, from any thread.

    `with Directory(...) as directory` and `Directory(...).sync()` make one. Those of one
    directory share its lists: closing one closes them for all.
    """

    def __init__(self, directory: Directory, here: Callable[[], Lists]) -> None:
        self._directory = directory
        self._here = here

    def __repr__(self) -> str:
        return f"{self._directory!r}.sync()"

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Return every instance of a service; see `Directory.instances`."""
        return _run(self._directory.instances(service))

    def snapshot(self, service: str) -> Snapshot:
        """Return the whole list; see `Directory.snapshot`."""
        return _run(self._directory.snapshot(service))

    def services(self) -> list[str]:
        """Return the names of the services; see `Directory.services`."""
        return _run(self._directory.services())

    def state(self, service: str) -> DiscoveryState:
        """Return how fresh a list is; see `Directory.state`."""
        return _run(self._directory.state(service))

    def watch(self, service: str) -> Iterator[Snapshot]:
        """Yield the whole list on every change; see `Directory.watch`."""

        async def begin() -> Watch:
            return self._here().watch(service)

        place, watch = background(), _run(begin())
        try:
            while True:
                if place is not background():  # In a forked child, the watch is the parent's.
                    place, watch = background(), _run(begin())
                yield _run(watch.next())
        finally:
            if place is background() and not place.loop.is_closed():
                _run(watch.aclose())

    def on_change(self, service: str, callback: Callable[[Snapshot], None]) -> None:
        """Call `callback` on the background thread on every change; see `Directory.on_change`."""

        async def subscribe() -> None:
            self._here().on_change(service, callback)

        _run(subscribe())

    def close(self) -> None:
        """Close what synchronous code uses. A second call does nothing."""
        _run(self._directory.aclose())

    def __enter__(self) -> Self:
        _run(self._directory.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    return background().run(coroutine)


def _end_all(lists: dict[Any, Lists]) -> None:
    """Let the lists go of a directory that was dropped without being closed."""
    while lists:
        loop, each = lists.popitem()
        close_soon(loop, each.let_go)


_directories: WeakSet[Directory] = WeakSet()


def _forget_all() -> None:
    for directory in list(_directories):
        directory.forget()


on_fork(_forget_all)
