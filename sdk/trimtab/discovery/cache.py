"""A bounded cache of services: so many at most, each dropped when it is idle."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cachetools import Cache, TLRUCache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ServiceCache"]


class Used(Protocol):
    """A value that knows when it was last used."""

    used_at: float


V = TypeVar("V", bound=Used)


class ServiceCache(TLRUCache[str, V]):
    """Services by name, bounded in number and in idle time.

    Services that were not used for `idle_s`, and the least recently used beyond `max_services`,
    are given to `release` and dropped. If `release` refuses, because the service is in use, it
    stays; so there may be more than `max_services` for a while.

    Args:
        max_services: how many at most.
        idle_s: seconds for which an unused service is kept.
        clock: seconds, monotonic.
        release: called with each value to drop; returns False if it is in use and must stay.
    """

    def __init__(
        self,
        max_services: int,
        idle_s: float,
        *,
        clock: Callable[[], float],
        release: Callable[[V], bool],
    ) -> None:
        super().__init__(inf, lambda _name, value, _now: value.used_at + idle_s, timer=clock)
        self._max_services = max_services
        self._idle_s = idle_s
        self._clock = clock
        self._release = release

    def use(self, name: str) -> V | None:
        """Return a service and note that it is in use, or None if it is not here."""
        try:
            value: V = self[name]
        except KeyError:
            self.expire()  # An idle service that must not be released stays.
            if name not in self:
                return None
            value = self[name]
        now = self._clock()
        # Moving the expiry costs more than looking up: a tenth of the time is exact enough.
        if now - value.used_at > self._idle_s / 10:
            value.used_at = now
            self[name] = value
        return value

    def kept(self) -> list[V]:
        """Return all services that are here, idle ones included. This does not count as a use."""
        return [Cache.__getitem__(self, name) for name in Cache.__iter__(self)]

    def add(self, name: str, value: V) -> None:
        """Add a new service; drop the least recently used ones to make room."""
        with suppress(KeyError):  # All others have expired.
            for _ in range(len(self)):
                if len(self) < self._max_services:
                    break
                self._drop(*self.popitem())
        self[name] = value

    def expire(self, time: float | None = None) -> Any:
        """Drop what has been idle for too long."""
        expired = super().expire(time)
        for name, value in expired or ():
            self._drop(name, value)
        return expired

    def _drop(self, name: str, value: V) -> None:
        if not self._release(value):
            value.used_at = self._clock()
            self[name] = value
