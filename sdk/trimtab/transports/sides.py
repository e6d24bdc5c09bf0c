"""The two sides of a transport: how each waits, makes inner transports and closes them."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from trimtab.background import close_soon
from trimtab.balancing import Services
from trimtab.balancing.drivers import Bell
from trimtab.discovery import Home
from trimtab.transports.connections import Ages, Connections
from trimtab.transports.hosts import OtherHosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trimtab.balancing import Policies, Service
    from trimtab.discovery import DiscoverySettings
    from trimtab.http import Family, Maker
    from trimtab.member import Member
    from trimtab.registries import Registry
    from trimtab.transports.hosts import EnvironmentProxies
    from trimtab.transports.options import Options
    from trimtab.transports.preparing import Addressing

__all__ = ["AsyncSide", "Side", "SideSettings", "SyncSide", "running_loop"]

logger = logging.getLogger("trimtab.transports")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideSettings:
    """The settings that all sides of one transport share; see `BalancedTransport`."""

    registry: str | Registry
    discovery: DiscoverySettings
    policies: Policies
    addressing: Addressing
    options: Options
    key_of: Callable[[Any], str | None] | None
    cost_of: Callable[[Any], float | None] | None
    maker: Maker
    proxies: EnvironmentProxies
    drain_timeout_s: float
    min_connections: int
    connection_max_age_s: float | None


class Side:
    """The services and connections of one transport for the sync or async clients of one family.

    Args:
        settings: see `SideSettings`.
        family: the clients' family.
        home: the event loop that keeps the lists.
        rng: seeds the services and the ages of connections.
        is_async: whether the clients are async.
    """

    def __init__(
        self, settings: SideSettings, family: Family, home: Home, *, rng: Random, is_async: bool
    ) -> None:
        settings.maker.prepare(family)
        self.settings = settings
        self.family = family
        self.home = home
        self.clock = home.clock
        self.services = Services(
            home,
            settings.registry,
            policies=settings.policies,
            settings=settings.discovery,
            rng=Random(rng.getrandbits(64)),
            on_removed=self._retire,
            prepare=self.prepare if settings.min_connections else None,
        )
        ages: Ages[Any] = Ages(
            settings.connection_max_age_s, clock=home.clock, rng=Random(rng.getrandbits(64))
        )
        make = partial(settings.maker.make, family, is_async=is_async)
        self.connections = Connections(make, self._close, ages)
        self.others = OtherHosts(family, settings.maker, settings.proxies, is_async=is_async)

    def end(self) -> None:
        """Let everything go when the transport was dropped; called from a finalizer.

        A response that is being read goes on: its connection is closed after it.
        """
        close_soon(self.home.loop, self.services.aclose)
        self.others.take()

    async def prepare(self, service: Service, member: Member) -> None:
        """Open connections to a member, for its next requests. Runs at home."""
        raise NotImplementedError

    @contextmanager
    def _opening(self, service: Service, member: Member) -> Iterator[Callable[[], Any]]:
        """Yield what opens a connection; an error of it ends the block, and is no one else's."""
        request = self.family.module.Request("GET", service.url or f"http://{service.name}/")
        reconnect = self.settings.policies.reconnect
        assert reconnect is not None
        inner = self.connections.use(member, member.instance)
        try:
            sent = self.settings.addressing.prepared(request, member.instance)
            yield partial(inner.transport.open, sent, timeout_s=reconnect.timeout_s)
        except Exception as error:  # noqa: BLE001 - requests meet it again, and tell their callers
            logger.debug("connecting to %s beforehand: %r", member.instance.address, error)
        finally:
            self.connections.give_back(inner, is_clean=True)

    def _retire(self, members: list[Member]) -> None:
        self.connections.retire(members)

    def _drain(self) -> bool:
        """Prepare for closing; return whether requests are still under way."""
        services, connections = self.services.all(), self.connections

        def is_idle() -> bool:
            return not connections.in_use and not any(each.under_way for each in services)

        def check() -> None:
            if is_idle():
                self._on_idle()

        connections.on_idle = check
        for service in services:
            service.drain(check)
        connections.settle()
        return not is_idle()

    def _close(self, transports: list[Any]) -> None:
        """Close transports that are not in use any more."""
        raise NotImplementedError

    def _on_idle(self) -> None:
        """Handle that no request is under way any more. Called in any thread."""
        raise NotImplementedError


