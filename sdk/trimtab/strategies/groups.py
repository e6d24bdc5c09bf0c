"""Members in groups, each group with a strategy of its own; and how groups share the requests.

Zones (`zone_aware`) and priority tiers (`tiers`) are such groups. A group is assumed to have 40 %
more capacity than it needs. Until fewer than 1 / 1.4 = 71.4 % of its instances are available, it
carries its whole share.

Source: Envoy, "Priority levels", "Locality weighted load balancing", "Overprovisioning factor".
Deviation: shares are exact, not whole percents.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trimtab.strategies.consistent_hash import hash_of
from trimtab.strategies.protocol import Extras

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Sequence

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport
    from trimtab.strategies.protocol import Strategy, StrategyFactory

__all__ = ["OVERPROVISIONING", "Group", "Groups", "availability", "priority_loads"]

OVERPROVISIONING = 1.4
"""The capacity of a group whose instances are all available, in multiples of what it needs."""


def availability(available: float, total: float, factor: float = OVERPROVISIONING) -> float:
    """Return what part of its share a group can carry: 0 to 1; 0 for an empty one."""
    return min(1.0, factor * available / total) if total else 0.0


def priority_loads(availabilities: Sequence[float]) -> list[float]:
    """Return each level's share of the requests, 0 to 1; together 1.

    A level gets what the levels before it cannot carry, as far as it can carry that itself. When
    all together cannot carry everything, each gets more than it can carry, in proportion to what
    it can.

    Args:
        availabilities: of each level, 0 to 1, the preferred one first; one is above 0.
    """
    whole = min(1.0, sum(availabilities))
    left, loads = 1.0, []
    for each in availabilities:
        loads.append(min(left, each / whole))
        left -= loads[-1]
    return loads


class Group:
    """The eligible members of one group, and the strategy that chooses among them."""

    __slots__ = ("_seen", "extras", "members", "strategy")

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.extras = Extras(strategy)
        self.members: list[Member] = []
        self._seen: list[tuple[Member, float, str]] = []

    def update(self, members: list[Member]) -> None:
        """Pass the members to the strategy, if they, their weights or addresses have changed."""
        self.members = members
        seen = [(member, member.weight, member.instance.address) for member in members]
        if seen != self._seen:
            self._seen = seen
            if not self.extras.knows_all:
                self.strategy.update(members)

    def is_covered(self, exclude: Collection[str]) -> bool:
        """Whether all are excluded. O(len(exclude))."""
        return len(self.members) <= len(exclude) and all(
            member.id in exclude for member in self.members
        )


GroupT = TypeVar("GroupT", bound=Group)


class Groups(Generic[GroupT]):
    """Draws a group, and lets that group's strategy choose.

    Every group has a strategy of its own, which keeps its state while the group is there. A choice
    costs what that strategy's choice costs, and what drawing the group costs. A subclass says which
    group a member is in, and draws the group of a request.

    Args:
        rng: draws the groups, and seeds the strategies within.
        inside: makes the strategy of each group.

    Attributes:
        takes_reports, counts_in_flight, ask_timeout_s: of the strategies within; see `Extras`.
    """

    key_seed = 0
    """A key's group and its place within the group must not depend on each other."""
    group_type: type[GroupT]

    def __init__(self, rng: Random, inside: StrategyFactory) -> None:
        self._rng = rng
        self._inside = inside
        # One is made only to look at; each group gets its own.
        extras = Extras(inside(Random(0)))
        self.takes_reports, self.ask_timeout_s = extras.takes_reports, extras.ask_timeout_s
        self.counts_in_flight = extras.counts_in_flight
        self._groups: dict[Any, GroupT] = {}
        self._group_of: dict[str, GroupT] = {}

    # -- what a subclass says ----------------------------------------------------------------

    def name_of(self, member: Member) -> Hashable:
        """Return the name of a member's group."""
        raise NotImplementedError

    def group_for(self, now: float, key: str | None, exclude: Collection[str]) -> GroupT:
        """Draw the group of a request: one with a member outside `exclude`."""
        raise NotImplementedError

    def new_strategy(self) -> Strategy:
        """Make the strategy of a group."""
        return self._inside(Random(self._rng.getrandbits(64)))

    # -- the members -------------------------------------------------------------------------

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
        parts = self._parts(eligible)
        self._groups = {
            name: self._groups.get(name) or self.group_type(self.new_strategy()) for name in parts
        }
        for name, group in self._groups.items():
            group.update(parts[name])
        self._group_of = {
            member.id: group for group in self._groups.values() for member in group.members
        }
        if any(group.extras.knows_all for group in self._groups.values()):
            self._update_whole(parts, members, eligible if well is None else well)

    def _update_whole(
        self,
        parts: dict[Hashable, list[Member]],
        members: Iterable[Member],
        well: Iterable[Member],
    ) -> None:
        present, able = self._parts(members), self._parts(well)
        for name, group in self._groups.items():
            group.extras.update_all(present[name], parts[name], able[name])

    def _parts(self, members: Iterable[Member]) -> dict[Hashable, list[Member]]:
        parts: dict[Hashable, list[Member]] = {}
        for member in members:
            parts.setdefault(self.name_of(member), []).append(member)
        return parts

    # -- a request ---------------------------------------------------------------------------

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:
        """Return a member of the group that is drawn."""
        return self.group_for(now, key, exclude).strategy.choose(now, key, exclude)

    def candidates(
        self, now: float, key: str | None, exclude: Collection[str]
    ) -> tuple[Sequence[Member], Sequence[Member]]:
        """Return those of one group, drawn as for `choose`; see `AsksFirst`."""
        return self.group_for(now, key, exclude).extras.candidates(now, key, exclude)

    def choose_among(self, members: Sequence[Member], now: float) -> Member:
        """Return one of the members, by the strategy of the first one's group."""
        group = self._group_of[members[0].id]
        inside = [member for member in members if self._group_of.get(member.id) is group]
        return group.extras.choose_among(inside, now)

    def point_of(self, key: str | None) -> float:
        """Draw a number from 0 to 1; the same for the same key."""
        return self._rng.random() if key is None else (hash_of(key, self.key_seed) >> 11) / 2**53

    # -- what groups learn -------------------------------------------------------------------

    def silent(self, member_id: str, now: float) -> None:
        """Pass on that a member has not answered."""
        if group := self._group_of.get(member_id):
            group.extras.silent(member_id, now)

    def begun(self, member: Member) -> None:
        """Pass on that a request is in flight on the member."""
        if group := self._group_of.get(member.id):
            group.extras.begun(member)

    def ended(self, member: Member) -> None:
        """Pass on that a request is no longer in flight on the member."""
        if group := self._group_of.get(member.id):
            group.extras.ended(member)

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Pass a load report on."""
        if group := self._group_of.get(member_id):
            group.extras.report(member_id, report, now)
