"""The services that one user holds: bounded in number and idle time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cachetools import TLRUCache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ServiceCache"]


class Kept(Protocol):
    """What can be kept: it says when it was last used."""

    used_at: float


K = TypeVar("K", bound=Kept)


class ServiceCache(TLRUCache[str, K]):
    """Services by name, bounded in number and in idle time.

    Those unused for `idle_s`, and the least recently used beyond `maxsize`, go to `let_go`.

    Args:
        maxsize: how many at most.
        idle_s: for how long an unused one is kept.
        clock: the pool's clock.
        let_go: called with each value that leaves, whatever the reason.
    """

    def __init__(
        self,
        maxsize: int,
        idle_s: float,
        *,
        clock: Callable[[], float],
        let_go: Callable[[K], None],
    ) -> None:
        super().__init__(maxsize, lambda _name, kept, _now: kept.used_at + idle_s, timer=clock)
        self._idle_s = idle_s
        self._clock = clock
        self._let_go = let_go

    def use(self, name: str) -> K | None:
        """Return a service and note that it is in use, or None if it is not here."""
        try:
            kept: K = self[name]
        except KeyError:
            return None
        now = self._clock()
        # Moving the expiry costs more than looking up: a tenth of the time is exact enough.
        if now - kept.used_at > self._idle_s / 10:
            kept.used_at = now
            self[name] = kept
        return kept

    def expire(self, time: float | None = None) -> Any:
        """Drop what has been idle for too long."""
        expired = super().expire(time)
        for _name, kept in expired or ():
            self._let_go(kept)
        return expired

    def popitem(self) -> tuple[str, K]:
        """Drop the least recently used."""
        name, kept = super().popitem()
        self._let_go(kept)
        return name, kept