class SyncSide(Side):
    """For sync clients: their lists are kept on the background's loop."""

    def __init__(self, settings: SideSettings, family: Family, *, rng: Random) -> None:
        self._idle = threading.Event()
        super().__init__(settings, family, Home.for_sync(), rng=rng, is_async=False)

    def close(self) -> None:
        """Drain, then close everything."""
        if self._drain():
            self._idle.wait(self.settings.drain_timeout_s)
        self.home.run_blocking(self.services.aclose())
        self._close([*self.connections.abandon(), *self.others.take()])

    async def prepare(self, service: Service, member: Member) -> None:
        """Open connections to a member, in a thread."""
        await asyncio.to_thread(self._prepare, service, member)

    def _prepare(self, service: Service, member: Member) -> None:
        with self._opening(service, member) as open_:
            for _ in range(self.settings.min_connections):
                open_()

    def _on_idle(self) -> None:
        self._idle.set()

    def _close(self, transports: list[Any]) -> None:
        for transport in transports:
            with _logged():
                transport.close()


class AsyncSide(Side):
    """For async clients: their lists are kept on their own asyncio loop.

    Under another library, the lists are kept on the background's loop.
    """

    def __init__(self, settings: SideSettings, family: Family, *, rng: Random) -> None:
        # Transports to close; under trio, the next request closes them.
        self.unclosed: list[Any] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = running_loop()
        self._idle: Bell | None = None
        super().__init__(settings, family, Home.for_async(), rng=rng, is_async=True)

    def is_over(self) -> bool:
        """Return whether the event loop of this side has ended."""
        return self._loop is not None and self._loop.is_closed()

    async def aclose(self) -> None:
        """Drain, then close everything. Any loop may call it; it runs on this side's own."""
        if self._loop is running_loop() or self._loop is None:
            await self._drain_and_close()
        elif self._loop.is_running():
            there = asyncio.run_coroutine_threadsafe(self._drain_and_close(), self._loop)
            await anyio.to_thread.run_sync(there.result, abandon_on_cancel=True)
        elif self.is_over():
            # It took its tasks along. Its connections end once nothing refers to them.
            self.home.hub.forget_ended()

    async def close_unused(self) -> None:
        """Close the transports that are not in use any more."""
        while self.unclosed:
            with _logged():
                await self.unclosed.pop().aclose()

    async def _drain_and_close(self) -> None:
        try:
            self._idle = Bell()
            if self._drain():
                await self._idle.wait(self.settings.drain_timeout_s)
            await self.home.run(self.services.aclose)
        finally:
            # If the caller is cancelled while it drains, the connections are closed at once.
            with anyio.CancelScope(shield=True):
                self.unclosed += [*self.connections.abandon(), *self.others.take()]
                await self.close_unused()
                if self._closing:
                    await asyncio.wait(self._closing)

    async def prepare(self, service: Service, member: Member) -> None:
        """Open connections to a member; under trio none, whose tasks cannot do that behind."""
        if self._loop is None:
            return
        with self._opening(service, member) as open_:
            for _ in range(self.settings.min_connections):
                await open_()

    def _on_idle(self) -> None:
        if self._idle is not None:
            self._idle.ring()

    def _close(self, transports: list[Any]) -> None:
        """Close on this side's own loop; under trio, with the next request."""
        self.unclosed += transports
        if self._loop is not None and not self._loop.is_closed():
            task = self._loop.create_task(self.close_unused())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running asyncio loop; None under another library."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@contextmanager
def _logged() -> Iterator[None]:
    """Log an error of closing a transport, and go on, so that the others are closed too."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - it may be a user's transport
        logger.warning(
            "closing a connection raised an error; the others are closed as usual: %r", error
        )
