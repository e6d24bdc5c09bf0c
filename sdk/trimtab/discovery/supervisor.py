"""The supervisor: keeps one service's list fresh, whatever the registry does.

It owns everything that adapters do not: the last good list, what is let in of an answer, the
doubt about sudden losses, the list on disk, and who is told; `trimtab.discovery.reading` asks on
its behalf. One runs per registry and service; users hold it through `trimtab.discovery.hub`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from trimtab.discovery.admission import Admission
from trimtab.discovery.guard import LossGuard
from trimtab.discovery.reading import LASTING, Reader
from trimtab.discovery.settings import DiscoveryState
from trimtab.errors import (
    ClosedError,
    DiscoveryError,
    DiscoveryTimeoutError,
    RegistryAnswerError,
    RegistryError,
    RegistryUnavailableError,
)
from trimtab.instance import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab.discovery.last_known_good import LastKnownGood
    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.instance import Instance
    from trimtab.registries import Listing, Registry

__all__ = ["READS_AT_ONCE", "Supervisor"]

READS_AT_ONCE = 32
"""How many lists are read of one registry at a time; watches that have begun do not count."""

logger = logging.getLogger("trimtab.discovery")

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
        gate: asyncio.Semaphore | None = None,
    ) -> None:
        self.service = service
        self.snapshot: Snapshot | None = None
        self._registry = registry
        self._settings = settings
        self._reader = Reader(
            registry,
            service,
            settings,
            rng=rng,
            receiver=self,
            gate=gate or asyncio.Semaphore(READS_AT_ONCE),
        )
        self._admission = Admission(registry.url, service, settings)
        self._guard = LossGuard(settings.grace_s)
        self._held: int | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._store = store
        self._stored_at = 0.0
        self._failures = 0
        self._last_error: RegistryError | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._subscribers: list[Callable[[Snapshot], None]] = []

    # -- for users ---------------------------------------------------------------------------

    async def first(self, timeout_s: float | None) -> Snapshot:
        """Return the snapshot, once there is one.

        Raises:
            DiscoveryTimeoutError: none came within `timeout_s`, if that is given.
            DiscoveryError: the registry refuses, which waiting will not change.
            ClosedError: the service was let go meanwhile.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self.snapshot is None:
                    if self._ended:
                        raise ClosedError(f"service {self.service!r} was let go; call it again")
                    if isinstance(self._last_error, LASTING):
                        raise self.no_list(DiscoveryError, "there is no list of its instances")
                    changed = self._changed
                    await changed.wait()
        except TimeoutError:
            what = f"no list of its instances within {timeout_s:g} s"
            raise self.no_list(DiscoveryTimeoutError, what) from None
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

    def refresh(self) -> None:
        """Ask for a fresh list, since requests fail with this one; at most about once a second."""
        if self.snapshot is not None and not self._ended:
            self._reader.refresh()

    def no_list(self, kind: type[DiscoveryError], what: str) -> DiscoveryError:
        """Return the error that there is no list, with what the registry said last."""
        why = f"the last error was: {self._last_error}" if self._last_error else "it is silent"
        return kind(
            f"service {self.service!r}: {what} from {self._registry.url} ({why}); check that the "
            "registry runs and its URL, or keep a last-known-good list for cold starts",
            service=self.service,
        )

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
        fallback = asyncio.get_running_loop().call_later(half, self._fall_back, "does not answer")
        try:
            await self._reader.run()
        finally:
            fallback.cancel()
            self._stop_settling()
            # Its loop may have ended under its users, whom nothing then unsubscribes.
            self._subscribers.clear()
            self._ended = True
            self._wake()

    # -- what came; the reader calls these ---------------------------------------------------

    def take(self, listing: Listing) -> None:
        """Take an answer: let in what may be called, keep who was lost in doubt, tell who listens.

        Raises:
            RegistryAnswerError: it is refused as a whole; the list before stays in use.
        """
        instances = self._admission.admit(listing.instances)
        if self._failures:
            logger.info("service %r: %s answers again", self.service, self._registry.url)
        self._failures, self._last_error = 0, None
        if listing.reset:
            self._guard.alarm()
        if self.snapshot is None and not instances and self._settings.grace_s:
            self._fall_back("lists nothing")
        self._judge(
            Snapshot(
                service=self.service,
                instances=instances,
                version=listing.version,
                fetched_at=asyncio.get_running_loop().time(),
            )
        )

    def fail(self, error: Exception) -> None:
        """Note a failure; the list stays as it is, and the next answer is doubted."""
        self._guard.alarm()
        self._stop_settling()
        if not isinstance(error, RegistryError):
            logger.error("service %r: %s failed", self.service, self._registry.url, exc_info=error)
            error = RegistryUnavailableError(f"{type(error).__name__}: {error}")
        if not self._failures:
            kept = "the last list stays in use" if self.snapshot else "there is no list yet"
            logger.warning("service %r: %s; %s", self.service, error, kept)
        self._failures += 1
        self._last_error = error
        self._fall_back("does not answer")
        self._wake()

    def doubt(self) -> None:
        """Note that the next answer comes after trouble, which is no failure."""
        self._guard.alarm()

    def _judge(self, new: Snapshot) -> None:
        """Use a new list, as far as the guard believes it."""
        loop, before = asyncio.get_running_loop(), self.snapshot
        self._stop_settling()
        kept = self._guard.admit(before.instances if before else (), new.instances, loop.time())
        if before is not None and self._guard.release_at is not None:
            self._hold(before, kept, size=len(new.instances))
            return
        self._held = None
        if self._guard.settle_at is not None:
            self._settling = loop.call_at(self._guard.settle_at, self._judge, new)
        new = replace(new, instances=kept)
        changed = before is None or before.instances != kept
        self._store_list(new, changed=changed or before is None or before.source == "disk")
        self._publish(new, changed=changed)

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()

    def _hold(self, before: Snapshot, kept: tuple[Instance, ...], *, size: int) -> None:
        if self._held is None:
            logger.warning(
                "service %r: %s suddenly lists %d instances instead of %d, or some as critical; "
                "who was lost is held back in use for %g s, until that is confirmed",
                self.service,
                self._registry.url,
                size,
                len(before.instances),
                self._settings.grace_s,
            )
        self._held = size
        self._publish(replace(before, instances=kept), changed=before.instances != kept)
        self._reader.confirm(lambda: self._guard.release_at)

    def _fall_back(self, why: str) -> None:
        """Use the list on disk if there is none better."""
        if self.snapshot is not None or self._store is None:
            return
        loaded = self._store.load()
        if loaded is None:
            return
        instances, age_s = loaded
        try:
            instances = self._admission.admit(instances)
        except RegistryAnswerError as error:
            logger.warning("service %r: the list on disk is not used: %s", self.service, error)
            return
        logger.warning(
            "service %r: starting from the last known list, %.0f s old, since %s %s",
            self.service,
            age_s,
            self._registry.url,
            why,
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
