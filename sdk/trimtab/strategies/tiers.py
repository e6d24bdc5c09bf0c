"""Priority tiers: the lower tier takes what the upper one cannot carry.

An instance's `priority` names its tier, 0 the best. What a tier can carry is worked out from its
healthy instances, and if wanted from its load. The choice of the tier comes before the strategy,
of which each tier has its own.

Source: Envoy, "Priority levels", "Overprovisioning factor", "Panic threshold"; the rule of the
shares is in `trimtab.strategies.groups`. Deviations: instances count by their weights, tiers need
not be numbered without gaps, and load may spill over, which Envoy has not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

from trimtab.strategies.consistent_hash import InFlightTotal
from trimtab.strategies.groups import (
    OVERPROVISIONING,
    Group,
    Groups,
    availability,
    priority_loads,
)
from trimtab.strategies.settings import require, require_whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from random import Random

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport
    from trimtab.strategies.protocol import Strategy, StrategyFactory

__all__ = ["PrioritySettings", "Tiers", "tier_availabilities"]

_EXACT = 1e-9
_ADJUST_EVERY_S = 1.0
"""How often the part that stays is adjusted: servers work out their utilization once a second."""
_WAY_UP = 0.25
"""It shrinks all of the way at once, because a server that is busy all the time does not say how
much more there is. It grows a quarter of the way, because reports are up to two seconds old."""
_MOST_GROWTH = 1.5
_LEAST_STAYS = 0.01
"""So much stays in a tier at least, so that its instances go on reporting."""
_FORGET_S = 60.0
"""After so long without a report nothing is known of the load. It is not shorter, because a tier
that has too much to do may answer none in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrioritySettings:
    """How tiers of instances, by their `priority`, share the requests.

    By default only the health of a tier's instances counts. The `spill_above` settings also have
    what exceeds a tier's capacity go to the next tier. Both may be set.

    Attributes:
        overprovisioning_factor: the capacity of a tier in multiples of what it needs; with 1 it
            spills as soon as one instance is missing, with 1.4 below 71 % of its instances.
        spill_above_in_flight: a tier is full when it has so many requests of this client in flight
            for each of its eligible instances; what comes then goes to the next tier that is not
            full. 1 or more. None: whatever is in flight.
        spill_above_utilization: the utilization that the instances of a tier may report, in the
            mean; what would raise it further goes to the next tier. Above 0, best below 1, since
            most servers report no more than 1. Instances must report their load, and are asked to.
            What stays is adjusted once a second, so a sudden load needs `spill_above_in_flight`
            besides: a tier that answers nothing in time reports nothing. None: whatever they
            report.

    Raises:
        ConfigurationError: a value is out of range.
    """

    overprovisioning_factor: float = OVERPROVISIONING
    spill_above_in_flight: int | None = None
    spill_above_utilization: float | None = None

    def __post_init__(self) -> None:
        require(
            "overprovisioning_factor",
            self.overprovisioning_factor,
            "1 or more",
            lambda factor: factor >= 1,
        )
        if self.spill_above_in_flight is not None:
            require_whole("spill_above_in_flight", self.spill_above_in_flight, 1)
        if self.spill_above_utilization is not None:
            require(
                "spill_above_utilization",
                self.spill_above_utilization,
                "above 0",
                lambda most: most > 0,
            )

    @property
    def counts_in_flight(self) -> bool:
        """Whether the requests in flight of a tier are counted."""
        return self.spill_above_in_flight is not None

    @property
    def takes_reports(self) -> bool:
        """Whether the load that instances report is used."""
        return self.spill_above_utilization is not None


def tier_availabilities(
    members: Iterable[Member], ill: Collection[str], factor: float = OVERPROVISIONING
) -> dict[int, float]:
    """Return what part of the requests each tier can carry, 0 to 1, by its priority. O(n).

    Args:
        members: all that are present.
        ill: the ids of those that are not healthy.
        factor: of overprovisioning.
    """
    tiers: dict[int, list[Member]] = defaultdict(list)
    for member in members:
        tiers[member.instance.priority].append(member)
    return {priority: _availability(tier, ill, factor) for priority, tier in tiers.items()}


