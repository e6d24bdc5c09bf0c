"""What a strategy is, what it may be besides, and how the pool calls it.

A strategy gets the eligible members whenever they change (`update`), and returns one per request
(`choose`). It never sees the others, has no clock and no I/O, and draws random numbers only from
the generator that it was made with. To add one, write a class with these two methods and name its
factory `(rng) -> Strategy` in an entry point of the group `trimtab.strategies`, or pass the factory
wherever a strategy's name is taken.

The methods of `KnowsAll`, `CountsInFlight`, `TakesReports` and `AsksFirst` are optional. The pool
looks for them once, and calls those that exist. A strategy that has them still chooses without
these calls, less well.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport

__all__ = [
    "AsksFirst",
    "CountsInFlight",
    "Extras",
    "KnowsAll",
    "Strategy",
    "StrategyFactory",
    "TakesReports",
]


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
    """A strategy that keeps a running count of requests in flight.

    One that passes them on may say by an attribute `counts_in_flight` that it has no use for them.
    """

    def begun(self, member: Member) -> None:
        """Note that a pick was counted in flight on the member. O(1)."""
        ...

    def ended(self, member: Member) -> None:
        """Note that a pick is no longer in flight on the member, which may have left. O(1)."""
        ...


class TakesReports(Protocol):
    """A strategy that weighs members by the load that they report.

    One that passes reports on may say by an attribute `takes_reports` that it has no use for them.
    """

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Take the load that a response reported. O(1)."""
        ...


class AsksFirst(TakesReports, Protocol):
    """A strategy that may have instances asked for their load before it chooses.

    Attributes:
        ask_timeout_s: how long their answers are waited for, in seconds.
    """

    ask_timeout_s: float

    def candidates(
        self, now: float, key: str | None, exclude: Collection[str]
    ) -> tuple[Sequence[Member], Sequence[Member]]:
        """Return the members to choose among, and those of them to ask first. O(1).

        Both are empty if nothing is to be asked; `choose` is called then.
        """
        ...

    def silent(self, member_id: str, now: float) -> None:
        """Note that a member has not answered in time. O(1)."""
        ...

    def choose_among(self, members: Sequence[Member], now: float) -> Member:
        """Return one of the candidates, at least one, that may still be chosen."""
        ...


StrategyFactory: TypeAlias = Callable[[Random], Strategy]


class Extras:
    """The optional methods of a strategy; those that it lacks do nothing.

    Attributes:
        knows_all: whether it has `update_all` (`KnowsAll`).
        counts_in_flight: whether it has `begun` and `ended` (`CountsInFlight`).
        takes_reports: whether it has `report` (`TakesReports`).
        asks_first: whether it has `candidates` (`AsksFirst`).
        ask_timeout_s: of `AsksFirst`; 0 without it.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.knows_all = hasattr(strategy, "update_all")
        self.counts_in_flight: bool = getattr(
            strategy, "counts_in_flight", hasattr(strategy, "begun")
        )
        self.takes_reports: bool = getattr(strategy, "takes_reports", hasattr(strategy, "report"))
        self.update_all: Callable[[Collection[Member], Sequence[Member], Sequence[Member]], None]
        self.update_all = getattr(strategy, "update_all", _nothing)
        self.begun: Callable[[Member], None] = getattr(strategy, "begun", _nothing)
        self.ended: Callable[[Member], None] = getattr(strategy, "ended", _nothing)
        self.report: Callable[[str, LoadReport, float], None]
        self.report = getattr(strategy, "report", _nothing)
        self.ask_timeout_s: float = getattr(strategy, "ask_timeout_s", 0.0)
        self.asks_first = self.ask_timeout_s > 0
        self.candidates: Callable[
            [float, str | None, Collection[str]], tuple[Sequence[Member], Sequence[Member]]
        ]
        self.candidates = getattr(strategy, "candidates", _no_members)
        self.silent: Callable[[str, float], None] = getattr(strategy, "silent", _nothing)
        self.choose_among: Callable[[Sequence[Member], float], Member]
        self.choose_among = getattr(strategy, "choose_among", _first)


def _nothing(*_: Any) -> None:
    """Do nothing."""


def _no_members(*_: Any) -> tuple[Sequence[Member], Sequence[Member]]:
    return (), ()


def _first(members: Sequence[Member], _: float) -> Member:
    return members[0]
