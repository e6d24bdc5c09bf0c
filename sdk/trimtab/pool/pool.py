"""The pool: whole lists in, picks out."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from trimtab.health import HealthSettings, Monitor, Reason
from trimtab.member import FleetFailures, Member
from trimtab.pool.limits import ConcurrencyLimits, Limiter
from trimtab.pool.news import News
from trimtab.pool.pick import Pick
from trimtab.pool.refusals import all_full, nothing_to_pick
from trimtab.pool.statistics import MemberStatistics, PoolStatistics, figures_of
from trimtab.pool.subsets import chosen, narrow
from trimtab.strategies import StrategyFactory, resolve
from trimtab.strategies.protocol import Extras

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from trimtab.events import Listener
    from trimtab.instance import Instance
    from trimtab.pool.subsets import Subset
    from trimtab.strategies import LoadReport

__all__ = ["OVERLOADED", "Pool"]

OVERLOADED = frozenset({429, 503, 504})
"""The statuses by which an instance says that it has too much to do."""


class Pool:
    """One service as one client sees it.

    Eligibility is worked out when something changes, never when picking, so a pick costs what the
    strategy costs: O(1) for nearly all that ship; see docs/strategies.md for the others. Not
    thread-safe: share it between threads under a lock of your own.

    Args:
        strategy: a name ("least_latency", "round_robin", ...) or a factory `(rng) -> Strategy`.
        rng: the source of chance; give a seeded one for repeatable picks.
        service: the service's name, for messages.
        health: what this client judges for itself: outliers, panic, slow start.
        concurrency: how much one instance may have in flight.
        subset: chooses the few instances of a large fleet that this client talks to.
        listener: told of what happens, as `trimtab.events`; must neither block nor raise.

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
        health: HealthSettings | None = None,
        concurrency: ConcurrencyLimits | None = None,
        subset: Subset | None = None,
        listener: Listener | None = None,
    ) -> None:
        factory = resolve(strategy)
        rng = rng or Random()
        self.service = service
        self.strategy_name = strategy if isinstance(strategy, str) else _name_of(factory)
        self._strategy = factory(rng)
        self._extras = Extras(self._strategy)
        self._monitor = Monitor(health or HealthSettings(), rng)
        is_bounded = concurrency is not None and concurrency.is_bounded
        self._limiter = Limiter(concurrency) if concurrency and is_bounded else None
        # Nobody is told of outcomes that nobody judges: it would cost every request.
        watches = self._monitor.watches or self._limiter is not None
        self._observer = self if watches or self._extras.counts_in_flight else None
        self._subset = subset
        self._news = News(service, listener, self._monitor.why) if listener is not None else None
        self._fleet = FleetFailures()
        self._members: dict[str, Member] = {}
        self._eligible: list[Member] = []
        self._weights: list[float] = []
        self._reasons: dict[str, Reason] = {}
        # The weights of those inside the subset; None: there is no subset.
        self._inside: dict[str, float] | None = None
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

    @property
    def is_panicking(self) -> bool:
        """Whether so few members are well that all are used; see `HealthSettings`."""
        return self._monitor.is_panicking

    @property
    def has_room(self) -> bool:
        """Whether an eligible member may take one more request; see `ConcurrencyLimits`."""
        return self._limiter is None or not self._limiter.is_full

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
                member = Member(instance, now, self._fleet)
            elif member.instance is not instance:
                member.replace(instance)
            members[instance.id] = member
        self._members = members
        self._inside = chosen(members.values(), self._subset)
        self._monitor.update(members, now)
        self._choose_eligible(now)
        removed = [member for id_, member in before.items() if id_ not in members]
        for member in removed:
            member.leave(now)
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
            SaturatedError: all eligible instances have as much in flight as they may.
        """
        if now >= self._monitor.review_at:
            self.review(now)
        if not self._eligible:
            raise nothing_to_pick(self.service, len(self._members), self._reasons.values())
        if exclude and self._covers(exclude):
            exclude = ()
        if self._observer is None:
            return Pick(self._strategy.choose(now, key, exclude), now)
        if self._limiter is None:
            member = self._strategy.choose(now, key, exclude)
        else:
            member = self._choose_with_room(now, key, exclude)
        pick = Pick(member, now, self._observer)
        self._extras.begun(member)
        if self._limiter is not None:
            self._limiter.changed(member)
        return pick

    def review(self, now: float) -> None:
        """Work out anew what time or outcomes have changed; picks and statistics do it too."""
        if now >= self._monitor.review_at and self._monitor.review(now):
            self._choose_eligible(now)

    def pause(self, id_: str, wait_s: float, now: float) -> None:
        """Leave a member in peace for as long as it asks (`Retry-After`), within bounds."""
        self._monitor.pause(id_, wait_s, now)

    def probed(self, id_: str, now: float, *, is_well: bool, why: str = "") -> None:
        """Take the turn of an active probe of a member; an unknown one is ignored."""
        self._monitor.probed(id_, now, is_well=is_well, why=why)
        self.review(now)

    @property
    def takes_reports(self) -> bool:
        """Whether the strategy weighs members by what they say of their load."""
        return self._extras.takes_reports

    def report(self, id_: str, report: LoadReport, now: float) -> None:
        """Take what a member says of its load."""
        self._extras.report(id_, report, now)

    def suspects(self, now: float) -> list[Instance]:
        """Return the instances that are ejected, or that a probe has found unwell. O(n)."""
        self.review(now)
        held = self._monitor.own_reasons(self._members)
        return [
            self._members[id_].instance
            for id_, reason in held.items()
            if reason in {Reason.EJECTED, Reason.PROBE_FAILED}
        ]

    def has_other(self, exclude: Collection[str]) -> bool:
        """Say whether an eligible instance outside `exclude` is left. O(len(exclude))."""
        return bool(self._eligible) and not self._covers(exclude)

    def has_room_beside(self, exclude: Collection[str]) -> bool:
        """Say whether an eligible instance outside `exclude` takes one more. O(len(exclude))."""
        if self._limiter is None:
            return self.has_other(exclude)
        return self._limiter.has_room_beside(exclude)

    def statistics(self, now: float) -> PoolStatistics:
        """Return the figures of all present members. O(n)."""
        self.review(now)
        members = self._members.values()
        on_leaving = sum(member.in_flight for member in self._leaving)
        return PoolStatistics(
            service=self.service,
            strategy=self.strategy_name,
            eligible=len(self._eligible),
            is_panicking=self.is_panicking,
            in_flight=sum(member.in_flight for member in members) + on_leaving,
            picks=sum(member.picks for member in members),
            members={member.id: self._figures(member, now) for member in members},
        )

    def _figures(self, member: Member, now: float) -> MemberStatistics:
        reason, limiter = self._reasons.get(member.id), self._limiter
        if reason is None and limiter is not None and not limiter.has_room(member):
            reason = Reason.SATURATED
        return figures_of(
            member,
            now,
            reason=reason,
            why=self._monitor.why(member.id),
            limit=limiter.bound(member.id) if limiter is not None else None,
        )

    # -- what picks tell ---------------------------------------------------------------------

    def note(self, pick: Pick, status: int | None, now: float) -> None:
        """Take a response's status from a pick, None for no (whole) response."""
        if pick.member.is_removed:
            return  # A namesake that came since is another.
        self._monitor.note(pick.member.id, status, now)
        if self._limiter is not None:
            ok = status is not None and status not in OVERLOADED
            self._limiter.learn(pick.member, now - pick.started_at, ok=ok)

    def left(self, pick: Pick) -> None:
        """Take from a pick that it is no longer in flight."""
        self._extras.ended(pick.member)
        if self._limiter is not None and not pick.member.is_removed:
            self._limiter.changed(pick.member)

    # -- who may be picked -------------------------------------------------------------------

    def _choose_eligible(self, now: float) -> None:
        monitor = self._monitor
        reasons = monitor.judge(self._members.values(), now)
        well = [member for member in self._members.values() if member.id not in reasons]
        eligible = well if self._inside is None else narrow(well, self._inside, reasons)
        for member in eligible:
            if member.id in self._reasons:
                monitor.begin_slowly(member.id, now)
            whole = (self._inside or {}).get(member.id, member.instance.weight)
            member.weight = whole * monitor.weight_factor(member.id, now)
        weights = [member.weight for member in eligible]
        self._reasons = reasons
        # An update that changes neither must not disturb a strategy's turn.
        if eligible != self._eligible or weights != self._weights:
            self._eligible, self._weights = eligible, weights
            if not self._extras.knows_all:
                self._strategy.update(eligible)
        self._extras.update_all(self._members.values(), eligible, well)
        if self._limiter is not None:
            self._limiter.update(self._members.values(), eligible)
        if self._news is not None:
            self._tell(self._news, now)

    def _tell(self, news: News, now: float) -> None:
        news.instances(self._members, self._monitor.own_reasons(self._members), now)
        news.service(
            eligible=len(self._eligible),
            total=len(self._members),
            is_panicking=self.is_panicking,
            at=now,
        )

    def _choose_with_room(self, now: float, key: str | None, exclude: Collection[str]) -> Member:
        """Choose past members that are full; O(1) while few are."""
        assert self._limiter is not None
        if self._limiter.is_full:
            raise all_full(self.service, self._eligible)
        tried = [*exclude]
        while True:
            if self._covers(tried):
                # All others are full: one that was tried, and has room, is better than none.
                tried = [
                    member.id for member in self._eligible if not self._limiter.has_room(member)
                ]
            member = self._strategy.choose(now, key, tried)
            if self._limiter.has_room(member):
                return member
            tried.append(member.id)

    def _covers(self, exclude: Collection[str]) -> bool:
        return len(self._eligible) <= len(exclude) and all(
            member.id in exclude for member in self._eligible
        )


def _name_of(factory: StrategyFactory) -> str:
    # A partial or another callable object has no name of its own.
    return getattr(factory, "__name__", None) or type(factory).__name__
