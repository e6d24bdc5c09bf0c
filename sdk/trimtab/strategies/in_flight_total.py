"""How many requests are in flight over a strategy's members."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.member import Member

__all__ = ["InFlightTotal"]


class InFlightTotal:
    """A running total while every begin and end is told; when it is not, a sum each time.

    Each question should be followed by a `begun`. One that is not, shows that nobody tells (or
    that the choice was not taken), and the next one is answered by counting.
    """

    __slots__ = ("_asked", "_members", "_total")

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._total = 0
        self._asked = 0

    def update(self, members: Sequence[Member]) -> None:
        """Count over these members from now on. O(n)."""
        self._members = {member.id: member for member in members}
        self._total = self._sum()

    def begun(self, member: Member) -> None:
        """Note a request that has been counted in flight. O(1)."""
        self._asked = 0
        if self._members.get(member.id) is member:
            self._total += 1

    def ended(self, member: Member) -> None:
        """Note a request that is no longer counted in flight. O(1)."""
        if self._members.get(member.id) is member:
            self._total -= 1

    def now(self) -> int:
        """Return the total: O(1) if every begin is told, O(n) if not."""
        self._asked += 1
        return self._total if self._asked == 1 else self._sum()

    def _sum(self) -> int:
        return sum(member.in_flight for member in self._members.values())
