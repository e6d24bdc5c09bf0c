"""The supervisor: keeps one service's list fresh, whatever the registry does.

It owns everything that adapters do not: the last good list, the checks of an answer, the doubt
about sudden losses, the list on disk, and the subscribers. `trimtab.discovery.reading` asks the
registry for it. One runs per registry and service; users hold it through `trimtab.discovery.hub`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from trimtab.calls import Backoff
from trimtab.discovery.guard import Admission, LossGuard
from trimtab.discovery.last_known_good import OffLoop
from trimtab.discovery.reading import LASTING, Reader, is_cancelled
from trimtab.discovery.settings import DiscoveryState
from trimtab.errors import (
    ClosedError,
    DiscoveryError,
    DiscoveryTimeoutError,
    RegistryAnswerError,
    RegistryError,
    RegistryUnavailableError,
)
from trimtab.instance import Snapshot, merge_addresses
from trimtab.registries.entries import Complaints

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab.discovery.last_known_good import Store
    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.discovery.spelling import Names
    from trimtab.instance import Instance
    from trimtab.registries import Listing, Registry

__all__ = ["READS_AT_ONCE", "Supervisor"]

READS_AT_ONCE = 32
"""How many lists are read of one registry at a time; watches that have begun do not count."""

logger = logging.getLogger("trimtab.discovery")

_CONFIRM_DISK_EVERY_S = 60.0
_MOST_MERGED_TOLD, _FEW, _SHOWN = 100, 10, 80
"""How many merged addresses are told, with how many ids, of how many characters."""
_LOAD_AT_MOST_S = 1.0
"""How long the first reading waits for the list on disk; a disk may hang."""


class Supervisor:
    """Keeps `snapshot` fresh on the loop that `run` is a task of.

    All methods belong to that loop. Subscribers are called there with the new snapshot, only when
    the instances differ. An error that one raises is logged, and the others are called as usual.
    """

    def __init__(
        self,
        registry: Registry,
        service: str,
        settings: DiscoverySettings,
        *,
        rng: Random,
        store: Store | None = None,
        gate: asyncio.Semaphore | None = None,
        names: Names | None = None,
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
            names=names,
        )
        self._admission = Admission(registry.url, service, settings)
        self._vouchers: list[Callable[[str, float], bool]] = []
        self._guard = LossGuard(
            settings.grace_s, doubt_max_s=settings.doubt_max_s, answers_since=self._answers_since
        )
        self._merged = Complaints()
        self._held: int | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._disk = OffLoop(store) if store is not None else None
        self._stored_at = 0.0
        self._on_disk: tuple[tuple[Instance, ...], float] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._backoff = Backoff(rng, first_s=settings.backoff_first_s, max_s=settings.backoff_max_s)
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
            ClosedError: the service was dropped meanwhile.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self.snapshot is None:
                    if self._ended:
                        raise ClosedError(f"service {self.service!r} was dropped; ask again")
                    if isinstance(self._last_error, LASTING):
                        raise self.no_list(DiscoveryError, "there is no list of its instances")
                    changed = self._changed
                    await changed.wait()
        except TimeoutError:
            what = f"no list of its instances within {timeout_s:g} s"
            raise self.no_list(DiscoveryTimeoutError, what) from None
        return self.snapshot

    def subscribe(self, subscriber: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call `subscriber` with every new snapshot, the present one first.

        Returns:
            a function that ends this; it may be called again.
        """
        self._subscribers.append(subscriber)
        if self.snapshot is not None:
            self._call(subscriber, self.snapshot)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def vouch(self, answers_since: Callable[[str, float], bool]) -> Callable[[], None]:
        """Ask `answers_since` whether an instance answers; return the way out.

        It takes an id and a moment of the loop's clock, and says whether that instance has answered
        well since then, to a request or a probe.
        """
        self._vouchers.append(answers_since)

        def withdraw() -> None:
            if answers_since in self._vouchers:
                self._vouchers.remove(answers_since)

        return withdraw

    def _answers_since(self, id_: str, moment: float) -> bool:
        return any(answers_since(id_, moment) for answers_since in self._vouchers)

    def refresh(self) -> None:
        """Ask for a fresh list, since requests fail with this one; at most about once a second."""
        if self.snapshot is not None and not self._ended:
            self._reader.refresh()

    def no_list(self, kind: type[DiscoveryError], what: str) -> DiscoveryError:
        """Return the error that there is no list, with the registry's last error."""
        why = (
            f"the last error was: {self._last_error}" if self._last_error else "it has not answered"
        )
        return kind(
            f"service {self.service!r}: {what} from {self._registry.url} ({why}); check that the "
            "registry runs and the URL is right, or keep a last-known-good list for cold starts",
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
        """Keep the list fresh until cancelled; nothing else ends it."""
        half = self._settings.startup_timeout_s / 2
        fallback = asyncio.get_running_loop().call_later(half, self._fall_back, "does not answer")
        try:
            await self._load_first()
            await self._read_for_ever()
        finally:
            fallback.cancel()
            self._stop_settling()
            # If the loop ends before its users do, they never unsubscribe.
            self._subscribers.clear()
            self._ended = True
            self._wake()
            if self._loading is not None:
                self._loading.cancel()
            if self._disk is not None:
                await self._disk.aclose()

    async def _read_for_ever(self) -> None:
        while True:
            try:
                await self._reader.run()
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                self._survive(error)
            await asyncio.sleep(self._backoff.next_s())

    def _survive(self, error: BaseException) -> None:
        """Note an unexpected error, whatever else fails meanwhile."""
        logger.error(
            "service %r: reading its list failed; it begins again", self.service, exc_info=error
        )
        try:
            self.fail(RegistryUnavailableError(type(error).__name__))
        except Exception:
            logger.exception("service %r: a failure could not be noted", self.service)

    # -- for the reader ----------------------------------------------------------------------

    def take(self, listing: Listing) -> None:
        """Take an answer: check it, keep instances whose loss is doubted, call the subscribers.

        Raises:
            RegistryAnswerError: it is refused as a whole; the list before stays in use.
        """
        instances = self._merge(self._admission.permitted(listing.instances))
        if self._failures:
            logger.info("service %r: %s answers again", self.service, self._registry.url)
        self._failures, self._last_error = 0, None
        if listing.reset:
            self._guard.alarm()
        if self.snapshot is None and not instances and self._settings.grace_s:
            self._fall_back("lists no instances")
        self._use(
            Snapshot(
                service=self.service,
                instances=instances,
                version=listing.version,
                fetched_at=asyncio.get_running_loop().time(),
            )
        )

    def fail(self, error: Exception) -> None:
        """Note a failure: the list stays as it is, and the next answer is doubted."""
        self._guard.alarm()
        self._stop_settling()
        self._last_error = self._known(error)
        if not self._failures:
            used = "there is no list yet"
            if self.snapshot is not None:
                used = f"the last list stays in use ({len(self.snapshot.instances)} instances)"
            logger.warning("service %r: %s; %s", self.service, self._last_error, used)
        self._failures += 1
        self._fall_back("does not answer")
        self._wake()

    def doubt(self) -> None:
        """Note trouble that is no failure: the next answer is doubted."""
        self._guard.alarm()

    def _known(self, error: Exception) -> RegistryError:
        """Return a registry error; an unexpected error counts as an unavailable registry."""
        if isinstance(error, RegistryError):
            return error
        logger.error(
            "service %r: reading from %s raised an unexpected error, which is a bug in its adapter",
            self.service,
            self._registry.url,
            exc_info=error,
        )
        return RegistryUnavailableError(_words_of(error))

    def _use(self, new: Snapshot) -> None:
        """Use a new list, and keep the instances whose loss the guard doubts."""
        loop, before = asyncio.get_running_loop(), self.snapshot
        self._stop_settling()
        in_use = before.instances if before else ()
        kept = self._guard.decide(in_use, new.instances, loop.time())
        if kept is not new.instances:
            # One that is kept may be listed again under another id.
            kept, _ = merge_addresses(kept, known={each.id for each in in_use})
        if before is not None and self._guard.release_at is not None:
            self._hold(before, kept, size=len(new.instances))
            return
        self._held = None
        if self._guard.settle_at is not None:
            self._settling = loop.call_at(self._guard.settle_at, self._use, new)
        new = replace(new, instances=kept)
        changed = before is None or before.instances != kept
        self._store_list(new, changed=changed or before is None or before.source == "disk")
        self._publish(new, changed=changed)

    def _merge(self, instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """Keep one instance per address, and say once which are merged."""
        before = self.snapshot.instances if self.snapshot else ()
        merged, groups = merge_addresses(instances, known={each.id for each in before})
        told = [
            f"{self._registry.url}: {self.service!r}: the instances "
            f"{', '.join(repr(each.id[:_SHOWN]) for each in group[:_FEW])} have one address, "
            f"{group[0].address}, and count as one"
            for group in groups[:_MOST_MERGED_TOLD]
        ]
        self._merged.about(self.service, tuple(told))
        return merged if groups else instances

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()

    def _hold(self, before: Snapshot, kept: tuple[Instance, ...], *, size: int) -> None:
        if self._held is None:
            logger.warning(
                "service %r: %s suddenly lists %d instances instead of %d, or lists some as "
                "critical; the lost instances stay in use for %g s, until a new read confirms it",
                self.service,
                self._registry.url,
                size,
                len(before.instances),
                self._settings.grace_s,
            )
        self._held = size
        self._publish(replace(before, instances=kept), changed=before.instances != kept)
        self._reader.confirm(lambda: self._guard.release_at)

    async def _load_first(self) -> None:
        """Load the list on disk before the first reading, unless the disk hangs."""
        self._load()
        if self._loading is not None:
            await asyncio.wait([self._loading], timeout=_LOAD_AT_MOST_S)

    def _load(self) -> None:
        """Load the list on disk, unless that is under way."""
        if self._disk is not None and (self._loading is None or self._loading.done()):
            self._loading = asyncio.get_running_loop().create_task(self._load_from(self._disk))

    async def _load_from(self, disk: OffLoop) -> None:
        try:
            loaded = await disk.load()
        except Exception:
            logger.exception("service %r: the list on disk cannot be read", self.service)
            return
        if loaded is not None:
            instances, age_s = loaded
            self._on_disk = instances, asyncio.get_running_loop().time() - age_s
            if self._failures:
                self._fall_back("does not answer")

    def _fall_back(self, why: str) -> None:
        """Use the list on disk if there is no list yet."""
        if self.snapshot is not None:
            return
        if self._on_disk is None:
            # Another process may have written it meanwhile.
            self._load()
            return
        instances, confirmed_at = self._on_disk
        try:
            instances = self._admission.permitted(instances)
        except RegistryAnswerError as error:
            self._on_disk = None
            logger.warning(
                "service %r: the list on disk is not used, so there is no list yet: %s",
                self.service,
                error,
            )
            return
        logger.warning(
            "service %r: the last known list from disk is in use (%d instances, %.0f s old), "
            "because %s %s",
            self.service,
            len(instances),
            asyncio.get_running_loop().time() - confirmed_at,
            self._registry.url,
            why,
        )
        snapshot = Snapshot(
            service=self.service, instances=instances, fetched_at=confirmed_at, source="disk"
        )
        self._publish(snapshot, changed=True)

    def _store_list(self, snapshot: Snapshot, *, changed: bool) -> None:
        if self._disk is None:
            return
        if changed:
            self._disk.save(snapshot.instances)
        elif snapshot.fetched_at - self._stored_at >= _CONFIRM_DISK_EVERY_S:
            self._disk.confirm()
        else:
            return
        self._stored_at = snapshot.fetched_at

    def _publish(self, snapshot: Snapshot, *, changed: bool) -> None:
        self.snapshot, self._on_disk = snapshot, None
        self._wake()
        if changed:
            for subscriber in tuple(self._subscribers):
                self._call(subscriber, snapshot)

    def _call(self, subscriber: Callable[[Snapshot], None], snapshot: Snapshot) -> None:
        try:
            subscriber(snapshot)
        except Exception:
            logger.exception("service %r: a subscriber to its list raised an error", self.service)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _words_of(error: BaseException) -> str:
    """Return an error's name and words; an adapter's own error may not even have words."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - see above
        return type(error).__name__
