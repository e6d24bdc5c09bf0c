"""One instance as this client knows it: what is in flight, how fast it answers, how it fails.

The rules of the running figures:

* *Peak EWMA* of the time to a response. A slower answer is believed at once, a faster one
  gradually, and without answers the figure fades (an idle instance is tried again):
  `w = exp(-dt/tau)`, then `v = rtt` if `rtt > v`, else `v = rtt*(1-w) + v*w`; tau is 10 s.
* *An unanswered request is evidence*: `v` is never less than the age of the oldest one.
* *Failures weigh like requests in flight*: each adds to a failure load, which fades. A
  failure's own latency is not a latency: an instance that fails fast must not look fast. Each
  failure also takes the latency back to what it was at the last good answer; left to fade
  through a long outage, it would outrun any failure load and call the traffic back.
* What weighs of it is *what exceeds the mean of the other members*. When many fail at once, or all,
  nobody is to be shunned for it: else those that failed first would be left out long after they
  are well, and the few that are left drown under everything.
* An instance that has never answered counts as 30 ms, and as 1 s while its first requests are
  unanswered, so that a newcomer is tried, and not flooded. Until it is picked for the first
  time the 30 ms fade within seconds, so that it is tried among peers of 1 ms too.

Source: Finagle `PeakEwma`, tower `load/peak_ewma.rs` (and its PR #134 for the 30 ms). Deviations:
the oldest-unanswered rule, and failures counted in units of requests in flight, against the others.
"""

from __future__ import annotations

from collections import OrderedDict
from math import exp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["FleetFailures", "Member"]

DECAY_S = 10.0
"""Time constant of the latency."""
FAILURE_DECAY_S = 20.0
"""Time constant of the failure load."""
UNMEASURED_S = 0.030
"""Latency assumed of an instance that has never answered."""
UNTRIED_DECAY_S = 0.5
"""Time constant of the latency of an instance that has never been picked."""
UNANSWERED_S = 1.0
"""Latency assumed of an instance that has never answered, while requests wait for it."""
FAILURE_LOAD = 40.0
"""What a failure adds to the load, in requests in flight."""
MAX_FAILURE_LOAD = 80.0
"""Where the failure load ends: when many instances fail now and then, shunning those for long
would drown the others."""
_PAIR = 2
_LEAST_LOAD = 0.01
"""A failure load below this decides nothing any more."""


class FleetFailures:
    """The failure loads of all members of a pool together. O(1), as they all fade alike.

    Attributes:
        count: how many members there are.
    """

    __slots__ = ("_faded_at", "_load", "count")

    def __init__(self) -> None:
        self.count = 0
        self._load = self._faded_at = 0.0

    def add(self, load: float, now: float) -> None:
        """Add to a member's load; less than nothing takes it out."""
        self._fade(now)
        self._load += load

    def excess(self, load: float, now: float) -> float:
        """Return what a member's present load exceeds the mean of the others by, 0 or more."""
        if self.count < _PAIR:
            return load
        self._fade(now)
        return max(load - (self._load - load) / (self.count - 1), 0.0)

    def _fade(self, now: float) -> None:
        passed = now - self._faded_at
        if passed > 0:
            self._load *= exp(-passed / FAILURE_DECAY_S)
            self._faded_at = now


