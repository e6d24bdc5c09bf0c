"""How a service's list is read: polled, or followed with a slow full read beside the watch.

It asks, bounds, repeats and backs off; what the answers mean is the supervisor's business. An
answer that was overtaken by a newer one is dropped, since a list must never go back in time.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from trimtab.calls import Backoff
from trimtab.errors import (
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries import WatchableRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from random import Random
    from typing import TypeGuard

    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.registries import Listing, Registry

__all__ = ["LASTING", "Reader", "Receiver", "is_followed"]

logger = logging.getLogger("trimtab.discovery")

LASTING = (RegistryDeniedError, RegistryRequestError)
"""Errors that waiting will hardly change."""
_LASTING_WAIT_S = 5.0
_REFRESH_EVERY_S = 1.0
"""The least time between two reads that failing requests ask for; by chance up to twice as much."""


class Receiver(Protocol):
    """Who is told what was read."""

    def take(self, listing: Listing) -> None:
        """Take an answer; raise a registry error to refuse it."""
        ...

    def fail(self, error: Exception) -> None:
        """Take note that the registry gave no answer, or none that can be used."""
        ...

    def doubt(self) -> None:
        """Take note that the watch has lost its place, without harm so far."""
        ...


def is_followed(registry: Registry, settings: DiscoverySettings) -> TypeGuard[WatchableRegistry]:
    """Say whether the registry's changes are followed, rather than asked for."""
    return settings.mode != "poll" and isinstance(registry, WatchableRegistry)


