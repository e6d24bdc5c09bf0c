"""How many attempts a client may add to its requests, and when: retries, and hedges.

Sources: Finagle `RetryBudget` (20 % of the requests plus 10 per second, over a window of 10 s);
M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import ceil, exp, log
from operator import add
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["Backoff", "LatencyQuantile", "RetryBudget"]

_SLICES = 10
_GROWTH = 1.05
_LEAST_S = 1e-5
_BUCKETS = 400  # 10 us * 1.05**400 is 50 minutes
_REVIEW_EVERY = 64


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


class LatencyQuantile:
    """Estimates a quantile from counts in buckets that grow by 5 %. O(1) per sample, amortised.

    It remembers between one and two windows. The estimate is an upper bound of its bucket, so it
    is at most 5 % too high.

    Args:
        quantile: the share of latencies below it, between 0 and 1.
        window_s: how long latencies count.
        min_samples: with fewer there is no estimate.
    """

    def __init__(self, quantile: float, *, window_s: float = 30.0, min_samples: int = 100) -> None:
        self._quantile = quantile
        self._window_s = window_s
        self._min_samples = min_samples
        self._old = [0] * _BUCKETS
        self._new = [0] * _BUCKETS
        self._old_total = self._new_total = 0
        self._since: float | None = None
        self._unseen = 0
        self._value_s: float | None = None

    def add(self, latency_s: float, now: float) -> None:
        """Take a latency."""
        if self._since is None:
            self._since = now
        elif now - self._since >= self._window_s:
            self._turn(now)
        place = int(log(max(latency_s, _LEAST_S) / _LEAST_S) / log(_GROWTH))
        self._new[min(place, _BUCKETS - 1)] += 1
        self._new_total += 1
        self._unseen += 1
        if self._unseen >= _REVIEW_EVERY:
            self._review()

    def value_s(self) -> float | None:
        """Return the estimate; None while there are too few samples."""
        if self._value_s is None and self._unseen:
            self._review()
        return self._value_s

    def _turn(self, now: float) -> None:
        assert self._since is not None
        is_old = now - self._since >= 2 * self._window_s
        self._old = [0] * _BUCKETS if is_old else self._new
        self._old_total = 0 if is_old else self._new_total
        self._new, self._new_total = [0] * _BUCKETS, 0
        self._since = now

    def _review(self) -> None:
        total = self._old_total + self._new_total
        self._unseen = 0
        self._value_s = None
        if total >= self._min_samples:
            seen = [*accumulate(map(add, self._old, self._new))]
            place = bisect_left(seen, ceil(self._quantile * total))
            self._value_s = _LEAST_S * exp((place + 1) * log(_GROWTH))