class Member:
    """An instance with this client's own statistics about it.

    Every method is O(1). Times are float seconds on one monotonic clock, which the caller
    reads. Not thread-safe: whoever shares a pool between threads holds a lock.

    Args:
        instance: as the registry gives it.
        now: the time, seconds.
        fleet: the failures of the pool that it belongs to; None: it is alone.

    Attributes:
        instance: the value from the latest snapshot; replaced by updates, statistics stay.
        weight: the registry's, less what slow start takes off it for now.
        since: when it was first seen.
        in_flight: requests picked and not yet done.
        picks, successes, failures, cancelled: counts; `picks` is the sum of the others and
            `in_flight`, always.
        is_removed: it left the list; what is in flight goes on, nothing new comes.
    """

    __slots__ = (
        "_faded_at",
        "_failure_load",
        "_fleet",
        "_latency_s",
        "_learned_s",
        "_measured",
        "_unanswered",
        "cancelled",
        "failures",
        "id",
        "in_flight",
        "instance",
        "is_removed",
        "picks",
        "since",
        "successes",
        "weight",
    )

    def __init__(self, instance: Instance, now: float, fleet: FleetFailures | None = None) -> None:
        self.id = instance.id
        self.instance = instance
        self.weight = instance.weight
        self.since = now
        self.is_removed = False
        self.in_flight = self.picks = self.successes = self.failures = self.cancelled = 0
        self._latency_s = self._learned_s = UNMEASURED_S
        self._failure_load = 0.0
        self._fleet = fleet or FleetFailures()
        self._fleet.count += 1
        self._faded_at = now
        self._measured = False
        # In order of their start, so that the oldest is found at once. An ordinary dict would
        # walk over the gaps that its removed entries leave.
        self._unanswered: OrderedDict[object, float] = OrderedDict()

    def replace(self, instance: Instance) -> None:
        """Take over the registry's newer word on the same instance."""
        self.instance = instance
        self.weight = instance.weight

    def leave(self, now: float) -> None:
        """Be no longer in the list; what is in flight goes on, and weighs nothing for others."""
        self.is_removed = True
        self._fleet.add(-self.failure_load(now), now)
        self._fleet.count -= 1

    def begin(self, token: object, now: float) -> None:
        """Count a request in flight; `token` names it until it is answered."""
        self.picks += 1
        self.in_flight += 1
        self._unanswered[token] = now

    def answer(self, token: object, now: float, *, ok: bool) -> None:
        """Learn from a response's head; `ok` is false when the response is itself a failure."""
        started = self._unanswered.pop(token)
        if ok:
            self._learn_latency(now - started, now)
        else:
            self._learn_failure(now)

    def abandon(self, token: object, now: float, *, failed: bool) -> None:
        """Learn from a request that got no response: it failed, or its caller gave up."""
        started = self._unanswered.pop(token)
        if failed:
            self._learn_failure(now)
        else:
            self._fade(now)
            self._latency_s = max(self._latency_s, now - started)

    def break_off(self, now: float) -> None:
        """Learn from a response whose body failed after a good head."""
        self._learn_failure(now)

    def cost(self, now: float) -> float:
        """Estimate the latency of one more request here, in seconds times queue length."""
        self._fade(now)
        unanswered = self._unanswered
        if unanswered:
            age = now - next(iter(unanswered.values()))
            self._latency_s = max(self._latency_s, age)
        latency = self._latency_s
        if unanswered and not self._measured:
            latency = max(latency, UNANSWERED_S)
        load = self._failure_load
        if load > _LEAST_LOAD:
            return latency * (self.in_flight + 1 + self._fleet.excess(load, now))
        return latency * (self.in_flight + 1)

    def latency_s(self, now: float) -> float | None:
        """Return the peak EWMA of the time to a response, or None before the first one."""
        self._fade(now)
        return self._latency_s if self._measured else None

    def failure_load(self, now: float) -> float:
        """Return what past failures still weigh, in requests in flight, whatever others do."""
        self._fade(now)
        return self._failure_load

    def _fade(self, now: float) -> None:
        passed = now - self._faded_at
        if passed > 0:
            self._latency_s *= exp(-passed / (DECAY_S if self.picks else UNTRIED_DECAY_S))
            if self._failure_load:
                self._failure_load *= exp(-passed / FAILURE_DECAY_S)
            self._faded_at = now

    def _learn_latency(self, rtt_s: float, now: float) -> None:
        before = self._latency_s
        self._fade(now)
        if not self._measured or rtt_s > before:
            self._latency_s = rtt_s
        else:
            # Fading has already multiplied by w, which is what is left of the old value; the
            # sample brings in its (1 - w).
            kept = self._latency_s / before if before else 0.0
            self._latency_s += rtt_s * (1.0 - kept)
        self._learned_s = self._latency_s
        self._measured = True

    def _learn_failure(self, now: float) -> None:
        self._fade(now)
        added = min(FAILURE_LOAD, MAX_FAILURE_LOAD - self._failure_load)
        self._failure_load += added
        if not self.is_removed:
            self._fleet.add(added, now)
        # What has faded since the last good answer would make it look fast.
        self._latency_s = max(self._latency_s, self._learned_s)

    def __repr__(self) -> str:
        return f"<Member {self.id} in_flight={self.in_flight}>"
