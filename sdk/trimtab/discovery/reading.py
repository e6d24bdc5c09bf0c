"""How a service's list is read: polled, or watched with a slow full read beside the watch.

It asks, limits the time, repeats and backs off. The supervisor decides what the answers mean. An
answer that arrives after a newer one is dropped, because a list must never go back in time.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Protocol

from trimtab.calls import Backoff
from trimtab.discovery.spelling import Names, Spelling
from trimtab.errors import (
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries import WatchableRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
    from random import Random
    from typing import TypeGuard

    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.registries import Listing, Registry

__all__ = ["LASTING", "Reader", "Receiver", "is_cancelled", "is_followed"]

logger = logging.getLogger("trimtab.discovery")

LASTING = (RegistryDeniedError, RegistryRequestError)
"""Errors that will probably not end by waiting."""
_LASTING_WAIT_S = 5.0
_REFRESH_EVERY_S = 1.0
"""The least time between two reads that failing requests ask for; by chance up to twice as much."""


class Receiver(Protocol):
    """Takes what the reader has read."""

    def take(self, listing: Listing) -> None:
        """Take an answer; raise a registry error to refuse it."""
        ...

    def fail(self, error: Exception) -> None:
        """Note that the registry gave no usable answer."""
        ...

    def doubt(self) -> None:
        """Note that the watch has lost its place; the list is still right."""
        ...


def is_followed(registry: Registry, settings: DiscoverySettings) -> TypeGuard[WatchableRegistry]:
    """Return whether the registry's changes are watched instead of polled."""
    return settings.mode != "poll" and isinstance(registry, WatchableRegistry)


