"""`random`: any eligible member, with equal chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.strategies.exclusion import next_allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["RandomChoice"]


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
