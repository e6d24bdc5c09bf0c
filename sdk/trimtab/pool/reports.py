"""What a pool reports: figures when asked, events on changes, and errors when it cannot pick."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trimtab.errors import NoEligibleInstanceError, NoInstancesError, PickError, SaturatedError
from trimtab.events import InstanceChanged, ServiceChanged
from trimtab.health import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from trimtab.events import InstanceChange, Listener
    from trimtab.member import Member

__all__ = [
    "EventReporter",
    "MemberStatistics",
    "PoolStatistics",
    "figures_of",
    "nothing_to_pick",
    "saturated",
]


# -- figures -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatistics:
    """One member's figures.

    Attributes:
        weight: the registry's, reduced during slow start.
        priority: the registry's: its tier, 0 the best.
        reason: why it gets no new request; None when it may be picked.
        why: more words on this client's own reason; also in panic, when it may be picked all the
            same.
        in_flight: its requests in flight, each counted by its cost; 1 unless the caller said more.
        requests_in_flight: how many these are.
        limit: what it may have in flight, counted likewise; None without limits.
        latency_s: mean of the time to a response, from when the connection was open; None
            before the first one.
        connect_s: how long the last new connection took to open; None before the first one.
        failed_in_row: how many failures there were since the last success.
    """

    id: str
    address: str
    weight: float
    priority: int
    status: str
    reason: str | None
    why: str
    in_flight: float
    requests_in_flight: int
    limit: float | None
    picks: int
    successes: int
    failures: int
    cancelled: int
    latency_s: float | None
    connect_s: float | None
    failed_in_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """A pool's figures: totals over its present members, and each of them by id.

    Attributes:
        is_panicking: so few members are healthy that all are used.
        in_flight: requests in flight, each counted by its cost, including those on members that
            have left the list.
        requests_in_flight: how many these are.
    """

    service: str
    strategy: str
    eligible: int
    is_panicking: bool
    in_flight: float
    requests_in_flight: int
    picks: int
    members: Mapping[str, MemberStatistics]


def together(figures: Sequence[PoolStatistics]) -> PoolStatistics:
    """Return the figures of several pools of one service as one: counts are added up.

    A client that is used in several ways (sync and async, on two event loops) has a pool for each.
    What is no count is that of the pool with the most picks.
    """
    main = max(figures, key=lambda each: each.picks)
    members: dict[str, list[MemberStatistics]] = {}
    for each in figures:
        for id_, member in each.members.items():
            members.setdefault(id_, []).append(member)
    return replace(
        main,
        is_panicking=any(each.is_panicking for each in figures),
        in_flight=sum(each.in_flight for each in figures),
        requests_in_flight=sum(each.requests_in_flight for each in figures),
        picks=sum(each.picks for each in figures),
        members={id_: _member_together(each) for id_, each in members.items()},
    )


def _member_together(figures: Sequence[MemberStatistics]) -> MemberStatistics:
    main = max(figures, key=lambda each: each.picks)
    counts = (
        "in_flight",
        "requests_in_flight",
        "picks",
        "successes",
        "failures",
        "cancelled",
    )
    sums = {name: sum(getattr(each, name) for each in figures) for name in counts}
    return replace(main, **sums)


def figures_of(
    member: Member, *, reason: str | None, why: str, limit: float | None
) -> MemberStatistics:
    """Return a member's figures, together with what its pool knows about it."""
    return MemberStatistics(
        id=member.id,
        address=member.instance.address,
        weight=member.weight,
        priority=member.instance.priority,
        status=member.instance.status,
        reason=reason,
        why=why,
        in_flight=member.in_flight,
        requests_in_flight=member.requests_in_flight,
        limit=limit,
        picks=member.picks,
        successes=member.successes,
        failures=member.failures,
        cancelled=member.cancelled,
        latency_s=member.latency.mean_s if member.latency.count else None,
        connect_s=member.connect_s,
        failed_in_row=member.failed_in_row,
    )


# -- events --------------------------------------------------------------------------------------

_KINDS: dict[Reason, tuple[InstanceChange, InstanceChange]] = {
    Reason.EJECTED: ("ejected", "returned"),
    Reason.PROBE_FAILED: ("probe_failed", "probe_passed"),
    Reason.UNREACHABLE: ("unreachable", "reachable"),
}
"""The events for a reason: when it begins, and when it ends."""


class EventReporter:
    """Compares a pool's state with the one before, and emits an event for each difference.

    Args:
        service: the service's name.
        listener: is called with each event.
        why: returns more words on a member's reason.
    """

    def __init__(self, service: str, listener: Listener, why: Callable[[str], str]) -> None:
        self._service = service
        self._listener = listener
        self._why = why
        self._reasons: Mapping[str, Reason] = {}
        self._was_unavailable = self._was_panicking = False

    def instances(
        self, members: Mapping[str, Member], reasons: Mapping[str, Reason], at: float
    ) -> None:
        """Report members that are ejected, failed by a probe or out of reach, and their ends."""
        for id_, member in members.items():
            before, after = self._reasons.get(id_), reasons.get(id_)
            if before is not after:
                self._instance(member, before, ended=True, at=at)
                self._instance(member, after, ended=False, at=at)
        self._reasons = reasons

    def service(self, *, eligible: int, total: int, is_panicking: bool, at: float) -> None:
        """Report the begin and the end of unavailability, and of panic."""
        is_unavailable = total > 0 and not eligible
        for was, is_, kinds in (
            (self._was_unavailable, is_unavailable, ("recovered", "unavailable")),
            (self._was_panicking, is_panicking, ("panic_ended", "panic_began")),
        ):
            if was != is_:
                self._listener(
                    ServiceChanged(
                        service=self._service,
                        kind=kinds[is_],  # type: ignore[arg-type] # one of the two
                        eligible=eligible,
                        total=total,
                        at=at,
                    )
                )
        self._was_unavailable, self._was_panicking = is_unavailable, is_panicking

    def _instance(self, member: Member, reason: Reason | None, *, ended: bool, at: float) -> None:
        if reason not in _KINDS:
            return
        words = (str(reason), "eligible") if ended else ("eligible", str(reason))
        self._listener(
            InstanceChanged(
                service=self._service,
                instance=member.instance,
                kind=_KINDS[reason][ended],
                before=words[0],
                after=words[1],
                reason="" if ended else self._why(member.id),
                at=at,
            )
        )


# -- errors --------------------------------------------------------------------------------------


def nothing_to_pick(service: str, total: int, reasons: Iterable[Reason]) -> PickError:
    """Return the error for a list that is empty, or whose `total` instances are all filtered."""
    name = _named(service)
    if not total:
        return NoInstancesError(f"{name}: no instance is registered", service=service)
    counts = Counter(str(reason) for reason in reasons)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return NoEligibleInstanceError(
        f"{name}: none of its {total} instances may be picked ({listed})",
        service=service,
        reasons=counts,
    )


def saturated(service: str, eligible: Sequence[Member], cost: float) -> SaturatedError:
    """Return the error for a pool without an eligible member that has room for such a request."""
    in_flight = sum(member.in_flight for member in eligible)
    if cost == 1:
        what = f"all {len(eligible)} eligible instances have as many requests in flight as they may"
    else:
        what = f"none of {len(eligible)} eligible instances has room for a request of cost {cost:g}"
    return SaturatedError(
        f"{_named(service)}: {what} ({in_flight} together); see ConcurrencyLimits",
        service=service,
    )


def _named(service: str) -> str:
    return f"service {service!r}" if service else "the service"
