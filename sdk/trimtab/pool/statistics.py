"""What a pool knows, as frozen values for people and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.member import Member

__all__ = ["MemberStatistics", "PoolStatistics", "figures_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatistics:
    """One member's figures.

    Attributes:
        weight: with what slow start leaves of it.
        reason: why it gets no new request; None when it may.
        why: what this client holds against it, in more words; also in panic, when it may be
            picked all the same.
        limit: how many requests it may have in flight; None where there are no limits.
        latency_s: peak EWMA of the time to a response; None before the first.
        failure_load: what past failures still weigh, in requests in flight.
    """

    id: str
    address: str
    weight: float
    status: str
    reason: str | None
    why: str
    in_flight: int
    limit: float | None
    picks: int
    successes: int
    failures: int
    cancelled: int
    latency_s: float | None
    failure_load: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """A pool's figures: totals over its present members, and each of them by id.

    Attributes:
        is_panicking: so few members are well that all are used.
        in_flight: requests in flight, those on members that have left the list included.
    """

    service: str
    strategy: str
    eligible: int
    is_panicking: bool
    in_flight: int
    picks: int
    members: Mapping[str, MemberStatistics]


def figures_of(
    member: Member, now: float, *, reason: str | None, why: str, limit: float | None
) -> MemberStatistics:
    """Take down a member's figures, with what its pool knows of it."""
    return MemberStatistics(
        id=member.id,
        address=member.instance.address,
        weight=member.weight,
        status=member.instance.status,
        reason=reason,
        why=why,
        in_flight=member.in_flight,
        limit=limit,
        picks=member.picks,
        successes=member.successes,
        failures=member.failures,
        cancelled=member.cancelled,
        latency_s=member.latency_s(now),
        failure_load=member.failure_load(now),
    )
