"""What a strategy is, and what it may be besides.

The pool looks once for the methods of `KnowsAll`, `CountsInFlight` and `TakesReports`, and calls
those that are there. Without the calls a strategy that has them still chooses, less well.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport

__all__ = ["CountsInFlight", "KnowsAll", "Strategy", "StrategyFactory", "TakesReports"]


class Strategy(Protocol):
    """A rule that chooses one of the eligible members."""

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members: at the start, and when they or their weights changed.

        The order is that of the registry. O(n) is fine here. The list belongs to the pool and
        will not change; it may be empty, and then `choose` is not called.
        """
        ...

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:
        """Return a member whose id is not in `exclude`; the pool sees to it that there is one.

        O(1) wherever the rule permits. `key` is what the caller wants kept on one instance;
        rules without affinity ignore it. `exclude` is short, and empty for first attempts.
        """
        ...


class KnowsAll(Protocol):
    """A strategy that wants to know how many members are missing from the eligible ones."""

    def update_all(
        self,
        members: Collection[Member],
        eligible: Sequence[Member],
        well: Sequence[Member] | None = None,
    ) -> None:
        """Take the members in place of `update`; called at every change of any of these.

        The strategy sees to it that what changes nothing for it does not disturb its turn.

        Args:
            members: all that are present.
            eligible: those that may be chosen.
            well: those that might be, if it were not for a subset. None: the eligible ones.
        """
        ...


class CountsInFlight(Protocol):
    """A strategy that keeps a running count of requests in flight."""

    def begun(self, member: Member) -> None:
        """Note that a pick was counted in flight on the member. O(1)."""
        ...

    def ended(self, member: Member) -> None:
        """Note that a pick is no longer in flight on the member, which may have left. O(1)."""
        ...


class TakesReports(Protocol):
    """A strategy that weighs members by what they say of their load."""

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Take the load that a response brought along. O(1)."""
        ...


StrategyFactory: TypeAlias = Callable[[Random], Strategy]