class Reader:
    """Reads one service's list for as long as `run` runs; all on that loop.

    `gate` bounds how many lists are being read of one registry at a time: a program that follows
    a thousand services would else ask for all in one moment, and wait for none long enough.
    """

    def __init__(
        self,
        registry: Registry,
        service: str,
        settings: DiscoverySettings,
        *,
        rng: Random,
        receiver: Receiver,
        gate: asyncio.Semaphore,
    ) -> None:
        self._registry = registry
        self._service = service
        self._settings = settings
        self._rng = rng
        self._receiver = receiver
        self._gate = gate
        self._asked = self._newest = 0
        self._heard: Listing | None = None
        self._watching = asyncio.timeout(None)
        self._tasks: asyncio.TaskGroup | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._refresh_at = -math.inf

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            if is_followed(self._registry, self._settings):
                if self._settings.resync_interval_s:
                    self._tasks.create_task(self._resync())
                await self._follow(self._registry)
            else:
                await self._poll()

    def confirm(self, release_at: Callable[[], float | None]) -> None:
        """Read again at the moment that `release_at` names, until it names none."""
        assert self._tasks is not None
        if self._confirming is None or self._confirming.done():
            self._confirming = self._tasks.create_task(self._confirm(release_at))

    def refresh(self) -> None:
        """Read the list once more now, unless that was done a moment ago or is under way."""
        now = asyncio.get_running_loop().time()
        is_reading = self._refreshing is not None and not self._refreshing.done()
        if self._tasks is None or is_reading or now < self._refresh_at:
            return
        self._refresh_at = now + _REFRESH_EVERY_S * (1 + self._rng.random())
        self._refreshing = self._tasks.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            await self._read()
        except Exception as error:  # noqa: BLE001 - a bug in an adapter must not end discovery
            self._receiver.fail(error)

    async def _confirm(self, release_at: Callable[[], float | None]) -> None:
        loop, backoff = asyncio.get_running_loop(), self._backoff()
        while (moment := release_at()) is not None:
            await asyncio.sleep(max(0.0, moment - loop.time()))
            try:
                await self._read()
            except Exception as error:  # noqa: BLE001 - a bug in an adapter must not end discovery
                await self._wait_after(error, backoff)

    # -- polls -------------------------------------------------------------------------------

    async def _poll(self) -> None:
        # The first wait falls anywhere in the interval: clients that start together must not
        # ask together ever after (consul #9283, fabio #627).
        interval_s = self._settings.poll_interval_s
        await self._repeat(self._read, interval_s, interval_s * self._rng.random())

    async def _repeat(
        self, read: Callable[[], Awaitable[None]], interval_s: float, wait_s: float
    ) -> None:
        """Read now, `wait_s` later, and then in jittered intervals; sooner while it fails."""
        backoff = self._backoff()
        while True:
            try:
                await read()
            except Exception as error:  # noqa: BLE001 - as above
                await self._wait_after(error, backoff)
                continue
            backoff.reset()
            await asyncio.sleep(wait_s)
            spread = self._settings.jitter_ratio * (2 * self._rng.random() - 1)
            wait_s = interval_s * (1 + spread)

    async def _read(self) -> None:
        listing = await self._fetch()
        if listing is not None:
            self._receiver.take(listing)

    async def _fetch(self) -> Listing | None:
        """Ask for the whole list; None if a newer one came meanwhile."""
        timeout_s = self._settings.fetch_timeout_s
        async with self._gate:
            self._asked += 1
            ticket = self._asked
            try:
                async with asyncio.timeout(timeout_s):
                    listing = await self._registry.fetch(self._service)
            except TimeoutError:
                raise RegistryUnavailableError(
                    f"{self._registry.url} gave no answer within {timeout_s:g} s"
                ) from None
        if ticket < self._newest:
            return None
        self._newest = ticket
        return listing

    # -- the watch ---------------------------------------------------------------------------

    async def _follow(self, registry: WatchableRegistry) -> None:
        backoff, time = self._backoff(), asyncio.get_running_loop().time
        may_hurry = True
        while True:
            heard_at = math.inf
            try:
                # An adapter's generator is closed at once, and with it its connection.
                async with (
                    asyncio.timeout(None) as self._watching,
                    aclosing(self._watch(registry)) as listings,
                ):
                    async for listing in listings:
                        heard_at = min(heard_at, time())
                        self._hear(listing)
                raise RegistryUnavailableError(f"{registry.url} ended the watch")  # noqa: TRY301
            except Exception as error:  # noqa: BLE001 - as above
                self._heard = None
                # A watch that breaks after its first word each time must not be begun in haste.
                if time() - heard_at > self._settings.backoff_max_s:
                    backoff.reset()
                    may_hurry = True
                is_lost = isinstance(error, RegistryCursorLostError) or self._watching.expired()
                if is_lost and heard_at < math.inf:
                    logger.info("service %r: reading it all again: %s", self._service, error)
                    self._receiver.doubt()
                    await asyncio.sleep(0.0 if may_hurry else backoff.next_s())
                    may_hurry = False
                else:
                    await self._wait_after(error, backoff)

    async def _watch(self, registry: WatchableRegistry) -> AsyncGenerator[Listing, None]:
        """Watch; the first list is a full read like any other."""
        async with aclosing(registry.watch(self._service)) as listings:  # type: ignore[type-var]
            async with self._gate:
                first = await anext(listings, None)
            if first is not None:
                yield first
            async for listing in listings:
                yield listing

    def _hear(self, listing: Listing) -> None:
        # Whatever was asked before is older than this.
        self._asked += 1
        self._newest = self._asked
        self._heard = listing
        self._receiver.take(listing)

    # -- the safety net ----------------------------------------------------------------------

    async def _resync(self) -> None:
        # Spread over a whole interval, as polls are; and a new watch needs no help at once.
        interval_s = self._settings.resync_interval_s
        await asyncio.sleep(interval_s * (0.5 + self._rng.random()))
        await self._repeat(self._compare, interval_s, interval_s)

    async def _compare(self) -> None:
        """Read the whole list; begin the watch anew if it does not come to say the same."""
        listing = await self._fetch()
        if listing is None:
            return
        heard = self._heard
        if heard is None or _is_same(heard, listing):
            # It stands in for a watch that is broken, or says that the list is still fresh.
            self._receiver.take(listing)
            return
        await asyncio.sleep(self._settings.fetch_timeout_s)
        if self._heard is not None and _is_same(self._heard, heard):
            logger.warning(
                "service %r: the watch of %s has missed a change; beginning it anew",
                self._service,
                self._registry.url,
            )
            self._heard = None
            self._watching.reschedule(asyncio.get_running_loop().time())

    # -- waiting -----------------------------------------------------------------------------

    async def _wait_after(self, error: Exception, backoff: Backoff) -> None:
        self._receiver.fail(error)
        lasting = isinstance(error, LASTING)
        await asyncio.sleep(backoff.next_s(at_least_s=_LASTING_WAIT_S if lasting else 0.0))

    def _backoff(self) -> Backoff:
        return Backoff(
            self._rng, first_s=self._settings.backoff_first_s, max_s=self._settings.backoff_max_s
        )


def _is_same(one: Listing, other: Listing) -> bool:
    if one.instances == other.instances:
        return True
    return {each.id: each for each in one.instances} == {each.id: each for each in other.instances}
