"""Turns in proportion to weights, from nothing but a number that counts up.

Source: gRPC's `static_stride_scheduler.cc`: lock-free there, and cheap to make anew each second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["StaticStride"]

_TOP = 65_535
_OFFSET = _TOP // 2
_MAX_RATIO = 10.0
"""No weight counts for more than so many times the mean: else most turns would be passed over."""
_MIN_RATIO = 0.01
"""Nor for less than so much of the mean: else one bad report would end all traffic."""
_USABLE = 2


class StaticStride:
    """Deals turns: number n belongs to instance `n % count`, in generation `n // count`.

    Weights are scaled so that the greatest is 65,535. In generation g an instance of weight w and
    place i is passed over if `(w * g + i * 32767) % 65535` is below `65535 - w`: of 65,535
    generations it has exactly w, evenly spread. The offset keeps neighbours of one weight from
    passing in the same generation.

    Args:
        weights: of each instance; 0 for unknown, which counts as the mean of the others. With
            fewer than two known ones, everybody has every turn.
    """

    __slots__ = ("weights",)

    def __init__(self, weights: Sequence[float]) -> None:
        known = [weight for weight in weights if weight]
        if len(known) < _USABLE:
            self.weights = [_TOP] * len(weights)
            return
        # Divided by the largest first, so that the sum of huge weights stays finite.
        top = max(known)
        mean = sum(weight / top for weight in known) / len(known)
        scale = _TOP / min(1.0, _MAX_RATIO * mean)
        usual = _rounded(scale * mean)
        least = max(1, _rounded(usual * _MIN_RATIO))
        self.weights = [
            max(min(_rounded(scale * (weight / top)), _TOP), least) if weight else usual
            for weight in weights
        ]

    def pick(self, next_number: Callable[[], int]) -> int:
        """Return the place of the instance whose turn it is.

        On average it asks for `greatest weight / mean` numbers, 10 at the most.

        Args:
            next_number: a counter, shared by all schedules that follow one another.
        """
        count = len(self.weights)
        while True:
            generation, place = divmod(next_number(), count)
            weight = self.weights[place]
            if (weight * generation + place * _OFFSET) % _TOP >= _TOP - weight:
                return place


def _rounded(number: float) -> int:
    """Round halves up, as the source does; Python rounds them to even."""
    return int(number + 0.5)
