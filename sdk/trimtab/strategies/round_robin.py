"""`round_robin`: one after the other, from a random start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.strategies.exclusion import next_allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["RoundRobin"]


class RoundRobin:
    """Choose in turn; weights are ignored. O(1) per choice.

    Over any n consecutive choices from an unchanged set of n, each member comes once. The start
    is random, so that a fleet of clients does not march in step.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._members: Sequence[Member] = ()
        self._next = -1

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members; go on from the present place."""
        self._members = members
        if members and self._next < 0:
            self._next = int(self._rng.random() * len(members))

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the next member."""
        if exclude:
            return next_allowed(self._draw, self._members, exclude, self._rng)
        return self._draw()

    def _draw(self) -> Member:
        place = self._next % len(self._members)
        self._next = place + 1
        return self._members[place]
