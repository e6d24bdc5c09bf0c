"""`random` and `weighted_random`: any eligible member, by equal chance or by weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.strategies.drawing import AliasTable, next_allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["RandomChoice", "WeightedRandom"]


class RandomChoice:
    """Choose uniformly; weights are ignored. O(1) per choice."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._members: Sequence[Member] = ()

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members."""
        self._members = members

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return any member."""
        if exclude:
            return next_allowed(self._draw, self._members, exclude, self._rng)
        members = self._members
        return members[int(self._rng.random() * len(members))]

    def _draw(self) -> Member:
        return self._members[int(self._rng.random() * len(self._members))]


class WeightedRandom:
    """Choose by weight, independently each time. O(1) per choice, O(n) per update."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._members: Sequence[Member] = ()
        self._table = AliasTable([1.0])

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members and build the table of their weights."""
        self._members = members
        if members:
            self._table = AliasTable([member.weight for member in members])

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return a member, heavier ones more often."""
        if exclude:
            return next_allowed(self._draw, self._members, exclude, self._rng)
        return self._draw()

    def _draw(self) -> Member:
        return self._members[self._table.draw(self._rng)]
