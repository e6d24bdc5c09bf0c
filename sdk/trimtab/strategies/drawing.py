"""Draw members at random: in proportion to weights, and past those that were tried before.

`random` and `weighted_random` are nothing more than that: any eligible member, by equal chance or
by weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["AliasTable", "RandomChoice", "WeightedRandom", "next_allowed"]

_DRAWS = 8


class AliasTable:
    """Draws index i with a probability proportional to `weights[i]`, in O(1): the alias method.

    Each column keeps a share for itself and gives the rest to one alias. Building it is O(n). A
    draw takes one random number: its whole part selects the column, its fraction the column's own
    index or the alias.

    Source: M. D. Vose, "A Linear Algorithm for Generating Random Numbers with a Given
    Distribution", IEEE Transactions on Software Engineering 17(9), 1991.

    Args:
        weights: positive and finite, at least one.
    """

    __slots__ = ("_alias", "_keep", "_size")

    def __init__(self, weights: Sequence[float]) -> None:
        size = self._size = len(weights)
        # Divided by the largest first, so that the sum of huge weights stays finite.
        top = max(weights)
        scaled = [weight / top for weight in weights]
        mean = sum(scaled) / size
        share = [weight / mean for weight in scaled]
        self._keep = [1.0] * size
        self._alias = list(range(size))
        small = [i for i in range(size) if share[i] < 1.0]
        large = [i for i in range(size) if share[i] >= 1.0]
        while small and large:
            poor, rich = small.pop(), large[-1]
            self._keep[poor], self._alias[poor] = share[poor], rich
            share[rich] -= 1.0 - share[poor]
            if share[rich] < 1.0:
                small.append(large.pop())

    def draw(self, rng: Random) -> int:
        """Return an index."""
        point = rng.random() * self._size
        column = int(point)
        return column if point - column < self._keep[column] else self._alias[column]


def next_allowed(
    draw: Callable[[], Member],
    members: Sequence[Member],
    exclude: Collection[str],
    rng: Random,
) -> Member:
    """Draw until a member outside `exclude` comes; after a few draws, search from a random place.

    O(len(exclude)), even when the excluded members have nearly all of the weight. First attempts
    exclude nothing and do not come here.
    """
    for _ in range(_DRAWS + len(exclude)):
        member = draw()
        if member.id not in exclude:
            return member
    count = len(members)
    place = int(rng.random() * count)
    while members[place % count].id in exclude:
        place += 1
    return members[place % count]


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
