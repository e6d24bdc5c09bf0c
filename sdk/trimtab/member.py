"""A member: one instance as this client knows it, with its requests in flight, speed and failures.

The rules of its figures:

* *Latency* begins when the request leaves for the instance; see `Latency`.
* *An unanswered request is evidence*: once the oldest one is late, its age counts instead. A
  request that was given up before its answer counts as two answers that took as long.
* *A failure says nothing of the latency*, because an instance that fails fast must not look fast.
  After a failure a member is *avoided*: other members are preferred, but for one *trial* at a time.
  The first trial is soon, since any instance may fail once; those after failed ones are rarer. One
  that succeeds is believed. What requests that were sent before the last failure was known bring is
  neither another failure nor a success that counts.
* *What is avoided is tried again*, so that no estimate outlives its cause; as rarely as it costs:
  one that is slower gets one request in 80 to 235, by how much slower it is; one that fails, hangs
  or needs more than a second one in 235, and not more than one in `TRIAL_S`. Among many members it
  is less.

Sources: Kratos and go-zero, which take the loser of a pair when it has not been picked for some
seconds; circuit breakers, which let one request through and believe its success. Deviation: trials
are counted in requests, so that they cost the same share at any rate.
"""

from __future__ import annotations

from collections import OrderedDict
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from trimtab.errors import ConfigurationError, PickDoneError

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["Fleet", "Latency", "Member", "Observer", "Outcome", "Pick"]

Outcome: TypeAlias = Literal["success", "failure", "cancelled"]
"""How a request ended. `cancelled` is the caller's doing and does not count for the instance."""

_OUTCOMES = frozenset(get_args(Outcome))
_OK, _SERVER_ERROR = 200, 500
DECAY_S = 10.0
"""Time constant of the mean."""
SLOW, SLOW_SPREADS = 3.0, 4.0
"""An answer is slow beyond so many times the mean, and so many times the spread above it."""
SLOW_IN_ROW = 3
"""So many slow answers in a row are believed."""
STALL_S, LATE_SPREADS = 0.02, 3.0
"""A request is late so many seconds, or so many spreads, after the mean: until then the program may
have been held up, or it is chance."""
RESTED_SHARE = 0.5
"""What an answer counts after a rest, at least."""
SMALL_S = 0.002
"""Added to latencies before they are compared."""
KNOWN_FROM = 3
"""How many answers make a latency known."""
_DEVIATIONS = 1.3
"""Standard deviations per mean distance: 1.25 by the normal law, 1.36 by the exponential."""
_BY_CHANCE = 3.0
"""Means differ by so many standard deviations once in a thousand times by chance."""
UNANSWERED_S = 1.0
"""Latency assumed of an instance of unknown latency, while requests wait for it."""
FIRST_TRIAL_S, TRIAL_GROWTH_S, TRIAL_S = 0.1, 4.0, 1.9
"""The least time to the first trial after a failure, its growth, and its bound."""
FIRST_TRIAL_PICKS, TRIAL_GROWTH_PICKS, TRIAL_PICKS = 30, 4, 235
"""The same in requests to the service: 235 keep a hung instance below half a percent."""
_LAST_STEP = 9
SLOW_PICKS, LEAST_SLOW_PICKS = 8, 80
"""An instance that is only slow gets one of so many requests to the service: the first number for
each time that it is slower, but at least the second, and at most as one that fails."""
PICKS_PER_MEMBER = 4
"""In a large service, the requests between trials are at least so many for each member."""
VERY_SLOW_S = 1.0
"""An instance that needs longer than this is tried as rarely as one that fails."""


class Fleet:
    """What the members of a pool share.

    Attributes:
        count: how many members there are.
        picks: how many requests were sent to any of them.
    """

    __slots__ = ("count", "picks")

    def __init__(self) -> None:
        self.count = self.picks = 0


