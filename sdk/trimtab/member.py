"""A member: one instance as this client knows it, with its requests in flight, speed and failures.

The rules of its figures:

* *Peak EWMA* of the time to a response. A slower answer counts at once, a faster one gradually,
  and without answers the figure fades, so that an idle instance is tried again:
  `w = exp(-dt/tau)`, then `v = rtt` if `rtt > v`, else `v = rtt*(1-w) + v*w`; tau is 10 s.
* *An unanswered request is evidence*: `v` is never less than the age of the oldest one.
* *Failures weigh like requests in flight*: each adds to a failure load, which fades. The time of a
  failure does not count as a latency, because an instance that fails fast must not look fast. Each
  failure also sets the latency back to its value at the last good answer: during a long outage the
  latency would fade faster than the failure load, and attract traffic again.
* Only *the excess over the mean of the other members* counts. When many or all fail at once, no
  member is avoided for it. Otherwise those that failed first would get no traffic long after they
  have recovered, and the remaining few would be overloaded.
* An instance that has never answered counts as 30 ms, and as 1 s while its first requests are
  unanswered. So a newcomer is tried, and not flooded. Until its first pick the 30 ms fade within
  seconds, so that it is also tried among peers of 1 ms.

Source: Finagle `PeakEwma`, tower `load/peak_ewma.rs` (and its PR #134 for the 30 ms). Deviations:
the oldest-unanswered rule, and failures counted in units of requests in flight, relative to the
other members.
"""

from __future__ import annotations

from collections import OrderedDict
from math import exp, inf
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from trimtab.errors import ConfigurationError, PickDoneError

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["FleetFailures", "Member", "Observer", "Outcome", "Pick"]

Outcome: TypeAlias = Literal["success", "failure", "cancelled"]
"""How a request ended. `cancelled` is the caller's doing and does not count for the instance."""

_OUTCOMES = frozenset(get_args(Outcome))
_OK, _SERVER_ERROR = 200, 500
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
"""The greatest failure load. When many instances fail now and then, avoiding them for long would
overload the others."""
_PAIR = 2
_LEAST_LOAD = 0.01
"""A failure load below this is ignored."""


class FleetFailures:
    """The sum of the failure loads of a pool's members. O(1), because they all fade alike.

    Attributes:
        count: how many members there are.
    """

    __slots__ = ("_faded_at", "_load", "count")

    def __init__(self) -> None:
        self.count = 0
        self._load = self._faded_at = 0.0

    def add(self, load: float, now: float) -> None:
        """Add a change of a member's load, which may be negative."""
        self._fade(now)
        self._load += load

    def excess(self, load: float, now: float) -> float:
        """Return by how much a member's present load exceeds the mean of the others, 0 or more."""
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
    reads. Not thread-safe: a pool that threads share needs a lock.

    Args:
        instance: as the registry gives it.
        now: the time, seconds.
        fleet: the failures of its pool's members; None: it has no pool.

    Attributes:
        instance: the value from the latest snapshot; updates replace it and keep the statistics.
        weight: the registry's, reduced during slow start.
        since: when it was first seen.
        in_flight: requests picked and not yet done.
        picks, successes, failures, cancelled: counts; `picks` is always the sum of the others and
            `in_flight`.
        answered_at: when it last answered a request or a probe well; minus infinity if never, or
            if it has failed since.
        unanswered: the picks without a response, with the times of their begin, oldest first.
        connect_s: how long the last new connection took to open, in seconds; None: none yet.
        is_removed: it left the list; requests in flight go on, no new ones come.
    """

    __slots__ = (
        "_faded_at",
        "_failure_load",
        "_fleet",
        "_latency_s",
        "_learned_s",
        "_measured",
        "answered_at",
        "cancelled",
        "connect_s",
        "failures",
        "id",
        "in_flight",
        "instance",
        "is_removed",
        "picks",
        "since",
        "successes",
        "unanswered",
        "weight",
    )

    def __init__(self, instance: Instance, now: float, fleet: FleetFailures | None = None) -> None:
        self.id = instance.id
        self.instance = instance
        self.weight = instance.weight
        self.since = now
        self.is_removed = False
        self.connect_s: float | None = None
        self.in_flight = self.picks = self.successes = self.failures = self.cancelled = 0
        self._latency_s = self._learned_s = UNMEASURED_S
        self._failure_load = 0.0
        self._fleet = fleet or FleetFailures()
        self._fleet.count += 1
        self._faded_at = now
        self._measured = False
        self.answered_at = -inf
        # An ordinary dict would walk over the gaps of its removed entries to find the oldest.
        self.unanswered: OrderedDict[object, float] = OrderedDict()

    def replace(self, instance: Instance) -> None:
        """Take the registry's newer value of the same instance."""
        self.instance = instance
        self.weight = instance.weight

    def leave(self, now: float) -> None:
        """Leave the list: its failures no longer count for the other members."""
        self.is_removed = True
        self._fleet.add(-self.failure_load(now), now)
        self._fleet.count -= 1

    def answer(self, pick: object, now: float, *, ok: bool) -> None:
        """Learn from a response's head; `ok` is false when the response is itself a failure."""
        rtt_s = now - self.unanswered.pop(pick)
        if not ok:
            self._learn_failure(now)
            return
        before = self._latency_s
        self._fade(now)
        if not self._measured or rtt_s > before:
            self._latency_s = rtt_s
        else:
            # Fading has multiplied the old value by w; the sample's share is the rest, 1 - w.
            kept = self._latency_s / before if before else 0.0
            self._latency_s += rtt_s * (1.0 - kept)
        self._learned_s = self._latency_s
        self._measured = True
        self.answered_at = now

    def abandon(self, pick: object, now: float, *, failed: bool) -> None:
        """Learn from a request without a response: it failed, or the caller gave up."""
        started = self.unanswered.pop(pick)
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
        passed = now - self._faded_at
        if passed > 0:
            # As in `_fade`: a call of it here would be made twice per request.
            self._latency_s *= exp(-passed / (DECAY_S if self.picks else UNTRIED_DECAY_S))
            if self._failure_load:
                self._failure_load *= exp(-passed / FAILURE_DECAY_S)
            self._faded_at = now
        unanswered = self.unanswered
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
        """Return the present weight of past failures, in requests in flight, without others'."""
        self._fade(now)
        return self._failure_load

    def _fade(self, now: float) -> None:
        passed = now - self._faded_at
        if passed > 0:
            self._latency_s *= exp(-passed / (DECAY_S if self.picks else UNTRIED_DECAY_S))
            if self._failure_load:
                self._failure_load *= exp(-passed / FAILURE_DECAY_S)
            self._faded_at = now

    def _learn_failure(self, now: float) -> None:
        self._fade(now)
        self.answered_at = -inf
        added = min(FAILURE_LOAD, MAX_FAILURE_LOAD - self._failure_load)
        self._failure_load += added
        if not self.is_removed:
            self._fleet.add(added, now)
        # The fading since the last good answer would make it look fast.
        self._latency_s = max(self._latency_s, self._learned_s)

    def __repr__(self) -> str:
        return f"<Member {self.id} in_flight={self.in_flight}>"


