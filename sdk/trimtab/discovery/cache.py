"""The services that one user holds: bounded in number and in idle time."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cachetools import Cache, TLRUCache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ServiceCache"]


class Kept(Protocol):
    """A value that knows when it was last used."""

    used_at: float


K = TypeVar("K", bound=Kept)


class ServiceCache(TLRUCache[str, K]):
    """Services by name, bounded in number and in idle time.

    Those unused for `idle_s`, and the least recently used beyond `max_services`, go to `let_go`.
    One that `let_go` refuses, because it is in use, is kept; so there may be more for a while.

    Args:
        max_services: how many at most.
        idle_s: for how long an unused one is kept.
        clock: seconds, monotonic.
        let_go: called with each value that may leave; returns whether it left.
    """

    def __init__(
        self,
        max_services: int,
        idle_s: float,
        *,
        clock: Callable[[], float],
        let_go: Callable[[K], bool],
    ) -> None:
        super().__init__(inf, lambda _name, kept, _now: kept.used_at + idle_s, timer=clock)
        self._max_services = max_services
        self._idle_s = idle_s
        self._clock = clock
        self._let_go = let_go

    def use(self, name: str) -> K | None:
        """Return a service and note that it is in use, or None if it is not here."""
        try:
            kept: K = self[name]
        except KeyError:
            self.expire()  # One that is idle and yet in use stays.
            if name not in self:
                return None
            kept = self[name]
        now = self._clock()
        # Moving the expiry costs more than looking up: a tenth of the time is exact enough.
        if now - kept.used_at > self._idle_s / 10:
            kept.used_at = now
            self[name] = kept
        return kept

    def kept(self) -> list[K]:
        """Return all services that are here, idle ones included. This does not count as a use."""
        return [Cache.__getitem__(self, name) for name in Cache.__iter__(self)]

    def add(self, name: str, kept: K) -> None:
        """Keep a new service; the least recently used ones that are not in use make room."""
        with suppress(KeyError):  # All others have expired.
            for _ in range(len(self)):
                if len(self) < self._max_services:
                    break
                self._drop(*self.popitem())
        self[name] = kept

    def expire(self, time: float | None = None) -> Any:
        """Drop what has been idle for too long."""
        expired = super().expire(time)
        for name, kept in expired or ():
            self._drop(name, kept)
        return expired

    def _drop(self, name: str, kept: K) -> None:
        if not self._let_go(kept):
            kept.used_at = self._clock()
            self[name] = kept
