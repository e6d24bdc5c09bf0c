"""How long to wait before asking again: exponential, with full jitter.

Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["Backoff"]


class Backoff:
    """Waits drawn evenly from 0 to a bound that doubles with every failure in a row.

    Args:
        rng: the source of chance.
        first_s: the bound of the first wait, above 0; never more than `max_s`.
        max_s: where doubling stops.
    """

    def __init__(self, rng: Random, *, first_s: float = 0.1, max_s: float = 5.0) -> None:
        self._rng = rng
        self._first_s = min(first_s, max_s)
        self._max_s = max_s
        self._bound_s = self._first_s

    def next_s(self, *, at_least_s: float = 0.0) -> float:
        """Return the next wait, and double the bound.

        `at_least_s` is for answers that will not change soon (denied, say): it is added.
        """
        wait_s = at_least_s + self._rng.random() * self._bound_s
        self._bound_s = min(self._bound_s * 2, self._max_s)
        return wait_s

    def reset(self) -> None:
        """Begin again at the first bound: it has worked."""
        self._bound_s = self._first_s
