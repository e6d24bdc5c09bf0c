"""The power of two choices: draw two different members, take the one that costs less.

Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; Finagle
`p2c`. The pair is distinct: drawing with replacement sends 25 % of the requests to the busier of
two instances (Envoy issue #11004).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.strategies.alias import AliasTable
from trimtab.strategies.exclusion import next_allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["TwoChoices"]

_PAIR = 2


class TwoChoices:
    """Draws the pair; a subclass says what a member costs. O(1) per choice.

    With unequal weights both are drawn by weight, and the second must be cheaper by `margin` to
    win: the first is drawn exactly in proportion, so an idle service is shared by weight, and a
    busy or slow member is still avoided. With equal weights there is no margin.
    """

    margin = 1.0
    """How much cheaper the second must be when weights differ: a factor, 1 or less."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._members: Sequence[Member] = ()
        self._table: AliasTable | None = None

    def cost(self, member: Member, now: float) -> float:
        """Say what one more request costs on this member; only the order matters."""
        raise NotImplementedError

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members; note whether their weights differ."""
        self._members = members
        weights = [member.weight for member in members]
        equal = not weights or min(weights) == max(weights)
        self._table = None if equal else AliasTable(weights)

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the cheaper of two random members."""
        members, count = self._members, len(self._members)
        if exclude:
            return self._choose_allowed(now, exclude)
        if self._table is not None:
            return self._choose_weighted(now, self._table)
        random = self._rng.random
        first = int(random() * count)
        if count < _PAIR:
            return members[first]
        second = int(random() * (count - 1))
        second += second >= first
        one, other = members[first], members[second]
        return other if self.cost(other, now) < self.cost(one, now) else one

    def _choose_weighted(self, now: float, table: AliasTable) -> Member:
        one = self._members[table.draw(self._rng)]
        other = next_allowed(self._draw, self._members, (one.id,), self._rng)
        return other if self.cost(other, now) < self.margin * self.cost(one, now) else one

    def _choose_allowed(self, now: float, exclude: Collection[str]) -> Member:
        one = next_allowed(self._draw, self._members, exclude, self._rng)
        if sum(member_id not in exclude for member_id in self._some_ids(len(exclude))) < _PAIR:
            return one
        other = next_allowed(self._draw, self._members, (*exclude, one.id), self._rng)
        return other if self.cost(other, now) < self.cost(one, now) else one

    def _some_ids(self, excluded: int) -> list[str]:
        # Enough of them to tell whether two are allowed: at most `excluded` are not.
        return [member.id for member in self._members[: excluded + _PAIR]]

    def _draw(self) -> Member:
        if self._table is not None:
            return self._members[self._table.draw(self._rng)]
        return self._members[int(self._rng.random() * len(self._members))]