def _availability(tier: Iterable[Member], ill: Collection[str], factor: float) -> float:
    weights = {member.id: member.instance.weight for member in tier}
    # Divided by the largest, so that the sum of huge weights stays finite.
    top = max(weights.values()) or 1.0
    healthy = sum(weight / top for id_, weight in weights.items() if id_ not in ill)
    return availability(healthy, sum(weight / top for weight in weights.values()), factor)


class _Tier(Group):
    """The eligible members of one priority, and their load."""

    __slots__ = ("_adjust_at", "_most", "_reported_at", "_reports", "_stays", "_sum", "in_flight")

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)
        self.in_flight = InFlightTotal()
        self._reports: dict[str, float] = {}
        self._sum = 0.0
        self._reported_at = self._adjust_at = -inf
        self._stays = 1.0

    def update(self, members: list[Member]) -> None:
        """Take the members, and count their load anew."""
        super().update(members)
        self.in_flight.update(members)
        known = self._reports
        self._reports = {each.id: known[each.id] for each in members if each.id in known}
        self._sum = sum(self._reports.values())

    def report(self, id_: str, utilization: float, now: float, most: float) -> None:
        """Take a member's utilization; adjust the part that stays, so that the mean is `most`."""
        self._sum += utilization - self._reports.get(id_, 0.0)
        self._reports[id_] = utilization
        self._reported_at = now
        if now >= self._adjust_at:
            self._adjust_at = now + _ADJUST_EVERY_S
            mean = self._sum / len(self._reports)
            self._stays = min(max(self._stays * _change(mean, most), _LEAST_STAYS), 1.0)

    def stays(self, now: float) -> float:
        """Return the part of its requests that a tier keeps, by the load that is reported."""
        return self._stays if now - self._reported_at <= _FORGET_S else 1.0


def _change(mean: float, most: float) -> float:
    """Return by what factor the part that stays changes, at this mean utilization."""
    if mean > most:
        return most / mean
    return min((most / mean) ** _WAY_UP, _MOST_GROWTH) if mean > 0 else _MOST_GROWTH


