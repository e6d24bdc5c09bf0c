"""`zone_aware`: prefer the client's own zone, and use the others for what it cannot carry.

A zone is assumed to have 40 % more capacity than it needs. Until fewer than 1 / 1.4 = 71.4 % of its
instances are available, it carries its whole share.

Source: Envoy, "Priority levels", "Locality weighted load balancing", "Overprovisioning factor".
Deviation: shares are exact, not whole percents.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError
from trimtab.strategies.consistent_hash import hash_of
from trimtab.strategies.protocol import Extras
from trimtab.strategies.settings import in_words, require, resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport
    from trimtab.strategies.protocol import Strategy, StrategyFactory

__all__ = ["ZoneAware", "Zoned", "availability", "locality_weight", "own_share"]

_OVERPROVISIONING = 1.4
"""The capacity of a zone whose instances are all available, in multiples of what it needs."""
_ZONE_SEED = 1
"""A key's zone and its place within the zone must not depend on each other."""


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
    overprovisioning_factor: float = _OVERPROVISIONING

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


def availability(available: int, total: int, factor: float = _OVERPROVISIONING) -> float:
    """Return what part of its share a zone can carry: 0 to 1; 0 for an empty one."""
    return min(1.0, factor * available / total) if total else 0.0


def locality_weight(
    weight: float, available: int, total: int, factor: float = _OVERPROVISIONING
) -> float:
    """Return a zone's weight among zones of one rank: its own weight times its availability."""
    return weight * availability(available, total, factor)


def own_share(own: float, others: float) -> float:
    """Return the share of the traffic that stays in the own zone.

    What the own zone cannot carry goes to the others. When they cannot carry it either, both get
    more than they can carry, in proportion to what they can.

    Args:
        own: availability of the own zone.
        others: that of all others together; one of the two is above 0.
    """
    return own / min(1.0, own + others)


class _Zone:
    """The eligible members of one zone, and the strategy that chooses among them."""

    __slots__ = ("extras", "members", "strategy", "weights")

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.extras = Extras(strategy)
        self.members: list[Member] = []
        self.weights: list[float] = []

    def update(self, members: list[Member]) -> None:
        """Pass the members to the strategy, if they or their weights have changed."""
        weights = [member.weight for member in members]
        if members != self.members or weights != self.weights:
            self.members, self.weights = members, weights
            self.strategy.update(members)

    def is_covered(self, exclude: Collection[str]) -> bool:
        """Whether all are excluded. O(len(exclude))."""
        return len(self.members) <= len(exclude) and all(
            member.id in exclude for member in self.members
        )


