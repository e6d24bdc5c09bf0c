"""What happened, as it happened: every attempt on an instance, every call of the client."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Call", "Event", "Record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the client, complete.

    Attributes:
        ended_at_s: seconds since the start of the traffic.
        instance_id: who answered; "" when nobody did.
        error: why it failed; "" when it did not.
    """

    ended_at_s: float
    instance_id: str
    latency_s: float
    attempts: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that was done to an instance.

    Attributes:
        kind: "killed", "slowed" or "added".
        at_s: when; infinity while it is still to come.
        fair_ratio: a fair share of the traffic from then on.
    """

    kind: str
    instance_id: str
    at_s: float
    fair_ratio: float


@dataclass(slots=True)
class Record:
    """A run so far. Times are seconds since the start of the traffic, in order.

    Attributes:
        attempt_times_s, attempt_ids: when each attempt began, and on which instance.
        calls: complete ones, in the order of their ends.
        events: what was done, in order.
        now_s: how far the run has come.
    """

    attempt_times_s: list[float] = field(default_factory=list)
    attempt_ids: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    now_s: float = 0.0

    def attempt(self, at_s: float, instance_id: str) -> None:
        """Note that an attempt begins."""
        self.attempt_times_s.append(at_s)
        self.attempt_ids.append(instance_id)

    def attempts(self, from_s: float = 0.0, until_s: float = math.inf) -> Counter[str]:
        """Count the attempts per instance that began in `[from_s, until_s)`."""
        first = bisect_left(self.attempt_times_s, from_s)
        last = bisect_left(self.attempt_times_s, until_s)
        return Counter(self.attempt_ids[first:last])

    def calls_since(self, from_s: float) -> list[Call]:
        """List the calls that ended at `from_s` or later."""
        return self.calls[bisect_left(self.calls, from_s, key=lambda call: call.ended_at_s) :]

    @property
    def failures(self) -> int:
        """How many calls failed."""
        return sum(1 for call in self.calls if call.error)

    @property
    def retried(self) -> int:
        """How many calls took more than one attempt."""
        return sum(1 for call in self.calls if call.attempts > 1)