class Observer(Protocol):
    """The pool, as its picks report to it.

    Attributes:
        watches_outcomes: whether to call `note`.
        watches_ends: whether to call `left`.
    """

    watches_outcomes: bool
    watches_ends: bool

    def note(self, pick: Pick, status: int | None, now: float) -> None:
        """Take a response's status, None for no (whole) response."""

    def left(self, pick: Pick) -> None:
        """Note that the request is no longer in flight."""


class Pick:
    """A request in flight on a member, from `Pool.pick` to `done`.

    Call `answered` when the response's head arrives, to measure the time to the head, and `done`
    when the body has ended or failed, or when the caller has given up. Without `answered`, `done`
    counts as both.

    Attributes:
        instance: where the request goes.
        member: the same with this client's statistics.
        started_at: `now` of the pick.
        sent_at: when its latency began: at the pick, or when its connection was open.
        is_done: whether `done` was called.
    """

    __slots__ = ("_answer", "_observer", "instance", "is_done", "member", "sent_at", "started_at")

    def __init__(self, member: Member, now: float, observer: Observer | None = None) -> None:
        self.member = member
        self.instance: Instance = member.instance
        self.started_at = self.sent_at = now
        self.is_done = False
        self._answer: bool | None = None
        self._observer = observer
        member.picks += 1
        member.in_flight += 1
        member.unanswered[self] = now

    def __repr__(self) -> str:
        state = "done" if self.is_done else "in flight"
        return f"<Pick {self.instance.id} {state} started_at={self.started_at:g}>"

    def opened(self, now: float) -> None:
        """Note that the request waited for a new connection, which is open now.

        The instance's latency begins here: what opens a connection is kept apart. Later calls, as
        after a TLS handshake, move it on.
        """
        if self._answer is None and not self.is_done:
            self.member.connect_s = now - self.started_at
            self.sent_at = now
            self.member.unanswered[self] = now
            self.member.unanswered.move_to_end(self)

    def answered(self, now: float, *, ok: bool = True, status: int = 0) -> None:
        """Note the response's head. Only the first call counts.

        Args:
            now: seconds on the caller's monotonic clock.
            ok: false when the response is itself a failure (a 503, say). Its time counts as the
                instance's latency only if it is true.
            status: the HTTP status, for outlier ejection; 0 stands for 200 or 500, by `ok`.
        """
        if self._answer is not None or self.is_done:
            return
        self._answer = ok
        self.member.answer(self, now, ok=ok)
        observer = self._observer
        if observer is not None and observer.watches_outcomes:
            observer.note(self, status or (_OK if ok else _SERVER_ERROR), now)

    def done(self, now: float, outcome: Outcome) -> None:
        """Give the claim back: `success`, `failure` or `cancelled`.

        After `answered(ok=False)` the request is a failure, whatever the outcome given here.

        Raises:
            PickDoneError: it was done before.
            ConfigurationError: the outcome is not one of the three.
        """
        if outcome not in _OUTCOMES:
            raise ConfigurationError(
                f"outcome {outcome!r} is not one of {', '.join(sorted(_OUTCOMES))}"
            )
        if self.is_done:
            raise PickDoneError(f"the pick of instance {self.instance.id} was done before")
        if self._answer and outcome == "success":
            self.member.successes += 1
        else:
            self._learn(now, outcome)
        self.is_done = True
        self.member.in_flight -= 1
        observer = self._observer
        if observer is not None and observer.watches_ends:
            observer.left(self)

    def _learn(self, now: float, outcome: Outcome) -> None:
        """Count an end other than the usual one, a success after a good head."""
        member = self.member
        if self._answer is False:
            member.failures += 1
        elif outcome == "failure":
            member.failures += 1
            if self._answer is None:
                member.abandon(self, now, failed=True)
            else:
                member.break_off(now)
            self._note(None, now)
        elif outcome == "success":
            member.successes += 1
            member.answer(self, now, ok=True)
            self._note(_OK, now)
        else:
            member.cancelled += 1
            if self._answer is None:
                member.abandon(self, now, failed=False)

    def _note(self, status: int | None, now: float) -> None:
        if self._observer is not None and self._observer.watches_outcomes:
            self._observer.note(self, status, now)