class Tiers(Groups[_Tier]):
    """Draws the tier of a request, and lets that tier's strategy choose.

    1. Each tier gets what the tiers before it cannot carry, as far as it can carry that itself:
       `1.4 * healthy / all` of the requests, at most all. If the tiers together cannot carry
       everything, each gets more than that, in proportion.
    2. If no instance of any tier is healthy, and panic has them used all the same, the tiers share
       the requests by their numbers of instances.
    3. A tier that is full by the `spill_above` settings passes on what exceeds its capacity: to the
       next lower tier that is not full, then to an upper one. If all are full it keeps it.
    4. A key stays in its tier while the shares do.
    5. A retry goes to another instance of the best tier that it has tried; when all of these were
       tried, to the next lower tier, then to an upper one.

    A choice costs what the strategy's choice costs, and O(log(tiers)); for a retry, or while tiers
    are full, O(tiers).

    Args:
        rng: draws the tiers, and seeds the strategies within.
        inside: makes the strategy of each tier.
        settings: see there.
        first: the strategy of the best tier, in use already.
    """

    key_seed = 2
    group_type = _Tier

    def __init__(
        self,
        rng: Random,
        *,
        inside: StrategyFactory,
        settings: PrioritySettings,
        first: Strategy | None = None,
    ) -> None:
        super().__init__(rng, inside)
        self._settings = settings
        self._first = first
        self._most_in_flight = settings.spill_above_in_flight or inf
        self._most_utilized = settings.spill_above_utilization
        self.takes_reports |= settings.takes_reports
        self.counts_in_flight |= settings.counts_in_flight
        self._ill: Collection[str] = ()
        self._tiers: list[_Tier] = []
        self._place_of: dict[str, int] = {}
        self._ends: list[float] = []

    def name_of(self, member: Member) -> int:
        """Return the member's priority."""
        return member.instance.priority

    def new_strategy(self) -> Strategy:
        """Make the strategy of a tier; the first one is there already."""
        first, self._first = self._first, None
        return super().new_strategy() if first is None else first

    @property
    def best(self) -> Strategy:
        """The strategy of the best tier."""
        return self._tiers[0].strategy if self._tiers else self.new_strategy()

    def suffice(self, members: Iterable[Member], ill: Collection[str]) -> bool:
        """Return whether the tiers carry all requests without these members; see `Monitor`."""
        can = tier_availabilities(members, ill, self._settings.overprovisioning_factor)
        return sum(can.values()) >= 1.0 - _EXACT

    def judge(self, ill: Collection[str]) -> None:
        """Take the ids of the members that are not healthy, before `update_all`."""
        self._ill = ill

    def update_all(
        self,
        members: Collection[Member],
        eligible: Sequence[Member],
        well: Sequence[Member] | None = None,
    ) -> None:
        """Take all members, those that may be chosen, and those that could be without a subset."""
        ordered = sorted(eligible, key=self.name_of)
        super().update_all(members, ordered, well)
        self._tiers = list(self._groups.values())
        self._place_of = {
            member.id: place for place, tier in enumerate(self._tiers) for member in tier.members
        }
        self._ends = list(accumulate(self._shares(members)))

    def _shares(self, members: Collection[Member]) -> Sequence[float]:
        can = tier_availabilities(members, self._ill, self._settings.overprovisioning_factor)
        carried = [can[priority] for priority in self._groups]
        if any(carried):
            return priority_loads(carried)
        return [len(tier.members) for tier in self._tiers]

    # -- a request ---------------------------------------------------------------------------

    def group_for(self, now: float, key: str | None, exclude: Collection[str]) -> _Tier:
        """Return the tier of a request."""
        if exclude and (tried := [self._place_of[id_] for id_ in exclude if id_ in self._place_of]):
            return self._instead(min(tried), exclude)
        tiers, ends = self._tiers, self._ends
        point = self.point_of(key) * ends[-1]
        place = bisect_right(ends, point, hi=len(ends) - 1)
        if self._most_in_flight == inf and self._most_utilized is None:
            return tiers[place]
        begin = ends[place - 1] if place else 0.0
        return self._spilled(place, (point - begin) / (ends[place] - begin), now)

    def _spilled(self, place: int, point: float, now: float) -> _Tier:
        """Return the tier, or the first one after it that can take more; see the third rule.

        Args:
            place: of the tier.
            point: a number from 0 to 1, at random: below the part that stays the request stays.
            now: the time.
        """
        for tier in self._tiers[place:]:
            stays = tier.stays(now)
            if point < stays:
                if not self._is_full(tier):
                    return tier
            else:
                point = (point - stays) / (1.0 - stays)
        upper = (tier for tier in self._tiers[:place] if not self._is_full(tier))
        return next(upper, self._tiers[place])

    def _instead(self, place: int, exclude: Collection[str]) -> _Tier:
        """Return this tier, a lower or an upper one that has a member left; first one with room."""
        order = (*self._tiers[place:], *reversed(self._tiers[:place]))
        left = [tier for tier in order if not tier.is_covered(exclude)]
        return next((tier for tier in left if not self._is_full(tier)), left[0])

    def _is_full(self, tier: _Tier) -> bool:
        return tier.in_flight.total >= self._most_in_flight * len(tier.members)

    # -- what tiers learn --------------------------------------------------------------------

    def begun(self, member: Member) -> None:
        """Count a request in flight on the member's tier."""
        tier = self._group_of[member.id]
        tier.in_flight.begun(member)
        tier.extras.begun(member)

    def ended(self, member: Member) -> None:
        """Count a request in flight on the member's tier no longer."""
        if tier := self._group_of.get(member.id):
            tier.in_flight.ended(member)
            tier.extras.ended(member)

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Take a load report for the tier, and pass it on."""
        tier = self._group_of.get(member_id)
        if tier and self._most_utilized is not None:
            tier.report(member_id, report.utilization, now, self._most_utilized)
        super().report(member_id, report, now)
