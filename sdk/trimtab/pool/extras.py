"""What a strategy may want to know besides the eligible members; see `trimtab.strategies`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from trimtab.member import Member
    from trimtab.strategies import LoadReport, Strategy

__all__ = ["Extras"]


class Extras:
    """The optional methods of a strategy; those that it lacks do nothing.

    Attributes:
        knows_all: `KnowsAll`: it takes all members in place of the eligible ones alone.
        counts_in_flight: `CountsInFlight`.
        takes_reports: `TakesReports`.
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
