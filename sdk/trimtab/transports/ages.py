"""How old a connection may grow: keep-alive must pin neither traffic nor a stale DNS answer.

Source: gRPC A9, "Server-side Connection Management": a maximum age with a jitter of plus or minus
10 %, lest all connections that were made in one moment end in one moment. Deviations: here it is
the client who counts, and the age is that of an instance's whole set of connections, counted
from the first of them, so none of them is ever older.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["Ages"]

T = TypeVar("T")

JITTER_RATIO = 0.1


class Ages(Generic[T]):
    """Tells whose time has come. O(log n) to begin, O(1) to ask. Not thread-safe, but `is_due`.

    Args:
        max_age_s: seconds, above 0; each age is drawn evenly from 10 % below to 10 % above.
            None lets everything live for ever.
        clock: seconds, monotonic.
        rng: the source of chance.
    """

    def __init__(self, max_age_s: float | None, *, clock: Callable[[], float], rng: Random) -> None:
        self._max_age_s = max_age_s
        self._clock = clock
        self._rng = rng
        # With a number, for things of one moment cannot be compared.
        self._ends: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._next = float("inf")

    def begin(self, thing: T) -> None:
        """Note that a thing is new."""
        if self._max_age_s is None:
            return
        factor = self._rng.uniform(1 - JITTER_RATIO, 1 + JITTER_RATIO)
        end = self._clock() + self._max_age_s * factor
        heappush(self._ends, (end, next(self._numbers), thing))
        self._next = self._ends[0][0]

    def is_due(self) -> bool:
        """Say whether `over` would give something."""
        return self._clock() >= self._next

    def over(self) -> list[T]:
        """Return the things whose time has come, each once, the oldest first."""
        now, over = self._clock(), []
        while self._ends and self._ends[0][0] <= now:
            over.append(heappop(self._ends)[2])
        self._next = self._ends[0][0] if self._ends else float("inf")
        return over
