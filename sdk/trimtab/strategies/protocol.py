"""What a strategy is, what it may be besides, and how the pool calls it.

A strategy gets the eligible members whenever they change (`update`), and returns one per request
(`choose`). It never sees the others, has no clock and no I/O, and draws random numbers only from
the generator that it was made with. To add one, write a class with these two methods and name its
factory `(rng) -> Strategy` in an entry point of the group `trimtab.strategies`, or pass the factory
wherever a strategy's name is taken.

The methods of `KnowsAll`, `CountsInFlight` and `TakesReports` are optional. The pool looks for them
once, and calls those that exist. A strategy that has them still chooses without these calls, less
well.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport

__all__ = ["CountsInFlight", "Extras", "KnowsAll", "Strategy", "StrategyFactory", "TakesReports"]


class Strategy(Protocol):
    """A rule that chooses one of the eligible members."""

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members: at the start, and when they or their weights changed.

        The order is that of the registry. O(n) is fine here. The list belongs to the pool and
        does not change. It may be empty; then `choose` is not called.
        """
        ...

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:
        """Return a member whose id is not in `exclude`; the pool makes sure that there is one.

        O(1) wherever the rule permits. Requests with the same `key` should go to one instance;
        rules without affinity ignore it. `exclude` is short, and empty for first attempts.
        """
        ...


class KnowsAll(Protocol):
    """A strategy that needs to know the members that are not eligible, too."""

    def update_all(
        self,
        members: Collection[Member],
        eligible: Sequence[Member],
        well: Sequence[Member] | None = None,
    ) -> None:
        """Take the members; called instead of `update`, at each change of any of these.

        A call that changes nothing for the strategy must not disturb its turn.

        Args:
            members: all that are present.
            eligible: those that may be chosen.
            well: those that could be chosen without a subset. None: the eligible ones.
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
    """A strategy that weighs members by the load that they report."""

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Take the load that a response reported. O(1)."""
        ...


StrategyFactory: TypeAlias = Callable[[Random], Strategy]


class Extras:
    """The optional methods of a strategy; those that it lacks do nothing.

    Attributes:
        knows_all: whether it has `update_all` (`KnowsAll`).
        counts_in_flight: whether it has `begun` and `ended` (`CountsInFlight`).
        takes_reports: whether it has `report` (`TakesReports`).
    """

    def __init__(self, strategy: Strategy) -> None:
        self.knows_all = hasattr(strategy, "update_all")
        self.counts_in_flight = hasattr(strategy, "begun")
        self.takes_reports = hasattr(strategy, "report")
        self.update_all: Callable[[Collection[Member], Sequence[Member], Sequence[Member]], None]
        self.update_all = getattr(strategy, "update_all", _nothing)
        self.begun: Callable[[Member], None] = getattr(strategy, "begun", _nothing)
        self.ended: Callable[[Member], None] = getattr(strategy, "ended", _nothing)
        self.report: Callable[[str, LoadReport, float], None]
        self.report = getattr(strategy, "report", _nothing)


def _nothing(*_: Any) -> None:
    """Do nothing."""
