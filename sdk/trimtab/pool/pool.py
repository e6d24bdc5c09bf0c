"""The pool: takes whole lists of a service's instances, and picks one per request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from trimtab.health import HealthSettings, Monitor, Reason, reason_against
from trimtab.member import Fleet, Member, Pick
from trimtab.pool.concurrency import ConcurrencyLimits, Limiter, units_of
from trimtab.pool.reports import (
    EventReporter,
    MemberStatistics,
    PoolStatistics,
    figures_of,
    nothing_to_pick,
    saturated,
)
from trimtab.strategies import StrategyFactory, resolve
from trimtab.strategies.protocol import Extras
from trimtab.strategies.settings import settings_of
from trimtab.strategies.tiers import PrioritySettings, Tiers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from trimtab.events import Listener
    from trimtab.instance import Instance
    from trimtab.strategies import LoadReport

__all__ = ["Pool", "Subset"]

_OK = 200

Subset: TypeAlias = Callable[[Sequence["Instance"]], Sequence["Instance"]]
"""Chooses the few instances of a large fleet that one client talks to.

It is called when the list changes, with all instances, healthy or not, in the registry's order: an
instance that fails must not change the whole choice. The same list must give the same choice. The
weights of the instances that it returns count. If instances have several priorities, it is called
for each of these tiers.
"""


class Pool:
    """One service as one client sees it.

    Eligibility is worked out when something changes, never when picking. So a pick costs what the
    strategy costs: O(1) for most built-in ones; docs/strategies.md has the others. Not thread-safe:
    hold a lock to share it between threads.

    Args:
        strategy: a name ("least_latency", "round_robin", ...) or a factory `(rng) -> Strategy`.
        rng: the random generator; pass a seeded one for repeatable picks.
        service: the service's name, for messages.
        health: what this client judges by itself: outliers, panic, slow start.
        concurrency: how many requests one instance may have in flight.
        subset: chooses the few instances of a large fleet that this client talks to.
        priorities: how instances of several priorities share the requests.
        listener: is called with each event (`trimtab.events`); must not block and must not raise.

    Attributes:
        failing: the statuses that count against an instance.
        overloaded: those that say that it has too much to do.
        callers: those that are about the caller, and count as a good answer.
        watches_outcomes: whether picks report the outcomes of requests.
        watches_ends: whether picks report that a request is no longer in flight.
        asks_first: whether the strategy may have instances asked for their load before a pick.
        takes_reports: whether what instances report of their load is used.

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
        priorities: PrioritySettings | None = None,
        listener: Listener | None = None,
    ) -> None:
        factory = self._factory = resolve(strategy)
        rng = self._rng = rng or Random()
        self._priorities = settings_of("priorities", priorities, PrioritySettings)
        self.service = service
        self.strategy_name = strategy if isinstance(strategy, str) else _name_of(factory)
        self._strategy = factory(rng)
        # None while all instances have one priority: then nothing is added to a pick.
        self._tiers: Tiers | None = None
        self._extras = Extras(self._strategy)
        self.asks_first = self._extras.asks_first
        self.takes_reports = self._extras.takes_reports or self._priorities.takes_reports
        health = settings_of("health", health, HealthSettings)
        self.failing, self.overloaded = health.failing, health.overloaded
        self.callers = health.caller_statuses
        self._monitor = Monitor(health, rng)
        limits = settings_of("concurrency", concurrency, ConcurrencyLimits)
        self._limiter = Limiter(limits) if limits.is_bounded else None
        # Skip callbacks that change nothing: they would cost time at each request.
        self.watches_outcomes = self._monitor.watches or self._limiter is not None
        self.watches_ends = (
            self._extras.counts_in_flight
            or self._priorities.counts_in_flight
            or self._limiter is not None
        )
        self._observer = self if self.watches_outcomes or self.watches_ends else None
        self._subset = subset
        self._reporter = listener and EventReporter(service, listener, self._monitor.why)
        self._fleet = Fleet()
        self._members: dict[str, Member] = {}
        self._eligible: list[Member] = []
        self._weights: list[float] = []
        self._reasons: dict[str, Reason] = {}
        # The weights of the members inside the subset; None without a subset.
        self._inside: dict[str, float] | None = None
        self._leaving: list[Member] = []

    def __repr__(self) -> str:
        name = f" {self.service!r}" if self.service else ""
        eligible = f"{len(self._eligible)} of {len(self._members)} eligible"
        return f"<Pool{name} {self.strategy_name}, {eligible}>"

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
        """Whether so few members are healthy that all are used; see `HealthSettings`."""
        return self._monitor.is_panicking

    @property
    def has_room(self) -> bool:
        """Whether an eligible member may take one more request; see `ConcurrencyLimits`."""
        return self._limiter is None or not self._limiter.is_full

    def update(self, instances: Iterable[Instance], now: float) -> list[Member]:
        """Take a whole new list; members that stay keep their statistics. O(n).

        Of several entries with one id the last counts. Requests in flight on a removed member
        go on, and their picks are done as usual.

        Returns:
            The removed members, for the caller to close once nothing is in flight.
        """
        before = self._members
        members: dict[str, Member] = {}
        for instance in instances:
            member = members.get(instance.id) or before.get(instance.id)
            if member is None:
                member = Member(instance, now, self._fleet)
            elif member.instance is not instance:
                if member.instance.address != instance.address:
                    # Strategies may go by addresses, and must take the new ones.
                    self._weights = []
                    self._monitor.connected(member.id, is_open=True)
                member.replace(instance)
            members[instance.id] = member
        self._members = members
        self._set_tiers()
        self._inside = self._chosen_by_subset()
        self._monitor.update(members, now)
        self._choose_eligible(now)
        removed = [member for id_, member in before.items() if id_ not in members]
        for member in removed:
            member.leave()
        self._leaving = [member for member in (*self._leaving, *removed) if member.in_flight]
        return removed

    def pick(
        self,
        now: float,
        *,
        key: str | None = None,
        exclude: Collection[str] = (),
        never: Collection[str] = (),
        among: Sequence[Member] = (),
        cost: float = 1,
    ) -> Pick:
        """Choose a member for one request and count it in flight.

        Args:
            now: seconds on the caller's monotonic clock.
            key: for strategies with affinity; others ignore it.
            exclude: ids of instances that this request has tried. They are avoided while another
                is eligible and has room.
            never: ids among these that could not be connected to. They are avoided while another
                is eligible, even if that one is full.
            among: the members to choose among, as `to_ask` gave them; those that may not be
                picked any more are left out, and without any it is an ordinary choice.
            cost: what the request counts in flight: how many times as much as a usual one it asks
                of its instance. See `units_of`.

        Raises:
            ConfigurationError: the cost is not a finite number above 0.
            NoInstancesError: the list is empty.
            NoEligibleInstanceError: all instances are filtered; `reasons` counts why.
            SaturatedError: all eligible instances have as many requests in flight as they may,
                except those in `never`.
        """
        if now >= self._monitor.review_at:
            self.review(now)
        if not self._eligible:
            raise nothing_to_pick(self.service, len(self._members), self._reasons.values())
        if exclude and self._covers(exclude):
            exclude = () if self._covers(never) else never
        if cost != 1:
            cost = units_of(cost)
        if among and (left := self._still_eligible(among, exclude, cost)):
            pick = Pick(self._extras.choose_among(left, now), now, self._observer, cost)
            if self._limiter is not None:
                self._limiter.changed(pick.member)
        elif self._limiter is None:
            pick = Pick(self._strategy.choose(now, key, exclude), now, self._observer, cost)
        else:
            member = self._choose_with_room(now, key, exclude, never, cost)
            pick = Pick(member, now, self._observer, cost)
            self._limiter.changed(pick.member)
        if self._extras.counts_in_flight:
            self._extras.begun(pick.member)
        return pick

    def review(self, now: float) -> None:
        """Apply what time or outcomes have changed; picks and statistics do this, too."""
        if now >= self._monitor.review_at and self._monitor.review(now):
            self._choose_eligible(now)

    def pause(self, id_: str, wait_s: float, now: float) -> None:
        """Send nothing to a member for as long as it asks (`Retry-After`), within bounds."""
        self._monitor.pause(id_, wait_s, now)

    def probed(self, id_: str, now: float, *, is_well: bool, why: str = "") -> None:
        """Take the verdict of active probes of a member; an unknown member is ignored."""
        self._monitor.probed(id_, now, is_well=is_well, why=why)
        self.review(now)

    def connected(self, id_: str, now: float, *, is_open: bool, why: str = "") -> None:
        """Take whether a connection to a member opened in the background.

        One that was out of reach and is back gets its share at once.
        """
        if self._monitor.connected(id_, is_open=is_open, why=why):
            if is_open:
                self._members[id_].forgive()
            self.review(now)

    def connecting(self, ids: Iterable[str], now: float) -> None:
        """Hold members back until `connected`, while others are in reach. O(n)."""
        self._monitor.connecting(ids)
        self.review(now)

    def wanted(self) -> dict[str, str]:
        """Return the addresses of the members that registry and subset allow, by id. O(n)."""
        inside = self._inside
        return {
            id_: member.instance.address
            for id_, member in self._members.items()
            if reason_against(member.instance) is None and (inside is None or id_ in inside)
        }

    def heard(self, id_: str, now: float) -> None:
        """Note that a probe of a member has passed; an unknown member is ignored."""
        if id_ in self._members:
            self._members[id_].answered_at = now

    def answers_since(self, id_: str, moment: float) -> bool:
        """Return whether a member has answered well since then, and not failed afterwards."""
        return id_ in self._members and self._members[id_].answered_at >= moment

    def report(self, id_: str, report: LoadReport, now: float) -> None:
        """Take a member's load report."""
        self._extras.report(id_, report, now)

    # -- asking for load before a pick ---------------------------------------------------------

    @property
    def ask_timeout_s(self) -> float:
        """How long the answers are waited for, in seconds."""
        return self._extras.ask_timeout_s

    def to_ask(
        self, now: float, *, key: str | None = None, exclude: Collection[str] = ()
    ) -> tuple[Sequence[Member], Sequence[Member]]:
        """Return members to choose among, and those of them to ask for their load before that.

        Both are empty if nothing is to be asked: pick at once. O(1).
        """
        if not self._eligible or (exclude and self._covers(exclude)):
            return (), ()
        return self._extras.candidates(now, key, exclude)

    def silent(self, id_: str, now: float) -> None:
        """Note that a member has not said its load in time."""
        self._extras.silent(id_, now)

    def _still_eligible(
        self, members: Sequence[Member], exclude: Collection[str], cost: float
    ) -> list[Member]:
        limiter = self._limiter
        return [
            member
            for member in members
            if self._members.get(member.id) is member
            and member.id not in self._reasons
            and member.id not in exclude
            and (limiter is None or limiter.has_room(member, cost))
        ]

    def suspects(self, now: float) -> list[Instance]:
        """Return the instances that are ejected, failed by a probe or out of reach. O(n)."""
        self.review(now)
        return [
            self._members[id_].instance
            for id_, reason in self._monitor.own_reasons(self._members).items()
            if reason in {Reason.EJECTED, Reason.PROBE_FAILED, Reason.UNREACHABLE}
        ]

    def has_other(self, exclude: Collection[str]) -> bool:
        """Return whether an eligible instance is outside `exclude`. O(len(exclude))."""
        return bool(self._eligible) and not self._covers(exclude)

    def has_room_beside(self, exclude: Collection[str]) -> bool:
        """Return whether an eligible instance outside `exclude` has room. O(len(exclude))."""
        if self._limiter is None:
            return self.has_other(exclude)
        return self._limiter.has_room_beside(exclude)

    def statistics(self, now: float) -> PoolStatistics:
        """Return the figures of all present members. O(n)."""
        self.review(now)
        members = self._members.values()
        all_members = [*members, *self._leaving]
        return PoolStatistics(
            service=self.service,
            strategy=self.strategy_name,
            eligible=len(self._eligible),
            is_panicking=self.is_panicking,
            in_flight=sum(member.in_flight for member in all_members),
            requests_in_flight=sum(member.requests_in_flight for member in all_members),
            picks=sum(member.picks for member in members),
            members={member.id: self._figures(member) for member in members},
        )

    def _figures(self, member: Member) -> MemberStatistics:
        reason, limiter = self._reasons.get(member.id), self._limiter
        if reason is None and limiter is not None and not limiter.has_room(member):
            reason = Reason.SATURATED
        return figures_of(
            member,
            reason=reason,
            why=self._monitor.why(member.id),
            limit=limiter.bound(member.id) if limiter is not None else None,
        )

    # -- what picks report -------------------------------------------------------------------

    def note(self, pick: Pick, status: int | None, now: float) -> None:
        """Take a response's status from a pick, None for no (whole) response."""
        if pick.member.is_removed:
            return  # A present member of the same id is another one.
        if status in self.callers:
            status = _OK
        if self._monitor.watches:
            self._monitor.note(pick.member.id, status, now)
        if self._limiter is not None:
            ok = status is not None and status not in self.overloaded
            self._limiter.learn(pick.member, now - pick.sent_at, ok=ok)

    def left(self, pick: Pick) -> None:
        """Note that a pick is no longer in flight."""
        self._extras.ended(pick.member)
        if self._limiter is not None and not pick.member.is_removed:
            self._limiter.changed(pick.member)

    # -- who may be picked -------------------------------------------------------------------

    def _choose_eligible(self, now: float) -> None:
        monitor = self._monitor
        members, tiers = self._members.values(), self._tiers
        reasons = monitor.judge(members, now, suffices=tiers.suffice if tiers else None)
        well = [member for member in members if member.id not in reasons]
        eligible = self._within_subset(well, reasons)
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
        if tiers is not None:
            tiers.judge(monitor.ill)
        self._extras.update_all(members, eligible, well)
        if self._limiter is not None:
            self._limiter.update(members, eligible)
        if self._reporter is not None:
            self._report_changes(self._reporter, now)

    def _report_changes(self, reporter: EventReporter, now: float) -> None:
        reporter.instances(self._members, self._monitor.own_reasons(self._members), now)
        reporter.service(
            eligible=len(self._eligible),
            total=len(self._members),
            is_panicking=self.is_panicking,
            at=now,
        )

    def _set_tiers(self) -> None:
        """Choose by tiers from now on if instances have several priorities, else without."""
        is_tiered = len({member.instance.priority for member in self._members.values()}) > 1
        if is_tiered is (self._tiers is not None):
            return
        if self._tiers is not None:
            self._strategy, self._tiers = self._tiers.best, None
        else:
            self._strategy = self._tiers = Tiers(
                self._rng, inside=self._factory, settings=self._priorities, first=self._strategy
            )
        self._extras = Extras(self._strategy)
        self._weights = []

    def _chosen_by_subset(self) -> dict[str, float] | None:
        """Return the ids inside the subset of each tier, with their weights; None without one."""
        if self._subset is None:
            return None
        tiers: dict[int, list[Instance]] = {}
        for member in self._members.values():
            tiers.setdefault(member.instance.priority, []).append(member.instance)
        return {each.id: each.weight for tier in tiers.values() for each in self._subset(tier)}

    def _within_subset(self, well: list[Member], reasons: dict[str, Reason]) -> list[Member]:
        """Return the members inside the subset, or all of a tier if none of those inside is well.

        The members outside get their reason.
        """
        inside = self._inside
        if inside is None:
            return well
        tiers = {member.instance.priority for member in well if member.id in inside}
        within = []
        for member in well:
            if member.id in inside or member.instance.priority not in tiers:
                within.append(member)
            else:
                reasons[member.id] = Reason.OUTSIDE_SUBSET
        return within

    def _choose_with_room(
        self,
        now: float,
        key: str | None,
        exclude: Collection[str],
        never: Collection[str],
        cost: float,
    ) -> Member:
        """Choose, and pass over members that are full; O(1) while few are."""
        limiter, choose = self._limiter, self._strategy.choose
        assert limiter is not None
        if limiter.is_full:
            raise saturated(self.service, self._eligible, cost)
        member = choose(now, key, exclude)
        if limiter.has_room(member, cost):
            return member
        tried = [*exclude]
        while not limiter.has_room(member, cost):
            tried.append(member.id)
            if self._covers(tried):
                # All others are full: one that was tried and has room is better than none.
                tried = [each.id for each in self._eligible if not limiter.has_room(each, cost)]
                tried += [id_ for id_ in never if id_ not in tried]
                if self._covers(tried):
                    raise saturated(self.service, self._eligible, cost)
            member = choose(now, key, tried)
        return member

    def _covers(self, exclude: Collection[str]) -> bool:
        return len(self._eligible) <= len(exclude) and all(
            member.id in exclude for member in self._eligible
        )


def _name_of(factory: StrategyFactory) -> str:
    # A partial or another callable object has no name of its own.
    return getattr(factory, "__name__", None) or type(factory).__name__
