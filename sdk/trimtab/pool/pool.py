"""The pool: whole lists in, picks out."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from trimtab.errors import NoEligibleInstanceError, NoInstancesError, PickError
from trimtab.health import Reason, reason_against
from trimtab.member import Member
from trimtab.pool.pick import Pick
from trimtab.pool.statistics import MemberStatistics, PoolStatistics
from trimtab.strategies import StrategyFactory, resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from trimtab.instance import Instance

__all__ = ["Pool"]


class Pool:
    """One service as one client sees it.

    Eligibility is worked out when the list changes, never when picking, so a pick costs what the
    strategy costs: O(1) for all that ship, but for `weighted_round_robin` among many different
    weights. Not thread-safe: share it between threads under a lock of your own.

    Args:
        strategy: a name ("least_latency", "round_robin", ...) or a factory `(rng) -> Strategy`.
        rng: the source of chance; give a seeded one for repeatable picks.
        service: the service's name, for messages.

    Raises:
        ConfigurationError: there is no such strategy.

    Example:
        >>> import random
        >>> from trimtab import Instance, Pool
        >>> pool = Pool(strategy="round_robin", rng=random.Random(1))
        >>> pool.update([Instance(host="10.0.0.7", port=80)], now=0.0)
        []
        >>> pick = pool.pick(now=0.0)
        >>> pick.instance.address
        '10.0.0.7:80'
        >>> pick.done(0.012, "success")
    """

    def __init__(
        self,
        *,
        strategy: str | StrategyFactory = "least_latency",
        rng: Random | None = None,
        service: str = "",
    ) -> None:
        factory = resolve(strategy)
        self.service = service
        self.strategy_name = strategy if isinstance(strategy, str) else _name_of(factory)
        self._strategy = factory(rng or Random())
        self._members: dict[str, Member] = {}
        self._eligible: list[Member] = []
        self._weights: list[float] = []
        self._reasons: dict[str, Reason] = {}
        self._leaving: list[Member] = []

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> Mapping[str, Member]:
        """All present members by id, eligible or not."""
        return self._members

    @property
    def eligible(self) -> tuple[Member, ...]:
        """The members that may be picked, in the registry's order."""
        return tuple(self._eligible)

    def update(self, instances: Iterable[Instance], now: float) -> list[Member]:
        """Take a whole new list; members that stay keep their statistics. O(n).

        Of several entries with one id the last counts. Requests in flight on a removed member
        go on, and their picks are done as ever.

        Returns:
            The members that are gone, for the caller to close once nothing is in flight.
        """
        before = self._members
        members: dict[str, Member] = {}
        for instance in instances:
            member = members.get(instance.id) or before.get(instance.id)
            if member is None:
                member = Member(instance, now)
            elif member.instance is not instance:
                member.replace(instance)
            members[instance.id] = member
        self._members = members
        self._choose_eligible()
        removed = [member for id_, member in before.items() if id_ not in members]
        for member in removed:
            member.is_removed = True
        self._leaving = [member for member in (*self._leaving, *removed) if member.in_flight]
        return removed

    def pick(self, now: float, *, key: str | None = None, exclude: Collection[str] = ()) -> Pick:
        """Choose a member for one request and count it in flight.

        Args:
            now: seconds on the caller's monotonic clock.
            key: for strategies with affinity; others ignore it.
            exclude: ids of instances that this request has tried. They are avoided while another
                is eligible.

        Raises:
            NoInstancesError: the list is empty.
            NoEligibleInstanceError: all instances are filtered; `reasons` counts why.
        """
        if not self._eligible:
            raise self._nothing_to_pick()
        if exclude and self._covers(exclude):
            exclude = ()
        return Pick(self._strategy.choose(now, key, exclude), now)

    def has_other(self, exclude: Collection[str]) -> bool:
        """Say whether an eligible instance outside `exclude` is left. O(len(exclude))."""
        return bool(self._eligible) and not self._covers(exclude)

    def statistics(self, now: float) -> PoolStatistics:
        """Return the figures of all present members. O(n)."""
        members = self._members.values()
        on_leaving = sum(member.in_flight for member in self._leaving)
        return PoolStatistics(
            service=self.service,
            strategy=self.strategy_name,
            eligible=len(self._eligible),
            in_flight=sum(member.in_flight for member in members) + on_leaving,
            picks=sum(member.picks for member in members),
            members={member.id: self._figures(member, now) for member in members},
        )

    def _choose_eligible(self) -> None:
        reasons: dict[str, Reason] = {}
        eligible: list[Member] = []
        for member in self._members.values():
            reason = reason_against(member.instance)
            if reason is None:
                eligible.append(member)
            else:
                reasons[member.id] = reason
        self._reasons = reasons
        weights = [member.weight for member in eligible]
        # An update that changes neither must not disturb a strategy's turn.
        if eligible != self._eligible or weights != self._weights:
            self._eligible, self._weights = eligible, weights
            self._strategy.update(eligible)

    def _covers(self, exclude: Collection[str]) -> bool:
        return len(self._eligible) <= len(exclude) and all(
            member.id in exclude for member in self._eligible
        )

    def _nothing_to_pick(self) -> PickError:
        name = f"service {self.service!r}" if self.service else "the service"
        if not self._members:
            return NoInstancesError(f"{name}: no instance is registered", service=self.service)
        counts = Counter(str(reason) for reason in self._reasons.values())
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        return NoEligibleInstanceError(
            f"{name}: none of its {len(self._members)} instances may be picked ({listed})",
            service=self.service,
            reasons=counts,
        )

    def _figures(self, member: Member, now: float) -> MemberStatistics:
        return MemberStatistics(
            id=member.id,
            address=member.instance.address,
            weight=member.weight,
            status=member.instance.status,
            reason=self._reasons.get(member.id),
            in_flight=member.in_flight,
            picks=member.picks,
            successes=member.successes,
            failures=member.failures,
            cancelled=member.cancelled,
            latency_s=member.latency_s(now),
            failure_load=member.failure_load(now),
        )


def _name_of(factory: StrategyFactory) -> str:
    # A partial or another callable object has no name of its own.
    return getattr(factory, "__name__", None) or type(factory).__name__
