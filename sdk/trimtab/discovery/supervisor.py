"""The supervisor: keeps one service's list fresh, whatever the registry does.

It owns everything that adapters do not: polling or following, backoff, the last good list, the
doubt about sudden losses, the list on disk, and who is told. One runs per registry and service;
users hold it through `trimtab.discovery.hub`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, NoReturn

from trimtab.discovery.guard import ShrinkGuard
from trimtab.discovery.state import DiscoveryState
from trimtab.errors import (
    ClosedError,
    DiscoveryError,
    DiscoveryTimeoutError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Snapshot
from trimtab.registries import WatchableRegistry
from trimtab.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab.discovery.last_known_good import LastKnownGood
    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.registries import Listing, Registry

__all__ = ["Supervisor"]

logger = logging.getLogger("trimtab.discovery")

_LASTING = (RegistryDeniedError, RegistryRequestError)
_LASTING_WAIT_S = 5.0
_CONFIRM_DISK_EVERY_S = 60.0


class Supervisor:
    """Keeps `snapshot` fresh on the loop that `run` is a task of.

    All methods belong to that loop. Subscribers are called there, with the new snapshot, only
    when the instances differ; one that raises is logged and does not harm the others.
    """

    def __init__(
        self,
        registry: Registry,
        service: str,
        settings: DiscoverySettings,
        *,
        rng: Random,
        store: LastKnownGood | None = None,
    ) -> None:
        self.service = service
        self.snapshot: Snapshot | None = None
        self._registry = registry
        self._settings = settings
        self._rng = rng
        self._store = store
        self._stored_at = 0.0
        self._guard = ShrinkGuard(settings.grace_s)
        self._held: int | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._failures = 0
        self._last_error: RegistryError | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._subscribers: list[Callable[[Snapshot], None]] = []

    # -- for users ---------------------------------------------------------------------------

    async def first(self, timeout_s: float) -> Snapshot:
        """Return the snapshot, once there is one.

        Raises:
            DiscoveryTimeoutError: none came within `timeout_s`.
            DiscoveryError: the registry refuses, which waiting will not change.
            ClosedError: the service was let go meanwhile.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self.snapshot is None:
                    if self._ended:
                        raise ClosedError(f"service {self.service!r} was let go; call it again")
                    if isinstance(self._last_error, _LASTING):
                        self._refuse(DiscoveryError, "there is no list of its instances")
                    changed = self._changed
                    await changed.wait()
        except TimeoutError:
            self._refuse(DiscoveryTimeoutError, f"no list of its instances within {timeout_s:g} s")
        return self.snapshot

    def subscribe(self, subscriber: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call `subscriber` with every new snapshot, the present one first; return the way out."""
        self._subscribers.append(subscriber)
        if self.snapshot is not None:
            self._tell_one(subscriber, self.snapshot)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def state(self, now: float) -> DiscoveryState:
        """Return how fresh the list is, and what stands in the way."""
        snapshot = self.snapshot
        return DiscoveryState(
            service=self.service,
            registry=self._registry.url,
            instances=len(snapshot.instances) if snapshot else None,
            age_s=now - snapshot.fetched_at if snapshot else None,
            source=snapshot.source if snapshot else "",
            failures=self._failures,
            last_error=str(self._last_error) if self._last_error else "",
            held=self._held,
        )

    # -- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the list fresh until cancelled."""
        half = self._settings.startup_timeout_s / 2
        fallback = asyncio.get_running_loop().call_later(half, self._fall_back)
        try:
            if isinstance(self._registry, WatchableRegistry):
                await self._follow(self._registry)
            else:
                await self._poll()
        finally:
            fallback.cancel()
            if self._confirming is not None:
                self._confirming.cancel()
            # Its loop may have ended under its users, whom nothing then unsubscribes.
            self._subscribers.clear()
            self._ended = True
            self._wake()

    async def _follow(self, registry: WatchableRegistry) -> None:
        backoff, time = self._backoff(), asyncio.get_running_loop().time
        while True:
            heard_at = math.inf
            try:
                # An adapter's generator is closed at once, and with it its connection.
                async with aclosing(registry.watch(self.service)) as listings:  # type: ignore[type-var]
                    async for listing in listings:
                        heard_at = min(heard_at, time())
                        self._take(listing)
                raise RegistryUnavailableError(f"{registry.url} ended the watch")  # noqa: TRY301
            except Exception as error:  # noqa: BLE001 - a bug in an adapter must not end discovery
                # A watch that breaks after its first word each time must not be begun in haste.
                if time() - heard_at > self._settings.backoff_max_s:
                    backoff.reset()
                await self._wait_after(error, backoff)

    async def _poll(self) -> None:
        backoff = self._backoff()
        # The first wait falls anywhere in the interval: clients that start together must not
        # ask together ever after (consul #9283, fabio #627).
        wait_s = self._settings.poll_interval_s * self._rng.random()
        while True:
            try:
                await self._fetch()
            except Exception as error:  # noqa: BLE001 - as above
                await self._wait_after(error, backoff)
                continue
            backoff.reset()
            await asyncio.sleep(wait_s)
            spread = self._settings.jitter_ratio * (2 * self._rng.random() - 1)
            wait_s = self._settings.poll_interval_s * (1 + spread)

    async def _fetch(self) -> None:
        timeout_s = self._settings.fetch_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                listing = await self._registry.fetch(self.service)
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{self._registry.url} gave no answer within {timeout_s:g} s"
            ) from None
        self._take(listing)

    async def _wait_after(self, error: Exception, backoff: Backoff) -> None:
        self._note(error)
        lasting = isinstance(error, _LASTING)
        await asyncio.sleep(backoff.next_s(at_least_s=_LASTING_WAIT_S if lasting else 0.0))

    async def _confirm(self) -> None:
        """Read a doubted list again once its grace is over, until it is believed or refuted."""
        loop, backoff = asyncio.get_running_loop(), self._backoff()
        while (release_at := self._guard.release_at) is not None:
            await asyncio.sleep(max(0.0, release_at - loop.time()))
            try:
                await self._fetch()
            except Exception as error:  # noqa: BLE001 - as above
                await self._wait_after(error, backoff)

    # -- what came ---------------------------------------------------------------------------

    def _take(self, listing: Listing) -> None:
        now = asyncio.get_running_loop().time()
        if self._failures:
            logger.info("service %r: %s answers again", self.service, self._registry.url)
        self._failures, self._last_error = 0, None
        before = self.snapshot
        size = len(listing.instances)
        if before is not None and not self._guard.admits(len(before.instances), size, now):
            self._hold(size)
            return
        self._held = None
        snapshot = Snapshot(
            service=self.service,
            instances=listing.instances,
            version=listing.version,
            fetched_at=now,
        )
        changed = before is None or before.instances != snapshot.instances
        self._store_list(snapshot, changed=changed or before is None or before.source == "disk")
        self._publish(snapshot, changed=changed)

    def _hold(self, size: int) -> None:
        if self._held is None:
            logger.warning(
                "service %r: %s now lists %d instances instead of %d; held back for %g s until "
                "confirmed",
                self.service,
                self._registry.url,
                size,
                len(self.snapshot.instances) if self.snapshot else 0,
                self._settings.grace_s,
            )
        self._held = size
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.get_running_loop().create_task(self._confirm())

    def _note(self, error: Exception) -> None:
        if not isinstance(error, RegistryError):
            logger.error("service %r: %s failed", self.service, self._registry.url, exc_info=error)
            error = RegistryUnavailableError(f"{type(error).__name__}: {error}")
        if not self._failures:
            kept = "the last list stays in use" if self.snapshot else "there is no list yet"
            logger.warning("service %r: %s; %s", self.service, error, kept)
        self._failures += 1
        self._last_error = error
        self._fall_back()
        self._wake()

    def _fall_back(self) -> None:
        """Use the list on disk if there is none better."""
        if self.snapshot is not None or self._store is None:
            return
        loaded = self._store.load()
        if loaded is None:
            return
        instances, age_s = loaded
        logger.warning(
            "service %r: starting from the last known list, %.0f s old, since %s does not answer",
            self.service,
            age_s,
            self._registry.url,
        )
        now = asyncio.get_running_loop().time()
        snapshot = Snapshot(
            service=self.service, instances=instances, fetched_at=now - age_s, source="disk"
        )
        self._publish(snapshot, changed=True)

    def _store_list(self, snapshot: Snapshot, *, changed: bool) -> None:
        if self._store is None:
            return
        if changed:
            self._store.save(snapshot.instances)
        elif snapshot.fetched_at - self._stored_at >= _CONFIRM_DISK_EVERY_S:
            self._store.confirm()
        else:
            return
        self._stored_at = snapshot.fetched_at

    def _publish(self, snapshot: Snapshot, *, changed: bool) -> None:
        self.snapshot = snapshot
        self._wake()
        if changed:
            for subscriber in tuple(self._subscribers):
                self._tell_one(subscriber, snapshot)

    def _tell_one(self, subscriber: Callable[[Snapshot], None], snapshot: Snapshot) -> None:
        try:
            subscriber(snapshot)
        except Exception:
            logger.exception("service %r: a subscriber failed", self.service)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _backoff(self) -> Backoff:
        return Backoff(
            self._rng, first_s=self._settings.backoff_first_s, max_s=self._settings.backoff_max_s
        )

    def _refuse(self, kind: type[DiscoveryError], what: str) -> NoReturn:
        why = f"the last error was: {self._last_error}" if self._last_error else "it is silent"
        raise kind(
            f"service {self.service!r}: {what} from {self._registry.url} ({why}); check that the "
            "registry runs and its URL, or keep a last-known-good list for cold starts",
            service=self.service,
        )