class Zoned:
    """Draws the zone, and lets that zone's strategy choose.

    1. All traffic stays in the own zone while its share of eligible instances is 1 / 1.4 or more.
       Below that, a share of `1.4 * eligible / all` stays.
    2. The rest goes to the other zones, in proportion to their sizes times their availability.
       When they cannot carry it either, all zones get more than they can carry.
    3. Without an eligible instance in the own zone (or with its name misspelt), all traffic goes
       to the others. Without one in the others, all stays. So there is always a zone to choose.
    4. A key stays in its zone while the shares do, and moves when its zone's share shrinks.
    5. A retry stays too, until every instance of the zone was tried.

    Every zone has a strategy of its own, which keeps its state while the zone is there. A choice
    costs what that strategy's choice costs, and O(log(zones)).

    Without `update_all` it does not know the instances that are not eligible, and assumes that each
    zone is complete.

    Args:
        rng: draws the zones, and seeds the strategies within.
        zone: the own one.
        inside: makes the strategy of each zone.
        factor: of overprovisioning.
    """

    def __init__(
        self, rng: Random, *, zone: str, inside: StrategyFactory, factor: float = _OVERPROVISIONING
    ) -> None:
        self._rng = rng
        self._own = zone
        self._inside = inside
        self._factor = factor
        # One is made only to look at; each zone gets its own.
        extras = Extras(inside(Random(0)))
        self.takes_reports, self.ask_timeout_s = extras.takes_reports, extras.ask_timeout_s
        self._zones: dict[str, _Zone] = {}
        self._zone_of: dict[str, _Zone] = {}
        self._own_share = 0.0
        self._others: list[_Zone] = []
        self._ends: list[float] = []

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members, and assume that there are no others."""
        self.update_all(members, members)

    def update_all(
        self,
        members: Collection[Member],
        eligible: Sequence[Member],
        well: Sequence[Member] | None = None,
    ) -> None:
        """Take all members, those that may be chosen, and those that could be without a subset."""
        groups: dict[str, list[Member]] = {}
        for member in eligible:
            groups.setdefault(member.instance.zone, []).append(member)
        self._zones = {name: self._updated(name, group) for name, group in groups.items()}
        self._zone_of = {
            member.id: zone for zone in self._zones.values() for member in zone.members
        }
        if eligible:
            self._share_out(_by_zone(members), _by_zone(eligible if well is None else well))

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:
        """Return a member of the own zone, or of another if that has too few."""
        return self._zone(key, exclude).strategy.choose(now, key, exclude)

    def candidates(
        self, now: float, key: str | None, exclude: Collection[str]
    ) -> tuple[Sequence[Member], Sequence[Member]]:
        """Return those of one zone, drawn as for `choose`; see `AsksFirst`."""
        return self._zone(key, exclude).extras.candidates(now, key, exclude)

    def silent(self, member_id: str, now: float) -> None:
        """Pass on that a member has not answered."""
        if zone := self._zone_of.get(member_id):
            zone.extras.silent(member_id, now)

    def choose_among(self, members: Sequence[Member], now: float) -> Member:
        """Return one of the members, by the strategy of the first one's zone."""
        zone = self._zone_of[members[0].id]
        inside = [member for member in members if self._zone_of.get(member.id) is zone]
        return zone.extras.choose_among(inside, now)

    def begun(self, member: Member) -> None:
        """Pass on that a request is in flight on the member."""
        if zone := self._zone_of.get(member.id):
            zone.extras.begun(member)

    def ended(self, member: Member) -> None:
        """Pass on that a request is no longer in flight on the member."""
        if zone := self._zone_of.get(member.id):
            zone.extras.ended(member)

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Pass a load report on."""
        if zone := self._zone_of.get(member_id):
            zone.extras.report(member_id, report, now)

    def _zone(self, key: str | None, exclude: Collection[str]) -> _Zone:
        """Draw the zone of a request."""
        point = self._rng.random() if key is None else (hash_of(key, _ZONE_SEED) >> 11) / 2**53
        zone = self._at(point)
        return self._instead(point, exclude) if exclude and zone.is_covered(exclude) else zone

    def _updated(self, name: str, members: list[Member]) -> _Zone:
        zone = self._zones.get(name)
        if zone is None:
            zone = _Zone(self._inside(Random(self._rng.getrandbits(64))))
        zone.update(members)
        return zone

    def _share_out(self, present: Counter[str], well: Counter[str]) -> None:
        others = sorted(name for name in self._zones if name != self._own)
        own = availability(well[self._own], present[self._own], self._factor)
        rest = availability(
            well.total() - well[self._own], present.total() - present[self._own], self._factor
        )
        self._own_share = own_share(own if self._own in self._zones else 0.0, rest)
        if not others:
            self._own_share = 1.0
        self._others = [self._zones[name] for name in others]
        self._ends = list(
            accumulate(self._weight(name, present[name], well[name]) for name in others)
        )

    def _weight(self, name: str, present: int, well: int) -> float:
        """Return a zone's weight among the others: by its size, or by a subset's part of it."""
        part = len(self._zones[name].members) / well
        return locality_weight(present * part, well, present, self._factor)

    def _at(self, point: float) -> _Zone:
        if point < self._own_share:
            return self._zones[self._own]
        return self._other((point - self._own_share) / (1 - self._own_share))

    def _other(self, point: float) -> _Zone:
        """Return the zone at this point, 0 to 1, when the others lie side by side."""
        return self._others[
            bisect_right(self._ends, point * self._ends[-1], hi=len(self._ends) - 1)
        ]

    def _instead(self, point: float, exclude: Collection[str]) -> _Zone:
        """Return the own zone, else another by its weight, else any that has a member left."""
        own = [zone] if (zone := self._zones.get(self._own)) else []
        other = [self._other(point)] if self._others else []
        candidates = (*own, *other, *self._others)
        return next(zone for zone in candidates if not zone.is_covered(exclude))


def _by_zone(members: Collection[Member]) -> Counter[str]:
    return Counter(member.instance.zone for member in members)
