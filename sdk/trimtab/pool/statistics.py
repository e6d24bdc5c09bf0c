"""What a pool knows, as frozen values for people and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MemberStatistics", "PoolStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatistics:
    """One member's figures.

    Attributes:
        reason: why it is not eligible; None when it is.
        latency_s: peak EWMA of the time to a response; None before the first.
        failure_load: what past failures still weigh, in requests in flight.
    """

    id: str
    address: str
    weight: float
    status: str
    reason: str | None
    in_flight: int
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
        in_flight: requests in flight, those on members that have left the list included.
    """

    service: str
    strategy: str
    eligible: int
    in_flight: int
    picks: int
    members: Mapping[str, MemberStatistics]
