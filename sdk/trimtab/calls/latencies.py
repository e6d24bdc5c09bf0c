"""A quantile of recent latencies, without keeping them."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import ceil, exp, log
from operator import add

__all__ = ["LatencyQuantile"]

_GROWTH = 1.05
_LEAST_S = 1e-5
_BUCKETS = 400  # 10 us * 1.05**400 is 50 minutes
_REVIEW_EVERY = 64


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
