"""Many deadlines, most of which are moved before they are reached."""

from __future__ import annotations

import heapq

__all__ = ["Deadlines"]


class Deadlines:
    """Named points in time, soonest first. Knows no clock: whoever asks says what time it is.

    Made for heartbeats: moving a deadline further away is one dictionary write, because the
    heap keeps the old, earlier time and looks again when that is reached. Setting, clearing:
    O(1), or O(log n) for a deadline that comes nearer.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._queued: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, at: float) -> None:
        """Put a deadline at `at`, in seconds, replacing an earlier one of that name."""
        self._at[name] = at
        if name not in self._queued or at < self._queued[name]:
            self._push(name, at)

    def clear(self, name: str) -> None:
        """Forget a deadline; one that is not there is no error."""
        self._at.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def next_at(self) -> float | None:
        """Say when to look again: never later than the soonest deadline, at times earlier."""
        return self._heap[0][0] if self._heap else None

    def pop_expired(self, now: float) -> list[str]:
        """Take out all deadlines at or before `now`, soonest first."""
        expired = []
        while self._heap and self._heap[0][0] <= now:
            queued_at, name = heapq.heappop(self._heap)
            if self._queued.get(name) != queued_at:
                continue  # a nearer deadline of the same name took its place in the heap
            del self._queued[name]
            at = self._at.get(name)
            if at is None:
                continue
            if at > now:
                self._push(name, at)
            else:
                del self._at[name]
                expired.append(name)
        return expired

    def _push(self, name: str, at: float) -> None:
        self._queued[name] = at
        heapq.heappush(self._heap, (at, name))