def is_cancelled(error: BaseException) -> bool:
    """Say whether an error is the cancellation of the running task, and not an adapter's own."""
    return isinstance(error, asyncio.CancelledError) and _is_being_cancelled()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Reader:
    """Reads one service's list while `run` runs; all methods belong to its loop.

    `gate` limits how many lists are read of one registry at a time. Without it, a program that
    follows a thousand services would ask for all at once, and most answers would come too late.
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
        names: Names | None = None,
    ) -> None:
        self._registry = registry
        self._service = service
        self._spelling = Spelling(names or Names(registry), service)
        self._settings = settings
        self._rng = rng
        self._receiver = receiver
        self._gate = gate
        self._asked = self._newest = 0
        self._watched: Listing | None = None
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
        """Read again at the time that `release_at` returns, until it returns None."""
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
        # The first wait is anywhere in the interval: clients that start at the same time must not
        # ask at the same time from then on (consul #9283, fabio #627).
        interval_s = self._settings.poll_interval_s
        await self._repeat(self._read, interval_s, interval_s * self._rng.random())

    async def _repeat(
        self, read: Callable[[], Awaitable[None]], interval_s: float, wait_s: float
    ) -> None:
        """Read now, again after `wait_s`, and then in jittered intervals; sooner after failures."""
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
        """Ask for the whole list; return None if a newer one came meanwhile."""
        timeout_s = self._settings.fetch_timeout_s
        async with self._gate:
            self._asked += 1
            ticket = self._asked
            try:
                async with asyncio.timeout(timeout_s):
                    with self._as_a_failure():
                        listing = await self._fetch_by_name()
            except TimeoutError:
                raise RegistryUnavailableError(
                    f"{self._registry.url} gave no answer within {timeout_s:g} s"
                ) from None
        if ticket < self._newest:
            return None
        self._newest = ticket
        return listing

    async def _fetch_by_name(self) -> Listing:
        """Ask under the name that the registry knows; look for it where nothing is listed."""
        try:
            listing = await self._registry.fetch(self._spelling.name)
        except RegistryRequestError:
            if not await self._spelling.has_changed():
                raise
        else:
            if self._spelling.is_proven_by(listing) or not await self._spelling.has_changed():
                return listing
        return await self._registry.fetch(self._spelling.name)

    # -- the watch ---------------------------------------------------------------------------

    async def _follow(self, registry: WatchableRegistry) -> None:
        backoff, time = self._backoff(), asyncio.get_running_loop().time
        at_once = True
        while True:
            first_at = math.inf
            try:
                # An adapter's generator is closed at once, and with it its connection.
                async with (
                    asyncio.timeout(None) as self._watching,
                    aclosing(self._watch(registry)) as listings,
                ):
                    async for listing in listings:
                        first_at = min(first_at, time())
                        self._take_watched(listing)
                raise RegistryUnavailableError(f"{registry.url} ended the watch")  # noqa: TRY301
            except Exception as error:  # noqa: BLE001 - as above
                self._watched = None
                # A watch that breaks after its first list each time must not restart at once.
                if time() - first_at > self._settings.backoff_max_s:
                    backoff.reset()
                    at_once = True
                is_lost = isinstance(error, RegistryCursorLostError) or self._watching.expired()
                if is_lost and first_at < math.inf:
                    logger.info("service %r: the watch starts again: %s", self._service, error)
                    self._receiver.doubt()
                    await asyncio.sleep(0.0 if at_once else backoff.next_s())
                    at_once = False
                else:
                    await self._wait_after(error, backoff)

    async def _watch(self, registry: WatchableRegistry) -> AsyncGenerator[Listing, None]:
        """Watch; begin again where the registry has another spelling of the name."""
        has_changed = True
        while has_changed:
            has_changed = False
            try:
                async with aclosing(self._watch_name(registry)) as listings:
                    async for listing in listings:
                        is_proven = self._spelling.is_proven_by(listing)
                        has_changed = not is_proven and await self._has_other_name()
                        if has_changed:
                            break
                        yield listing
            except RegistryRequestError:
                has_changed = await self._has_other_name()
                if not has_changed:
                    raise

    async def _has_other_name(self) -> bool:
        async with self._gate, asyncio.timeout(self._settings.fetch_timeout_s):
            return await self._spelling.has_changed()

    async def _watch_name(self, registry: WatchableRegistry) -> AsyncGenerator[Listing, None]:
        """Watch under the present name; the first list is a full read like any other."""
        watch = registry.watch(self._spelling.name)
        async with aclosing(watch) as listings:  # type: ignore[type-var]
            async with self._gate:
                listing = await self._next(listings)
            while listing is not None:
                yield listing
                listing = await self._next(listings)

    async def _next(self, listings: AsyncIterator[Listing]) -> Listing | None:
        with self._as_a_failure():
            return await anext(listings, None)

    @contextmanager
    def _as_a_failure(self) -> Iterator[None]:
        """Turn a cancellation that is the adapter's own into a failure of the registry.

        One that is this task's is raised, also if a library below the adapter dropped it.
        """
        try:
            yield
            if _is_being_cancelled():
                raise asyncio.CancelledError  # noqa: TRY301 - it is this task's
        except asyncio.CancelledError as error:
            if is_cancelled(error):
                raise
            raise RegistryUnavailableError(f"{self._registry.url} cancelled its answer") from error

    def _take_watched(self, listing: Listing) -> None:
        # Every answer to an earlier question is older than this.
        self._asked += 1
        self._newest = self._asked
        self._watched = listing
        self._receiver.take(listing)

    # -- the safety net ----------------------------------------------------------------------

    async def _resync(self) -> None:
        # Spread over a whole interval, as polls are; a new watch does not need it at once.
        interval_s = self._settings.resync_interval_s
        await asyncio.sleep(interval_s * (0.5 + self._rng.random()))
        await self._repeat(self._compare, interval_s, interval_s)

    async def _compare(self) -> None:
        """Read the whole list; restart the watch if it does not show the same list in time."""
        listing = await self._fetch()
        if listing is None:
            return
        watched = self._watched
        if watched is None or _is_same(watched, listing):
            # It replaces a watch that is broken, or confirms that the list is still fresh.
            self._receiver.take(listing)
            return
        await asyncio.sleep(self._settings.fetch_timeout_s)
        if self._watched is not None and _is_same(self._watched, watched):
            logger.warning(
                "service %r: the watch of %s has missed a change; the last list stays in use while "
                "the watch starts again",
                self._service,
                self._registry.url,
            )
            self._watched = None
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
