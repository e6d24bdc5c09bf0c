"""`round_robin` and `weighted_round_robin`: members take turns, from a random start."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING

from trimtab.strategies.drawing import next_allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["RoundRobin", "WeightedRoundRobin"]

_START_COST = 10_000
"""The greatest cost of finding a random start of `weighted_round_robin`, in steps of one group."""


class RoundRobin:
    """Choose in turn; weights are ignored. O(1) per choice.

    Over any n consecutive choices from an unchanged set of n, each member comes once. The start
    is random, so that the clients of a fleet do not all call the same instance at the same time.
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


class _Group:
    """Members of one weight, in the registry's order; they take turns.

    Their credits are equal or differ by the total weight, so the credit of the one whose turn it
    is represents all of them.
    """

    __slots__ = ("credit", "members", "places", "turn", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.credit = 0.0
        self.turn = 0
        self.members: list[Member] = []
        self.places: list[int] = []


class WeightedRoundRobin:
    """Choose in proportion to the weights, spread in time as evenly as they allow.

    For each choice, `credit += weight` for every member; choose the highest credit (the first of
    equals), and subtract the sum of all weights from it. Weights 5:1:1 give `a a b a c a a`.
    Members of equal weight always take turns, so one member per weight is compared: a choice costs
    O(number of distinct weights). That is O(1) for a fleet of a few sizes, and O(n) only when all
    weights are different.

    Source: nginx `ngx_http_upstream_get_peer`. The start is random, so that the clients of a fleet
    differ.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._members: Sequence[Member] = ()
        self._groups: list[_Group] = []
        self._total = 0.0

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members and begin a new cycle at a random place."""
        self._members = members
        groups: dict[float, _Group] = {}
        for place, member in enumerate(members):
            group = groups.get(member.weight)
            if group is None:
                group = groups[member.weight] = _Group(member.weight)
            group.members.append(member)
            group.places.append(place)
        self._groups = list(groups.values())
        if members:
            # A sum beyond the largest float would turn every credit into a NaN.
            top = max(groups)
            scale = 1.0 if isfinite(top * len(members)) else top
            for group in self._groups:
                group.weight /= scale
            self._total = sum(group.weight * len(group.members) for group in self._groups)
            self._skip_some()

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the member whose turn it is."""
        if exclude:
            return next_allowed(self._draw, self._members, exclude, self._rng)
        return self._draw()

    def _skip_some(self) -> None:
        # A cycle of whole weights is at most their sum over the least of them.
        lightest = min(group.weight for group in self._groups)
        cycle = self._total / lightest if lightest else inf
        for _ in range(int(self._rng.random() * min(cycle, _START_COST / len(self._groups)))):
            self._draw()

    def _draw(self) -> Member:
        best = self._groups[0]
        best.credit += best.weight
        for group in self._groups[1:]:
            group.credit += group.weight
            if group.credit > best.credit or (
                group.credit == best.credit and group.places[group.turn] < best.places[best.turn]
            ):
                best = group
        member = best.members[best.turn]
        best.turn += 1
        if best.turn == len(best.members):
            # All members of this weight have had a turn: each has paid the total once.
            best.turn = 0
            best.credit -= self._total
        return member
