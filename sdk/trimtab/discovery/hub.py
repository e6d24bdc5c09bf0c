"""Share supervisors: one per registry and service on each event loop.

An asyncio program has its own loop. Synchronous programs, and those on other async libraries, use
the background loop of the process. So each program asks its registry once, however many clients
it has.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from trimtab.background import on_fork
from trimtab.discovery.last_known_good import LastKnownGood
from trimtab.discovery.spelling import Names
from trimtab.discovery.supervisor import READS_AT_ONCE, Supervisor
from trimtab.errors import ConfigurationError
from trimtab.registries import Registry, WatchableRegistry, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.discovery.settings import DiscoverySettings, DiscoveryState
    from trimtab.errors import DiscoveryError
    from trimtab.instance import Snapshot

__all__ = ["Hub", "Lease", "RegistryHold"]


class Hub:
    """The registries and supervisors in use on one event loop.

    Its methods belong to that loop; any thread may call the static ones.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._registries: dict[str, RegistryHold] = {}
        self._supervised: dict[tuple[str, str, DiscoverySettings], _Supervised] = {}

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop) -> Hub:
        """Return the hub of a loop; each loop has one."""
        hub = _hubs.get(loop)
        if hub is None:
            Hub.forget_ended()
            # Any thread may ask for a hub; two at the same time must get the same one.
            hub = _hubs.setdefault(loop, Hub(loop))
        return hub

    @staticmethod
    def forget_ended() -> None:
        """Let go of the hubs of loops that have ended, and so of what their users held.

        A hub refers to its loop, so the weak reference alone does not remove it.
        """
        for ended in [loop for ref in _hubs.keyrefs() if (loop := ref()) and loop.is_closed()]:
            _hubs.pop(ended, None)

    def hold(self, registry: str | Registry, *, mode: str = "auto") -> RegistryHold:
        """Hold a registry, by URL or as an object; all with the same key share the first one.

        A registry that was made here from a URL is closed with its last holder; a caller's own
        object is not.

        Raises:
            ConfigurationError: the mode is "push" and the registry cannot push, or the URL is
                wrong.
        """
        made = connect(registry) if isinstance(registry, str) else registry
        if mode == "push" and not isinstance(made, WatchableRegistry):
            raise ConfigurationError(
                f"{made.url} cannot push its changes, which mode='push' requires; set mode='poll', "
                "or 'auto', which polls such registries"
            )
        hold = self._registries.get(made.key)
        if hold is None:
            owned = isinstance(registry, str)
            hold = self._registries[made.key] = RegistryHold(self, made, owned=owned)
        hold.holders += 1
        return hold

    def lease(
        self,
        registry: str | Registry,
        service: str,
        settings: DiscoverySettings,
        *,
        rng: Random | None = None,
    ) -> Lease:
        """Hold the supervisor of a service; start it for its first user.

        `rng` seeds the supervisor if it is started here.
        """
        hold = self.hold(registry, mode=settings.mode)
        key = (hold.registry.key, service, settings)
        supervised = self._supervised.get(key)
        if supervised is None:
            supervised = _Supervised(hold, service, settings, rng or Random())
            self._supervised[key] = supervised
        supervised.leases += 1
        return Lease(self, key, supervised, hold)

    async def _end(self, key: tuple[str, str, DiscoverySettings], hold: RegistryHold) -> None:
        supervised = self._supervised[key]
        supervised.leases -= 1
        try:
            if supervised.leases == 0:
                del self._supervised[key]
                await supervised.stop()
        finally:
            await hold.aclose()


class RegistryHold:
    """One holder's share in a registry."""

    def __init__(self, hub: Hub, registry: Registry, *, owned: bool) -> None:
        self.registry = registry
        self.gate = asyncio.Semaphore(READS_AT_ONCE)
        self.names = Names(registry)
        self.holders = 0
        self._hub = hub
        self._owned = owned

    async def aclose(self) -> None:
        """Release it; the last holder closes a registry that the hub has made."""
        self.holders -= 1
        if self.holders == 0:
            del self._hub._registries[self.registry.key]  # noqa: SLF001 - one thing in two classes
            if self._owned:
                await self.registry.aclose()


class _Supervised:
    """A supervisor with the task that runs it."""

    def __init__(
        self, hold: RegistryHold, service: str, settings: DiscoverySettings, rng: Random
    ) -> None:
        store = None
        if settings.last_known_good is not None:
            store = LastKnownGood(
                settings.last_known_good,
                registry_key=hold.registry.key,
                registry_url=hold.registry.url,
                service=service,
                max_age_s=settings.max_age_s,
            )
        self.leases = 0
        self.supervisor = Supervisor(
            hold.registry, service, settings, rng=rng, store=store, gate=hold.gate, names=hold.names
        )
        self._task = asyncio.get_running_loop().create_task(
            self.supervisor.run(), name=f"trimtab supervisor of {service}"
        )

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class Lease:
    """One user's hold on a service's supervisor; close it to release the supervisor.

    Attributes:
        supervisor: keeps the list.
    """

    def __init__(
        self,
        hub: Hub,
        key: tuple[str, str, DiscoverySettings],
        supervised: _Supervised,
        hold: RegistryHold,
    ) -> None:
        self._hub = hub
        self._key = key
        self._hold = hold
        self.supervisor = supervised.supervisor
        self._unsubscribes: list[Callable[[], None]] = []
        self._closed = False

    @property
    def snapshot(self) -> Snapshot | None:
        """The present list, or None before the first."""
        return self.supervisor.snapshot

    async def first(self, timeout_s: float | None) -> Snapshot:
        """Return the list once there is one; see `Supervisor.first` for what it raises."""
        return await self.supervisor.first(timeout_s)

    def no_list(self, kind: type[DiscoveryError], what: str) -> DiscoveryError:
        """Return the error that there is no list; see `Supervisor.no_list`."""
        return self.supervisor.no_list(kind, what)

    def subscribe(self, subscriber: Callable[[Snapshot], None]) -> None:
        """Call `subscriber` on the hub's loop with each new list, until the lease is closed."""
        self._unsubscribes.append(self.supervisor.subscribe(subscriber))

    def vouch(self, answers_since: Callable[[str, float], bool]) -> None:
        """Vouch for instances that answer, until the lease ends; see `Supervisor.vouch`."""
        self._unsubscribes.append(self.supervisor.vouch(answers_since))

    def refresh(self) -> None:
        """Ask for a fresh list, since requests fail with this one; see `Supervisor.refresh`."""
        if not self._closed:
            self.supervisor.refresh()

    def state(self) -> DiscoveryState:
        """Return how fresh the list is."""
        return self.supervisor.state(self._hub.loop.time())

    async def aclose(self) -> None:
        """Release it; the last user stops the supervisor. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for unsubscribe in self._unsubscribes:
            unsubscribe()
        await self._hub._end(self._key, self._hold)  # noqa: SLF001 - one thing in two classes


_hubs: WeakKeyDictionary[Any, Hub] = WeakKeyDictionary()
on_fork(_hubs.clear)
