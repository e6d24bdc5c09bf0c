"""How many retries a client may add to its requests, and how long each waits.

Sources: Finagle `RetryBudget` (20 % of the requests plus 10 per second, over a window of 10 s);
M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["Backoff", "RetryBudget"]

_SLICES = 10


class RetryBudget:
    """Counts requests and retries in a sliding window of ten slices. O(1) per call.

    Args:
        ratio: retries allowed per request, 0 or more; 0.2 is 20 %.
        min_per_s: retries allowed per second at any traffic, for small clients.
        window_s: how long requests and retries count.
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
        """Count a request, at its first attempt."""
        current = int(now / self._slice_s)
        if current != self._slice:
            current = self._advance(current)
        self._requests[current % _SLICES] += 1

    def take(self, now: float) -> bool:
        """Count a retry if the budget has room for it, and return whether it had."""
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


class Backoff:
    """Waits drawn evenly from 0 to a bound that doubles with every failure in a row.

    Args:
        rng: the source of chance.
        first_s: the bound of the first wait, above 0; at most `max_s`.
        max_s: where doubling stops.
    """

    def __init__(self, rng: Random, *, first_s: float = 0.1, max_s: float = 5.0) -> None:
        self._rng = rng
        self._first_s = min(first_s, max_s)
        self._max_s = max_s
        self._bound_s = self._first_s

    def next_s(self, *, at_least_s: float = 0.0) -> float:
        """Return the next wait, and double the bound.

        `at_least_s` is added: for answers that will not change soon, such as a refusal.
        """
        wait_s = at_least_s + self._rng.random() * self._bound_s
        self._bound_s = min(self._bound_s * 2, self._max_s)
        return wait_s

    def reset(self) -> None:
        """Start again at the first bound, after a success."""
        self._bound_s = self._first_s
