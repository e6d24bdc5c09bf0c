"""`client_side_weighted_round_robin`: turns in proportion to the load that instances report.

The load report of a response gives a weight (`ReportedWeight`), the weights give turns
(`StaticStride`), and `ByReports` chooses by them. Source: gRPC A58.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from trimtab.strategies.drawing import next_allowed
from trimtab.strategies.settings import in_words, require

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from random import Random

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport

__all__ = [
    "ByReports",
    "ClientSideWeightedRoundRobin",
    "ReportedWeight",
    "StaticStride",
    "weight_of",
]

_NUMBERS = 2**32
_TOP = 65_535
_OFFSET = _TOP // 2
_MAX_RATIO = 10.0
"""A weight counts for at most this many times the mean: else most turns would be passed over."""
_MIN_RATIO = 0.01
"""And for at least this share of the mean: else one bad report would end all traffic."""
_USABLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSideWeightedRoundRobin:
    """Give each instance turns in proportion to the rate that it could serve by its own report.

    For fleets of unequal machines whose registered weights are not maintained. Each response
    reports how busy the instance is and at what rate (see `trimtab.strategies.load_report`). Until
    two instances have reported for `blackout_s` it is a round robin. Registered weights are
    ignored.

    Source: gRPC A58 `weighted_round_robin`, with per-call reports. Deviation: a report with a
    utilization and without a rate counts, too (as of vLLM); A58 ignores it.

    Attributes:
        blackout_s: how long reports must have come before they count, in seconds.
        expiration_s: how long the last report counts, in seconds.
        update_s: how often turns are worked out again, in seconds, 0.1 or more.
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


class ByReports:
    """Give turns in proportion to the reported weights.

    A member without a usable weight gets the mean of the others. With fewer than two usable
    weights all take equal turns. A choice is O(1); the first one after each `update_s` works the
    turns out again, in O(n), if reports have come.

    Args:
        rng: chooses where the turns begin.
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
        self._worked_out_at = -inf
        self._has_reports = False

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members; those that stay keep their weights."""
        self._members = members
        self._weights = {
            member.id: self._weights.get(member.id) or ReportedWeight() for member in members
        }
        self._work_out(self._now)

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Take an instance's report on its load; an unknown instance is ignored."""
        weight = self._weights.get(member_id)
        if weight is not None:
            if report.qps > 0:
                new = weight_of(report, self._settings.error_penalty)
            else:
                # By this factor it could serve more than it does.
                new = 1.0 / report.utilization if report.utilization > 0 else 0.0
            weight.update(new, now, rate=report.qps)
            self._has_reports = True

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the member whose turn it is."""
        self._now = now
        if self._has_reports and now - self._worked_out_at >= self._settings.update_s:
            self._work_out(now)
        if exclude:
            return next_allowed(self._draw, self._members, exclude, self._rng)
        return self._draw()

    def _draw(self) -> Member:
        return self._members[self._turns.pick(self._next_number)]

    def _work_out(self, now: float) -> None:
        settings = self._settings
        self._worked_out_at = now
        reported = [self._weights[member.id] for member in self._members]
        usable = [
            each.usable(now, blackout_s=settings.blackout_s, expiration_s=settings.expiration_s)
            for each in reported
        ]
        self._turns = StaticStride(_comparable(reported, usable))


def weight_of(report: LoadReport, penalty: float) -> float:
    """Return `qps / (utilization + eps / qps * penalty)`, or 0 if the report says too little.

    It is the rate that the instance would serve when fully used; errors count as utilization.
    """
    if report.qps <= 0:
        return 0.0
    used = report.utilization
    if used > 0:
        used += report.eps / report.qps * penalty
    return report.qps / used if used else 0.0


def _comparable(reported: Sequence[ReportedWeight], usable: Sequence[float]) -> list[float]:
    """Return the weights on one scale.

    An instance that reports no rate counts as if its rate were the mean of those reported; without
    any rate only the utilizations differ.
    """
    rates = [each.rate for each, weight in zip(reported, usable, strict=True) if weight]
    known = [rate for rate in rates if rate]
    mean = sum(known) / len(known) if known else 1.0
    return [
        weight if each.rate else weight * mean
        for each, weight in zip(reported, usable, strict=True)
    ]


class ReportedWeight:
    """One instance's latest weight, and whether it may be used.

    A weight counts only after reports have come for the blackout time, because a newcomer's first
    figures are not typical. It counts until the expiration time after the last report; then the
    blackout begins again.

    Attributes:
        rate: the queries per second that came with it; 0: none.
    """

    __slots__ = ("_known_since", "_updated_at", "_weight", "rate")

    def __init__(self) -> None:
        self._weight = self.rate = 0.0
        self._known_since = inf
        self._updated_at = -inf

    def update(self, weight: float, now: float, *, rate: float = 1.0) -> None:
        """Take a newly reported weight, with the rate that it is of; a weight of 0 is ignored."""
        if not weight:
            return
        self.rate = rate
        self._known_since = min(self._known_since, now)
        self._weight, self._updated_at = weight, now

    def usable(self, now: float, *, blackout_s: float, expiration_s: float) -> float:
        """Return the weight, or 0 while it may not be used."""
        if now - self._updated_at >= expiration_s:
            self._known_since = inf
            return 0.0
        return 0.0 if now - self._known_since < blackout_s else self._weight


class StaticStride:
    """Turns in proportion to weights, from nothing but a number that counts up.

    Number n belongs to instance `n % count`, in generation `n // count`. Weights are scaled so that
    the greatest is 65,535. In generation g an instance of weight w and place i is passed over if
    `(w * g + i * 32767) % 65535` is below `65535 - w`: in 65,535 generations it has exactly w
    turns, evenly spread. The offset makes neighbours of equal weight pass in different
    generations.

    Source: gRPC's `static_stride_scheduler.cc`: lock-free there, and cheap to make again each
    second.

    Args:
        weights: one per instance; 0 means unknown and counts as the mean of the others. With
            fewer than two known ones, every instance has every turn.
    """

    __slots__ = ("weights",)

    def __init__(self, weights: Sequence[float]) -> None:
        known = [weight for weight in weights if weight]
        if len(known) < _USABLE:
            self.weights = [_TOP] * len(weights)
            return
        # Divided by the largest first, so that the sum of huge weights stays finite.
        top = max(known)
        mean = sum(weight / top for weight in known) / len(known)
        scale = _TOP / min(1.0, _MAX_RATIO * mean)
        usual = _rounded(scale * mean)
        least = max(1, _rounded(usual * _MIN_RATIO))
        self.weights = [
            max(min(_rounded(scale * (weight / top)), _TOP), least) if weight else usual
            for weight in weights
        ]

    def pick(self, next_number: Callable[[], int]) -> int:
        """Return the place of the instance whose turn it is.

        On average it takes `greatest weight / mean` numbers, 10 at the most.

        Args:
            next_number: a counter; a schedule that replaces another goes on with the same one.
        """
        count = len(self.weights)
        while True:
            generation, place = divmod(next_number(), count)
            weight = self.weights[place]
            if (weight * generation + place * _OFFSET) % _TOP >= _TOP - weight:
                return place


def _rounded(number: float) -> int:
    """Round halves up, as the source does; Python rounds them to even."""
    return int(number + 0.5)
