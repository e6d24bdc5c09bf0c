"""The two sides of a transport: how each waits, makes inner transports and closes them."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from trimtab.discovery import Balancer, Home
from trimtab.errors import DiscoveryError
from trimtab.transports.ages import Ages
from trimtab.transports.connections import Connections
from trimtab.transports.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trimtab.discovery import Service
    from trimtab.http.families import Family
    from trimtab.instance import Instance
    from trimtab.member import Member
    from trimtab.transports.balanced import BalancedTransport

__all__ = ["AsyncSide", "SyncSide"]

logger = logging.getLogger("trimtab.transports")


class _Side:
    """One family's clients of one kind: their services, and their connections."""

    def __init__(
        self,
        owner: BalancedTransport,
        family: Family,
        home: Home,
        *,
        make: Callable[[Instance], Any],
    ) -> None:
        self.family = family
        self.home = home
        self.drain_timeout_s = owner.drain_timeout_s
        self._addressing = owner.addressing
        self.balancer = Balancer(
            home,
            owner.registry,
            policies=owner.policies,
            settings=owner.discovery,
            rng=Random(owner.rng.getrandbits(64)),
            on_removed=self._removed,
        )
        ages: Ages[Any] = Ages(
            owner.connection_max_age_s,
            clock=home.clock,
            rng=Random(owner.rng.getrandbits(64)),
        )
        self.connections = Connections(make, self._close, self._on_idle, ages)

    def services(self) -> list[Service]:
        """Return the services in use."""
        return self.balancer.services()

    def _begin(self, service: Service, request: Any, started_at: float) -> Exchange:
        return Exchange(
            service,
            request,
            family=self.family,
            connections=self.connections,
            started_at=started_at,
            addressing=self._addressing,
        )

    def _removed(self, members: list[Member]) -> None:
        self.connections.retire(members)

    def _close(self, transports: list[Any]) -> None:
        """Close transports that nothing uses."""
        raise NotImplementedError

    def _on_idle(self) -> None:
        """Take note that nothing is in use."""
        raise NotImplementedError


class SyncSide(_Side):
    """Sync clients: lists are kept on the background's loop."""

    def __init__(self, owner: BalancedTransport, family: Family) -> None:
        self._drained = threading.Event()
        make = partial(owner.maker.make, family, is_async=False)
        super().__init__(owner, family, Home.for_sync(), make=make)

    def exchange(self, request: Any, name: str) -> Exchange:
        """Begin a request; the first one of a service waits for its list."""
        started_at = self.home.clock()
        service = self.balancer.find(name)
        if service is None:
            try:
                service = self.home.run_blocking(self.balancer.open(name))
            except DiscoveryError as error:
                raise self.family.as_connect_error(error, request) from error
        return self._begin(service, request, started_at)

    def close(self) -> None:
        """Drain, then close everything."""
        self.home.run_blocking(self.balancer.aclose())
        self._drained.clear()
        self.connections.settle()
        if self.connections.in_use:
            self._drained.wait(self.drain_timeout_s)
        self._close(self.connections.abandon())

    def _on_idle(self) -> None:
        self._drained.set()

    def _close(self, transports: list[Any]) -> None:
        for transport in transports:
            with _told():
                transport.close()


class AsyncSide(_Side):
    """Async clients: lists are kept on their own asyncio loop; under trio, in the background."""

    def __init__(self, owner: BalancedTransport, family: Family) -> None:
        self._unclosed: list[Any] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = self.loop()
        self._drained: anyio.Event | None = None
        make = partial(owner.maker.make, family, is_async=True)
        super().__init__(owner, family, Home.for_async(), make=make)

    @staticmethod
    def loop() -> asyncio.AbstractEventLoop | None:
        """Return the running asyncio loop; None under another library."""
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    def is_over(self) -> bool:
        """Whether the loop that this side lives on has ended."""
        return self._loop is not None and self._loop.is_closed()

    async def exchange(self, request: Any, name: str) -> Exchange:
        """Begin a request; the first one of a service waits for its list."""
        if self._unclosed and self._loop is None:
            await self._close_all()
        started_at = self.home.clock()
        service = self.balancer.find(name)
        if service is None:
            try:
                service = await self.home.run(partial(self.balancer.open, name))
            except DiscoveryError as error:
                raise self.family.as_connect_error(error, request) from error
        return self._begin(service, request, started_at)

    async def aclose(self) -> None:
        """Drain, then close everything, on this side's own loop wherever this is called."""
        if self._loop is self.loop() or self._loop is None:
            await self._drain_and_close()
        elif self._loop.is_running():
            there = asyncio.run_coroutine_threadsafe(self._drain_and_close(), self._loop)
            await anyio.to_thread.run_sync(there.result, abandon_on_cancel=True)

    async def _drain_and_close(self) -> None:
        try:
            await self.home.run(self.balancer.aclose)
            self._drained = anyio.Event()
            self.connections.settle()
            if self.connections.in_use:
                with anyio.move_on_after(self.drain_timeout_s):
                    await self._drained.wait()
        finally:
            # Whoever is cancelled while draining has no more patience, and still no leak.
            with anyio.CancelScope(shield=True):
                self._unclosed += self.connections.abandon()
                await self._close_all()
                if self._closing:
                    await asyncio.wait(self._closing)

    def _on_idle(self) -> None:
        if self._drained is not None:
            self._drained.set()

    def _close(self, transports: list[Any]) -> None:
        """Close on this side's own loop; under trio, with the next request."""
        self._unclosed += transports
        if self._loop is not None and not self._loop.is_closed():
            task = self._loop.create_task(self._close_all())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close_all(self) -> None:
        while self._unclosed:
            with _told():
                await self._unclosed.pop().aclose()


@contextmanager
def _told() -> Iterator[None]:
    """Log that a transport does not close, and go on: it must keep nothing else from closing."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - it may be anybody's transport
        logger.warning("a connection did not close: %r", error)
