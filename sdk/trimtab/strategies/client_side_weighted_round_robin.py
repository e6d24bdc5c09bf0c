"""`client_side_weighted_round_robin`: turns by what the instances report of their load."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from trimtab.strategies.exclusion import next_allowed
from trimtab.strategies.reported_weight import ReportedWeight, weight_of
from trimtab.strategies.settings import in_words, require
from trimtab.strategies.static_stride import StaticStride

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport

__all__ = ["ByReports", "ClientSideWeightedRoundRobin"]

_NUMBERS = 2**32


class ByReports:
    """Deal turns in proportion to the reported weights.

    Who has no usable weight is given the mean of the others; with fewer than two usable weights
    all take turns alike. A choice is O(1), but for the first after each `update_s`, which deals
    anew in O(n) if reports have come.

    Args:
        rng: says where the turns begin.
        settings: see there.
    """

    def __init__(self, rng: Random, settings: ClientSideWeightedRoundRobin) -> None:
        self._rng = rng
        self._settings = settings
        self._next_number = count(int(rng.random() * _NUMBERS)).__next__
        self._members: Sequence[Member] = ()
        self._weights: dict[str, ReportedWeight] = {}
        self._turns = StaticStride(())
        self._now = -inf
        self._dealt_at = -inf
        self._has_reports = False

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members; those who stay keep their weights."""
        self._members = members
        self._weights = {
            member.id: self._weights.get(member.id) or ReportedWeight() for member in members
        }
        self._deal(self._now)

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Take an instance's word on its load; that of a stranger is ignored."""
        weight = self._weights.get(member_id)
        if weight is not None:
            weight.update(weight_of(report, self._settings.error_penalty), now)
            self._has_reports = True

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the member whose turn it is."""
        self._now = now
        if self._has_reports and now - self._dealt_at >= self._settings.update_s:
            self._deal(now)
        if exclude:
            return next_allowed(self._draw, self._members, exclude, self._rng)
        return self._draw()

    def _draw(self) -> Member:
        return self._members[self._turns.pick(self._next_number)]

    def _deal(self, now: float) -> None:
        settings = self._settings
        self._dealt_at = now
        self._turns = StaticStride(
            [
                self._weights[member.id].usable(
                    now, blackout_s=settings.blackout_s, expiration_s=settings.expiration_s
                )
                for member in self._members
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSideWeightedRoundRobin:
    """Give each instance turns in proportion to the rate that it could serve, by its own word.

    For fleets of unequal machines whose weights nobody keeps up. The instances say in each
    response how busy they are and with how much (see `trimtab.strategies.load_report`); until
    two have done so for a while, it is a round robin. Registered weights are ignored.

    Source: gRPC A58 `weighted_round_robin`, with per-call reports.

    Attributes:
        blackout_s: how long reports must have come before they count.
        expiration_s: how long the last report counts.
        update_s: how often turns are dealt anew, 0.1 or more.
        error_penalty: how much an error ratio of 1 adds to the utilization.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    blackout_s: float = 10.0
    expiration_s: float = 180.0
    update_s: float = 1.0
    error_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (
            ("blackout_s", 0.0),
            ("expiration_s", 0.0),
            ("update_s", 0.1),
            ("error_penalty", 0.0),
        ):
            self._require(name, least)

    def _require(self, name: str, least: float) -> None:
        what = f"client_side_weighted_round_robin: {name}"
        require(what, getattr(self, name), f"{least:g} or more", lambda value: value >= least)

    @property
    def __name__(self) -> str:
        """Return the text form, for people."""
        return in_words("client_side_weighted_round_robin", self)

    def __call__(self, rng: Random) -> ByReports:
        """Make the strategy."""
        return ByReports(rng, self)
