"""How many retries a client may add to its requests.

Source: Finagle `RetryBudget`: 20 % of the requests plus 10 per second, over a window of 10 s.
"""

from __future__ import annotations

__all__ = ["RetryBudget"]

_SLICES = 10


class RetryBudget:
    """Counts requests and retries in a sliding window of ten slices. O(1) per call.

    Args:
        ratio: retries allowed per request, 0 or more; 0.2 is 20 %.
        min_per_s: retries allowed per second whatever the traffic, for small clients.
        window_s: how long requests and retries are remembered.
    """

    def __init__(
        self, *, ratio: float = 0.2, min_per_s: float = 10.0, window_s: float = 10.0
    ) -> None:
        self._ratio = ratio
        self._reserve = min_per_s * window_s
        self._slice_s = window_s / _SLICES
        self._requests = [0] * _SLICES
        self._retries = [0] * _SLICES
        self._slice = 0

    def request(self, now: float) -> None:
        """Count a first attempt."""
        current = int(now / self._slice_s)
        if current != self._slice:
            current = self._advance(current)
        self._requests[current % _SLICES] += 1

    def take(self, now: float) -> bool:
        """Count a retry if the budget has room for it; say whether it had."""
        place = self._advance(int(now / self._slice_s)) % _SLICES
        if sum(self._retries) + 1 > self._reserve + self._ratio * sum(self._requests):
            return False
        self._retries[place] += 1
        return True

    def _advance(self, current: int) -> int:
        """Empty the slices that have begun since the last call; return the present one."""
        for old in range(max(self._slice + 1, current - _SLICES + 1), current + 1):
            self._requests[old % _SLICES] = self._retries[old % _SLICES] = 0
        self._slice = max(self._slice, current)
        return self._slice
