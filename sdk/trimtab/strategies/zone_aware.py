"""`zone_aware`: prefer the client's own zone, and use the others for what it cannot carry.

Source: Envoy, "Priority levels", "Locality weighted load balancing"; the rule is in
`trimtab.strategies.groups`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError
from trimtab.strategies.groups import (
    OVERPROVISIONING,
    Group,
    Groups,
    availability,
    priority_loads,
)
from trimtab.strategies.settings import in_words, require, resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member
    from trimtab.strategies.protocol import StrategyFactory

__all__ = ["ZoneAware", "Zoned", "locality_weight"]


@dataclass(frozen=True, slots=True)
class ZoneAware:
    """Prefer instances of the own zone; spill over to others when too few of it are eligible.

    Traffic within a zone is faster, cheaper, and not hit by the other zones' failures. It is only
    as even as the zones are: each zone's instances must be able to carry the traffic of that zone's
    clients. See `Zoned` for the rule.

    Attributes:
        zone: the zone that this client runs in, spelled as in its instances' `zone`.
        inside: the strategy within each zone: a name, a text with settings, or a factory.
        overprovisioning_factor: the capacity of a zone in multiples of what it needs; 1 spills as
            soon as one instance is missing.

    Raises:
        ConfigurationError: the zone is empty, the factor below 1, or the strategy unknown.
    """

    zone: str
    inside: str | StrategyFactory = "least_latency"
    overprovisioning_factor: float = OVERPROVISIONING

    def __post_init__(self) -> None:
        zone: object = self.zone
        if not (isinstance(zone, str) and zone):
            raise ConfigurationError(
                f"zone_aware: zone is {zone!r}; name the zone that this client runs in"
            )
        require(
            "zone_aware: overprovisioning_factor",
            self.overprovisioning_factor,
            "1 or more",
            lambda factor: factor >= 1,
        )
        resolve(self.inside)

    @property
    def __name__(self) -> str:
        """Return the text form, for people."""
        return in_words("zone_aware", self)

    def __call__(self, rng: Random) -> Zoned:
        """Make the strategy."""
        return Zoned(
            rng,
            zone=self.zone,
            inside=resolve(self.inside),
            factor=self.overprovisioning_factor,
        )


def locality_weight(
    weight: float, available: int, total: int, factor: float = OVERPROVISIONING
) -> float:
    """Return a zone's weight among zones of one rank: its own weight times its availability."""
    return weight * availability(available, total, factor)


class Zoned(Groups[Group]):
    """Draws the zone, and lets that zone's strategy choose.

    1. All traffic stays in the own zone while its share of eligible instances is 1 / 1.4 or more.
       Below that, a share of `1.4 * eligible / all` stays.
    2. The rest goes to the other zones, in proportion to their sizes times their availability.
       When they cannot carry it either, all zones get more than they can carry.
    3. Without an eligible instance in the own zone (or with its name misspelt), all traffic goes
       to the others. Without one in the others, all stays. So there is always a zone to choose.
    4. A key stays in its zone while the shares do, and moves when its zone's share shrinks.
    5. A retry stays too, until every instance of the zone was tried.

    Without `update_all` it does not know the instances that are not eligible, and assumes that each
    zone is complete.

    Args:
        rng: draws the zones, and seeds the strategies within.
        zone: the own one.
        inside: makes the strategy of each zone.
        factor: of overprovisioning.
    """

    key_seed = 1
    group_type = Group

    def __init__(
        self, rng: Random, *, zone: str, inside: StrategyFactory, factor: float = OVERPROVISIONING
    ) -> None:
        super().__init__(rng, inside)
        self._own = zone
        self._factor = factor
        self._own_share = 0.0
        self._others: list[Group] = []
        self._ends: list[float] = []

    def name_of(self, member: Member) -> str:
        """Return the member's zone."""
        return member.instance.zone

    def update_all(
        self,
        members: Collection[Member],
        eligible: Sequence[Member],
        well: Sequence[Member] | None = None,
    ) -> None:
        """Take all members, those that may be chosen, and those that could be without a subset."""
        super().update_all(members, eligible, well)
        if eligible:
            self._share_out(_by_zone(members), _by_zone(eligible if well is None else well))

    def group_for(self, now: float, key: str | None, exclude: Collection[str]) -> Group:  # noqa: ARG002 - the base's
        """Draw the zone of a request: the own one, or another if that has too few."""
        point = self.point_of(key)
        zone = self._at(point)
        return self._instead(point, exclude) if exclude and zone.is_covered(exclude) else zone

    def _share_out(self, present: Counter[str], well: Counter[str]) -> None:
        others = sorted(name for name in self._groups if name != self._own)
        own = availability(well[self._own], present[self._own], self._factor)
        rest = availability(
            well.total() - well[self._own], present.total() - present[self._own], self._factor
        )
        self._own_share, _ = priority_loads((own if self._own in self._groups else 0.0, rest))
        if not others:
            self._own_share = 1.0
        self._others = [self._groups[name] for name in others]
        self._ends = list(
            accumulate(self._weight(name, present[name], well[name]) for name in others)
        )

    def _weight(self, name: str, present: int, well: int) -> float:
        """Return a zone's weight among the others: by its size, or by a subset's part of it."""
        part = len(self._groups[name].members) / well
        return locality_weight(present * part, well, present, self._factor)

    def _at(self, point: float) -> Group:
        if point < self._own_share:
            return self._groups[self._own]
        return self._other((point - self._own_share) / (1 - self._own_share))

    def _other(self, point: float) -> Group:
        """Return the zone at this point, 0 to 1, when the others lie side by side."""
        return self._others[
            bisect_right(self._ends, point * self._ends[-1], hi=len(self._ends) - 1)
        ]

    def _instead(self, point: float, exclude: Collection[str]) -> Group:
        """Return the own zone, else another by its weight, else any that has a member left."""
        own = [zone] if (zone := self._groups.get(self._own)) else []
        other = [self._other(point)] if self._others else []
        candidates = (*own, *other, *self._others)
        return next(zone for zone in candidates if not zone.is_covered(exclude))


def _by_zone(members: Collection[Member]) -> Counter[str]:
    return Counter(member.instance.zone for member in members)
