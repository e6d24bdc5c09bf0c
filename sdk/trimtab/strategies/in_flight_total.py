"""How many requests are in flight over a strategy's members."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.member import Member

__all__ = ["InFlightTotal"]


class InFlightTotal:
    """A running total, where the pool tells of every begin and end; else a sum each time.

    Whoever calls `begun` once must call both from then on.
    """

    __slots__ = ("_members", "_told", "_total")

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._total = 0
        self._told = False

    def update(self, members: Sequence[Member]) -> None:
        """Count over these members from now on. O(n)."""
        self._members = {member.id: member for member in members}
        self._total = self._sum()

    def begun(self, member: Member) -> None:
        """Note a request that has been counted in flight. O(1), but for the first."""
        if not self._told:
            self._told = True
            self._total = self._sum()
        elif self._members.get(member.id) is member:
            self._total += 1

    def ended(self, member: Member) -> None:
        """Note a request that is no longer counted in flight. O(1)."""
        if self._members.get(member.id) is member:
            self._total -= 1

    def now(self) -> int:
        """Return the total: O(1) if the pool tells, O(n) if not."""
        return self._total if self._told else self._sum()

    def _sum(self) -> int:
        return sum(member.in_flight for member in self._members.values())