class Latency:
    """How long an instance takes to answer. Every method is O(1).

    A mean alone says too little. Ten answers of 20 ms on average, which vary as much as they
    last, have a mean of 13 or of 30 ms; by means alone, equal instances would be told apart by
    chance. So there are three figures:

    * the *mean* of the last ten seconds: `v += (x - v) * share`, with `share = 1 -
      exp(-dt/tau)`, tau 10 s. While there are few answers each counts more (1/n), and after a
      rest a half;
    * the *spread*: the mean distance of answers from it;
    * the *doubt*: the part of the answers' variance that is left in the mean, `q = q * (1 -
      share)^2 + share^2`.

    One slow answer among fast ones is no news. It counts as at most `most_s`: three times the
    mean, or four spreads above it. Three in a row are news: then the mean is the least of them.
    Slow answers to requests that were sent before the last one was known add nothing to the
    row, because what stops this client stops all its requests. Of the first three answers the
    median counts, since the first one pays for what is done once. Two milliseconds are added in
    comparisons: smaller differences are made by a busy machine.

    Sources: Finagle `PeakEwma` and tower `load/peak_ewma.rs` for the mean and its time
    constant; V. Jacobson, "Congestion Avoidance and Control", 1988, for the spread. Deviation:
    no peaks, since one answer of 30 ms among those of 1 ms kept a healthy instance without
    traffic for half a minute.

    Args:
        now: the time, seconds.

    Attributes:
        count: how many answers it is made of, up to `KNOWN_FROM`.
        mean_s: the mean, seconds; of the first answers their median.
        spread_s: the mean distance of answers from it, seconds.
    """

    __slots__ = (
        "_answers",
        "_doubt",
        "_first",
        "_learned_at",
        "_slow_at",
        "_slow_in_row",
        "_slow_s",
        "count",
        "mean_s",
        "spread_s",
    )

    def __init__(self, now: float) -> None:
        self.count = 0
        self.mean_s = self.spread_s = 0.0
        self._first: list[float] = []
        self._answers, self._doubt = KNOWN_FROM, 1.0 / KNOWN_FROM
        self._learned_at = now
        # The slow ones in a row: how many, the least of them, and when the last one was known.
        self._slow_in_row, self._slow_s, self._slow_at = 0, inf, -inf

    @property
    def is_known(self) -> bool:
        """Whether there were enough answers to go by it."""
        return self.count >= KNOWN_FROM

    def learn(
        self,
        sent_at: float,
        now: float,
        *,
        cost: float = 1,
        counts: int = 1,
        is_rested: bool = False,
    ) -> None:
        """Take an answer.

        Args:
            sent_at: when its request was sent.
            now: the time.
            cost: of the request; what it took is divided by it.
            counts: as how many it counts, where slow ones in a row are counted.
            is_rested: whether the instance has got no request for a while before this one.
        """
        sample_s, passed_s = (now - sent_at) / cost, now - self._learned_at
        self._learned_at = now
        if self.count < KNOWN_FROM:
            self._learn_first(sample_s)
            return
        mean_s, spread_s = self.mean_s, self.spread_s
        most_s = max(SLOW * (mean_s + SMALL_S) - SMALL_S, mean_s + SLOW_SPREADS * spread_s)
        if sample_s <= most_s:
            self._slow_in_row, self._slow_s = 0, inf
        elif sent_at >= self._slow_at and self._is_believed(sample_s, now, counts):
            return
        self._answers += 1
        share = max(1.0 - exp(-passed_s / DECAY_S), 1.0 / self._answers)
        distance_s = min(sample_s, most_s) - mean_s
        self.mean_s = mean_s + distance_s * (max(share, RESTED_SHARE) if is_rested else share)
        self.spread_s = spread_s + (abs(distance_s) - spread_s) * share
        self._doubt = self._doubt * (1.0 - share) ** 2 + share**2

    def is_late(self, age_s: float, waiting: int) -> bool:
        """Return whether the oldest of so many requests should have been answered."""
        # The longest of n times grows with the logarithm of n.
        spreads = LATE_SPREADS + _DEVIATIONS * log(waiting)
        return age_s > self.mean_s + max(STALL_S, spreads * self.spread_s)

    def differs(self, other: Latency, by_s: float) -> bool:
        """Return whether a difference of both means is more than chance makes.

        Chance would make it of equal instances, with one spread: that of both, in which counts more
        what is less in doubt. By its own spread, a slow one that is rarely asked would seem as
        good as the others.
        """
        doubt, others = self._doubt, other._doubt
        spread_s = (self.spread_s * others + other.spread_s * doubt) / (doubt + others)
        return by_s > _BY_CHANCE * _DEVIATIONS * spread_s * sqrt(doubt + others)

    def _learn_first(self, sample_s: float) -> None:
        self.count += 1
        self._first.append(sample_s)
        ordered = sorted(self._first)
        self.mean_s = ordered[(self.count - 1) // 2]
        self.spread_s = self.mean_s - ordered[0]

    def _is_believed(self, sample_s: float, now: float, counts: int) -> bool:
        """Count a slow answer; return whether it makes the estimate."""
        self._slow_in_row += counts
        self._slow_s = min(self._slow_s, sample_s)
        self._slow_at = now
        if self._slow_in_row < SLOW_IN_ROW:
            return False
        self.mean_s = self._slow_s
        self._answers, self._doubt = KNOWN_FROM, 1.0 / KNOWN_FROM
        self._slow_in_row, self._slow_s = 0, inf
        return True


class Member:
    """An instance with this client's own statistics about it.

    Every method is O(1). Times are float seconds on one monotonic clock, which the caller
    reads. Not thread-safe: a pool that threads share needs a lock.

    Args:
        instance: as the registry gives it.
        now: the time, seconds.
        fleet: what the members of its pool share; None: it has no pool.

    Attributes:
        instance: the value from the latest snapshot; updates replace it and keep the statistics.
        weight: the registry's, reduced during slow start.
        since: when it was first seen.
        in_flight: the requests that are picked and not yet done, each with its cost: a request
            counts 1 if nothing else was said.
        picks, successes, failures, cancelled: counts of requests; `picks` is always the sum of
            the others and `requests_in_flight`.
        failed_in_row: how many failures there were since the last success.
        fleet: what the members of its pool share.
        picked_at: the number of its last pick among those of its pool; 0: it was never picked.
        picked_s: the time of its last pick.
        rested: how many requests the pool sent elsewhere before its last pick.
        answered_at: when it last answered a request or a probe well; minus infinity if never, or
            if it has failed since.
        unanswered: the picks without a response, with the times of their begin, oldest first.
        latency: how long it takes to answer.
        connect_s: how long the last new connection took to open, in seconds; None: none yet.
        is_removed: it left the list; requests in flight go on, no new ones come.
    """

    __slots__ = (
        "_failed_at",
        "_trial_at",
        "_trial_pick",
        "answered_at",
        "cancelled",
        "connect_s",
        "failed_in_row",
        "failures",
        "fleet",
        "id",
        "in_flight",
        "instance",
        "is_removed",
        "latency",
        "picked_at",
        "picked_s",
        "picks",
        "rested",
        "since",
        "successes",
        "unanswered",
        "weight",
    )

    def __init__(self, instance: Instance, now: float, fleet: Fleet | None = None) -> None:
        self.id = instance.id
        self.instance = instance
        self.weight = instance.weight
        self.since = now
        self.is_removed = False
        self.connect_s: float | None = None
        self.in_flight: float = 0
        self.picks = self.successes = self.failures = self.cancelled = 0
        self.fleet = fleet or Fleet()
        self.fleet.count += 1
        self.picked_at = self.rested = 0
        self.picked_s = -inf
        self.latency = Latency(now)
        self.failed_in_row = 0
        self._failed_at = self._trial_at = -inf
        self._trial_pick = 0
        self.answered_at = -inf
        # An ordinary dict would walk over the gaps of its removed entries to find the oldest.
        self.unanswered: OrderedDict[Pick, float] = OrderedDict()

    @property
    def requests_in_flight(self) -> int:
        """How many requests are picked and not yet done, whatever their costs."""
        return self.picks - self.successes - self.failures - self.cancelled

    def replace(self, instance: Instance) -> None:
        """Take the registry's newer value of the same instance."""
        self.instance = instance
        self.weight = instance.weight

    def leave(self) -> None:
        """Leave the list."""
        self.is_removed = True
        self.fleet.count -= 1

    # -- what requests tell ------------------------------------------------------------------

    def answer(self, pick: Pick, now: float, *, ok: bool) -> None:
        """Learn from a response's head; `ok` is false when the response is itself a failure."""
        sent_at = self.unanswered.pop(pick)
        if not ok:
            self._fail(sent_at, now)
            return
        is_rested = self.rested >= LEAST_SLOW_PICKS
        self.latency.learn(sent_at, now, cost=pick.cost, is_rested=is_rested)
        if sent_at >= self._failed_at:
            self.answered_at = now
            self.failed_in_row = 0

    def abandon(self, pick: Pick, now: float, *, failed: bool) -> None:
        """Learn from a request without a response: it failed, or the caller gave up."""
        sent_at = self.unanswered.pop(pick)
        if failed:
            self._fail(sent_at, now)
        elif not self.latency.is_known or now - sent_at > self.latency.mean_s * pick.cost:
            # Twice, since it would have taken longer still.
            self.latency.learn(sent_at, now, cost=pick.cost, counts=2)

    def break_off(self, started_at: float, now: float) -> None:
        """Learn from a response whose body failed after a good head."""
        self._fail(started_at, now)

    def forgive(self) -> None:
        """Forget the failures: it is known to be well again, and gets its share."""
        self.failed_in_row = 0

    def _fail(self, sent_at: float, now: float) -> None:
        self.answered_at = -inf
        if sent_at >= self._failed_at:
            self.failed_in_row += 1
            self._failed_at = now
            self.plan_trial(now, min(self.failed_in_row, _LAST_STEP) - 1)

    def plan_trial(self, now: float, step: int) -> None:
        """Let the next trial be no sooner than that after so many failed ones."""
        most = max(TRIAL_PICKS, PICKS_PER_MEMBER * self.fleet.count)
        self._trial_at = now + min(FIRST_TRIAL_S * TRIAL_GROWTH_S**step, TRIAL_S)
        self._trial_pick = self.fleet.picks + min(
            FIRST_TRIAL_PICKS * TRIAL_GROWTH_PICKS**step, most
        )

    # -- what strategies ask -----------------------------------------------------------------

    def is_avoided(self, now: float) -> bool:
        """Return whether it has failed, and it is not time for a trial."""
        return self.failed_in_row > 0 and (
            now < self._trial_at or self.fleet.picks < self._trial_pick
        )

    def is_due(self, ratio: float, now: float) -> bool:
        """Return whether it has got nothing for so long that a slow answer costs little.

        Args:
            ratio: how many times slower it is.
            now: the time.
        """
        fleet = self.fleet
        since = fleet.picks - self.picked_at
        least = max(LEAST_SLOW_PICKS, PICKS_PER_MEMBER * fleet.count)
        if since < max(least, min(SLOW_PICKS * ratio, TRIAL_PICKS)):
            return False
        if not self.unanswered and self.latency.mean_s <= VERY_SLOW_S:
            return True
        return since >= TRIAL_PICKS and now - self.picked_s >= TRIAL_S

    def expected_s(self, now: float) -> float:
        """Return the time that an answer takes now, plus `SMALL_S`; 0 while it is not known."""
        latency, unanswered = self.latency, self.unanswered
        is_known = latency.count >= KNOWN_FROM
        if unanswered:
            oldest = next(iter(unanswered))
            age = (now - unanswered[oldest]) / oldest.cost
            if not is_known:
                return max(UNANSWERED_S, age) + SMALL_S
            if age > latency.mean_s and latency.is_late(age, len(unanswered)):
                return age + SMALL_S
        return latency.mean_s + SMALL_S if is_known else 0.0

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
        cost: what the request counts in flight; see `Pool.pick`.
        started_at: `now` of the pick.
        sent_at: when its latency began: at the pick, or when its connection was open.
        is_done: whether `done` was called.
    """

    __slots__ = (
        "_answer",
        "_observer",
        "cost",
        "instance",
        "is_done",
        "member",
        "sent_at",
        "started_at",
    )

    def __init__(
        self, member: Member, now: float, observer: Observer | None = None, cost: float = 1
    ) -> None:
        self.member = member
        self.cost = cost
        self.instance: Instance = member.instance
        self.started_at = self.sent_at = now
        self.is_done = False
        self._answer: bool | None = None
        self._observer = observer
        fleet = member.fleet
        member.rested = fleet.picks - member.picked_at
        fleet.picks += 1
        member.picked_at = fleet.picks
        member.picked_s = now
        member.picks += 1
        member.in_flight += cost
        member.unanswered[self] = now
        if member.failed_in_row:
            # No second trial while this one is not over, unless it hangs.
            member.plan_trial(now, _LAST_STEP)

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
        self.member.in_flight -= self.cost
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
                member.break_off(self.started_at, now)
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
