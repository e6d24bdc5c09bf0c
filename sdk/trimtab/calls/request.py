"""The request machine: what happens to one request, from its beginning to its single outcome.

The rules, in the order in which a request meets them:

1. A request waits for the service's first list, at most `startup_timeout_s`. Once there is a list,
   no request waits for the registry.
2. The pool picks an instance for each attempt. It prefers one that this request has not tried,
   while one is eligible and has room; it never picks one that this request could not connect to,
   while another is eligible. The pick counts as in flight until the body has ended. A strategy may
   have two instances asked for their load first, for a bounded time.
3. If no such instance has room, the request queues: first come, first served, at most `max_pending`
   requests, each for at most `max_wait_s`. A hedge does not queue.
4. A failed attempt, or a response whose status may be retried, is tried again as `RetryPolicy`
   allows, after a wait (`_decide_retry`). Every retry is charged to the budget but that of a
   refused connection, and of a request that the server says it did not process.
5. After a `Retry-After`, the instance that sent it gets no request for so long. If no other
   instance is left (or the policy says "service"), the retry waits so long. A status that is about
   the caller (`HealthSettings.caller_statuses`) counts against no instance, and pauses none.
6. With a `HedgePolicy`, a second attempt is sent beside a slow one. The first answer wins, and the
   other attempt is cancelled. If one of the two fails, the request waits for the other.
7. The deadline bounds all of this. When it comes, the caller gets a time-out. Each attempt that is
   still running counts against its instance if it ran for at least half of `deadline_s`.
8. The caller gets exactly one outcome: an answer or an error. Attempts that still run then are
   cancelled, and are no longer in flight.
9. An instance that fails to answer, or breaks off its answer, is reported (`Calls.on_broken`), so
   that it is found out in the background whether it can still be reached.
10. When the service is closed, requests that wait, and attempts that fail from then on, end with a
    `ClosedError`, which counts against no instance.

States and events. Each event takes `now` and returns the next step:

* a `Pick`: send an attempt to its instance;
* `Wait`: do nothing until a time, or until `wake` is called;
* `Ask`: ask instances for their load, report the answers, then call `resumed`;
* `ANSWER`: give this response to the caller, and cancel all other attempts;
* `Fail`: give the caller an error, and cancel all attempts;
* None: go on waiting for the attempts that run.

A response that does not lead to `ANSWER` must be discarded.

| state     | event           | next                                                             |
|-----------|-----------------|------------------------------------------------------------------|
| new       | begin           | choose; without a list: listing                                  |
| listing   | resumed         | list is there: choose; refused or too late: failed               |
| (choose)  |                 | an instance: sending; all full: queued; none eligible: failed    |
|           |                 | the load of two is not known well enough: asking                 |
| asking    | resumed         | choose, among these two; too late: failed                        |
| queued    | resumed         | its turn: choose; too late: failed                               |
| sending   | answered        | answered; if retried: paused, choose, or sending (another runs)  |
| sending   | completed       | as answered, with a body that has ended                          |
| sending   | failed          | another runs: sending; retried: paused or choose; else failed    |
| sending   | resumed         | sending; with a second attempt if the hedge is due and allowed   |
| paused    | resumed         | the wait is over: choose                                         |
| not ended | deadline_passed | failed                                                           |
| not ended | cancelled       | failed                                                           |
| answered  | ended           | answered; its pick is given back                                 |

No I/O, no clock, no lock: the caller of an event holds the lock of the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from trimtab.calls.budget import Backoff
from trimtab.errors import PickError, SaturatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trimtab.calls.policies import Failure, RetryPolicy
    from trimtab.calls.shared import Calls
    from trimtab.member import Member
    from trimtab.pool import Outcome, Pick

__all__ = ["ANSWER", "Answer", "Ask", "Fail", "Request", "State", "Step", "Wait"]

State: TypeAlias = Literal[
    "new", "listing", "asking", "queued", "sending", "paused", "answered", "failed"
]

_BLAMELESS = frozenset({"caller", "unprocessed"})
"""The failures that are not the instance's."""
_BLAME_RATIO = 0.5
_ROUNDING_S = 1e-9
"""Waits end within a rounding error of their time."""
_WAITING_FOR: dict[State, str] = {
    "listing": "waiting for the first list",
    "asking": "asking instances for their load",
    "queued": "waiting for room on an instance",
    "paused": "waiting before another attempt",
}


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until a time, or until `wake` is called; then call `resumed`."""

    until: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask instances for their load, all at once; then call `resumed`.

    Attributes:
        members: those to ask.
        until: when to stop waiting for answers.
    """

    members: Sequence[Member]
    until: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The caller gets an error.

    Attributes:
        reason: "attempt" (the last attempt's own error), "deadline", "no_list" (none came in
            time), or "error" (the one given here).
        error: with "error" only.
        doing: what the request was doing, for messages.
    """

    reason: Literal["attempt", "deadline", "no_list", "error"]
    error: Exception | None = None
    doing: str = ""


class Answer:
    """The response is the request's answer."""


ANSWER: Final = Answer()

Step: TypeAlias = "Pick | Wait | Ask | Answer | Fail | None"


class Request:
    """One request to one service.

    Args:
        calls: what the requests to the service share.
        key: for strategies with affinity.
        cost: what it counts in flight, with each of its attempts; see `Pool.pick`.
        method: the request's method, upper case.
        replayable: whether the body can be sent a second time.
        retry: in place of the service's policy.
        may_hedge: whether a hedge may be sent at all.
        deadline_at: when it must be over, on the service's clock; infinity: never.
        deadline_s: the same as a length of time.

    Attributes:
        state: see the module.
        attempts: how many were begun.
        history: how each attempt ended that did not give the answer, in words.
        wake: called when a wait may be over before its time, from any thread, under the lock;
            set by the driver before it waits.
        wake_at: while sending: when to call `resumed` for a hedge; None: not at all.
    """

    __slots__ = (
        "_among",
        "_backoff",
        "_calls",
        "_cost",
        "_first",
        "_key",
        "_may_hedge",
        "_method",
        "_pick",
        "_replayable",
        "_retry",
        "_running",
        "_tried",
        "_unprocessed",
        "_unreachable",
        "_wait",
        "attempts",
        "deadline_at",
        "deadline_s",
        "history",
        "state",
        "wake",
        "wake_at",
    )

    def __init__(
        self,
        calls: Calls,
        *,
        key: str | None = None,
        cost: float = 1,
        method: str = "GET",
        replayable: bool = True,
        retry: RetryPolicy | None = None,
        may_hedge: bool = True,
        deadline_at: float = inf,
        deadline_s: float | None = None,
    ) -> None:
        self._calls = calls
        self._key = key
        self._cost = cost
        self._method = method
        self._replayable = replayable
        self._retry = retry or calls.retry
        self._may_hedge = may_hedge and calls.hedge is not None
        self.deadline_s = deadline_s
        self._backoff: Backoff | None = None
        self._pick: Pick | None = None
        self._first: Pick | None = None
        # The attempts that run; filled only if hedges may be sent, for then there may be two.
        self._running: tuple[Pick, ...] = ()
        self._tried: tuple[str, ...] = ()
        self._unreachable: tuple[str, ...] = ()
        self._unprocessed = 0
        self._among: Sequence[Member] = ()
        self._wait: Wait | None = None
        self.deadline_at = deadline_at
        self.state: State = "new"
        self.attempts = 0
        self.history: tuple[str, ...] = ()
        self.wake: Callable[[], object] | None = None
        self.wake_at: float | None = None

    # -- events ------------------------------------------------------------------------------

    def begin(self, now: float) -> Step:
        """Start the request."""
        calls = self._calls
        calls.under_way += 1
        if not calls.is_listed:
            return self._await_list(now)
        calls.budget.request(now)
        return self._send(now)

    def answered(
        self, pick: Pick, status: int, now: float, retry_after_s: float | None = None
    ) -> Step:
        """Take the head of a response; its body is still to come, and then `ended`."""
        if status in self._retry.statuses:
            step = self._rejected(pick, status, retry_after_s, now)
            if step is not ANSWER:
                return step
        calls = self._calls
        if pick is self._first:
            calls.took(now - pick.started_at, now)
        pick.answered(now, ok=status not in calls.pool.failing, status=status)
        if retry_after_s is not None and status in calls.pool.overloaded:
            calls.pool.pause(pick.member.id, retry_after_s, now)
        return self._answer(pick, now)

    def completed(self, pick: Pick, status: int, now: float) -> Step:
        """Take a response that came whole, head and body at once; it has no `Retry-After`."""
        if status in self._retry.statuses:
            step = self._rejected(pick, status, None, now)
            if step is not ANSWER:
                return step
        calls = self._calls
        if pick is self._first:
            calls.took(now - pick.started_at, now)
        if status not in calls.pool.failing:
            calls.give_back(pick, now, "success")
        else:
            pick.answered(now, ok=False, status=status)
            calls.give_back(pick, now, "failure")
        return self._answer(pick, now)

    def failed(self, pick: Pick, failure: Failure, now: float, words: str | None = None) -> Step:
        """Take the failure of an attempt, before a response's head.

        Args:
            pick: the attempt's.
            failure: what happened.
            now: the time.
            words: the same for people; None: not wanted in `history`.
        """
        if words is not None:
            self._note(pick, f"{failure.replace('_', ' ')}: {words}")
        if failure in {"timeout", "connect_timeout"} and self._is_late(now):
            # The deadline had shortened this time-out.
            return self.deadline_passed(now)
        tried = self._tried_with(pick)
        if not self._retry.was_connected(failure):
            self._unreachable = (*self._unreachable, pick.instance.id)
        self._remove(pick, tried)
        calls = self._calls
        is_blamed = failure not in _BLAMELESS and not calls.is_closed
        calls.give_back(pick, now, "failure" if is_blamed else "cancelled")
        if is_blamed:
            calls.broke(pick)
        if self._running:
            return None
        if calls.is_closed and failure != "caller":
            # Closing has closed its connection.
            return self._fail(Fail("error", calls.closed_error()))
        wait_s = self._decide_retry(failure, tried, None, now)
        return self._fail(Fail("attempt")) if wait_s is None else self._again(wait_s, now)

    def resumed(self, now: float) -> Step:
        """Go on after a wait. A call that comes too early changes nothing."""
        if self.state == "sending":
            return self._hedge(now)
        if self.state in {"answered", "failed"}:
            return None
        if self._calls.is_closed:
            return self._send(now)
        if self.state == "asking":
            return self.deadline_passed(now) if self._is_late(now) else self._send(now)
        return self._go_on(now)

    def deadline_passed(self, now: float) -> Fail:
        """End the request: its deadline has come, or the wait for the first list is over.

        An answer that the caller has not got is lost.
        """
        doing = _WAITING_FOR.get(self.state, "waiting for a response")
        for pick in self._running_picks():
            had_s = now - pick.started_at
            is_blamed = had_s >= _BLAME_RATIO * (self.deadline_s or 0.0)
            self._calls.give_back(pick, now, "failure" if is_blamed else "cancelled")
            if is_blamed:
                self._calls.broke(pick)
        is_unlisted = self.state == "listing"
        end = Fail("no_list" if is_unlisted else "deadline", doing=doing)
        return end if self.state in {"answered", "failed"} else self._fail(end)

    def cancelled(self, now: float) -> None:
        """End the request: its caller has given up. Nothing if it has ended already."""
        if self.state in {"answered", "failed"}:
            return
        for pick in self._running_picks():
            self._calls.give_back(pick, now, "cancelled")
        self._fail(Fail("attempt"))

    def ended(self, pick: Pick, outcome: Outcome, now: float) -> None:
        """Take the end of a body, whole or not. Only the first call for a pick counts."""
        if pick.is_done:
            return
        pick.done(now, outcome)
        calls = self._calls
        if outcome == "failure":
            calls.broke(pick)
        if calls.queue.count and calls.pool.has_room:
            calls.queue.call()

    # -- sending -----------------------------------------------------------------------------

    def _send(self, now: float, *, in_turn: bool = False) -> Step:
        """Choose an instance and begin an attempt; else queue, ask or fail."""
        calls = self._calls
        try:
            if calls.is_closed:
                return None if self._running else self._fail(Fail("error", calls.closed_error()))
            if not in_turn and calls.queue.count:
                raise calls.must_queue(now)
            exclude = self._tried if not self._running else self._tried_or_running()
            among: Sequence[Member] = ()
            if calls.pool.asks_first and not in_turn and not self._running:
                if self.state != "asking" and (ask := self._ask(exclude, now)):
                    return ask
                among = self._among
            pick = calls.pool.pick(
                now,
                key=self._key,
                exclude=exclude,
                never=self._unreachable,
                among=among,
                cost=self._cost,
            )
        except SaturatedError as error:
            return self._queue(error, now)
        except PickError as error:
            return None if self._running else self._fail(Fail("error", error))
        self.state = "sending"
        self.attempts += 1
        self._pick = pick
        if self._may_hedge:
            self._plan_hedge(pick, now)
        return pick

    def _ask(self, exclude: tuple[str, ...], now: float) -> Ask | None:
        """Have instances asked for their load, if the strategy wants that before it chooses."""
        pool = self._calls.pool
        self._among, asked = pool.to_ask(now, key=self._key, exclude=exclude)
        if not asked:
            return None
        self.state = "asking"
        return Ask(asked, min(now + pool.ask_timeout_s, self.deadline_at))

    def _answer(self, pick: Pick, now: float) -> Answer:
        for other in self._running:
            if other is not pick:
                if other is self._first:
                    # Its time so far counts as its latency, which would have been longer.
                    self._calls.took(now - other.started_at, now)
                self._calls.give_back(other, now, "cancelled")
        self._running = ()
        self.state = "answered"
        self._count_end()
        return ANSWER

    def _fail(self, end: Fail) -> Fail:
        self._calls.leave(self)
        self.state = "failed"
        self._running = ()
        self._count_end()
        return end

    def _count_end(self) -> None:
        calls = self._calls
        calls.under_way -= 1
        if calls.on_idle is not None and not calls.under_way:
            calls.on_idle()

    def _note(self, pick: Pick, how: str) -> None:
        self.history = (*self.history, f"{pick.instance.address} ({how})")

    # -- waits -------------------------------------------------------------------------------

    def _await_list(self, now: float) -> Step:
        calls = self._calls
        if calls.is_closed:
            return self._send(now)
        calls.await_list(self)
        return self._pause("listing", now + calls.startup_timeout_s)

    def _queue(self, error: SaturatedError, now: float) -> Step:
        if self._running:
            return None
        calls = self._calls
        if self.state == "queued":
            calls.queue.back()
            if calls.pool.has_room and not calls.queue.is_first(self):
                # There is room, though not for this one: an earlier one keeps its turn.
                calls.queue.call()
            return self._wait
        if not calls.queue.join(self):
            return self._fail(Fail("error", error))
        return self._pause("queued", now + calls.max_wait_s)

    def _again(self, wait_s: float, now: float) -> Step:
        if not wait_s:
            return self._send(now)
        self._calls.pause(self)
        return self._pause("paused", now + wait_s)

    def _pause(self, state: State, until: float) -> Wait:
        self.state = state
        self._wait = Wait(min(until, self.deadline_at))
        return self._wait

    def _go_on(self, now: float) -> Step:
        """Go on from a state of waiting."""
        wait = self._wait
        assert wait is not None
        if self._is_late(now):
            return self.deadline_passed(now)
        is_over = now >= wait.until - _ROUNDING_S
        if self.state == "queued":
            return self._try_turn(wait, now, is_over=is_over)
        if self.state == "listing":
            return self._try_list(wait, now, is_over=is_over)
        if not is_over:
            return wait
        self._calls.leave(self)
        return self._send(now)

    def _try_turn(self, wait: Wait, now: float, *, is_over: bool) -> Step:
        calls = self._calls
        if is_over:
            calls.look_for_room(now)
        if calls.queue.is_called(self):
            step = self._send(now, in_turn=True)
            if step is not wait:  # the same object: there was still no room
                calls.leave(self)
                return step
        return self._fail(Fail("error", calls.no_room())) if is_over else wait

    def _try_list(self, wait: Wait, now: float, *, is_over: bool) -> Step:
        calls = self._calls
        if calls.is_listed:
            calls.leave(self)
            calls.budget.request(now)
            return self._send(now)
        if calls.refusal is not None:
            return self._fail(Fail("error", calls.refusal))
        return self.deadline_passed(now) if is_over else wait

    # -- another attempt ---------------------------------------------------------------------

    def _rejected(self, pick: Pick, status: int, retry_after_s: float | None, now: float) -> Step:
        """Decide on a response whose status may be retried."""
        tried = self._tried_with(pick)
        is_alone = len(self._running) <= 1
        wait_s = self._decide_retry(status, tried, retry_after_s, now) if is_alone else 0.0
        if wait_s is None:
            return ANSWER
        self._remove(pick, tried)
        self._note(pick, f"status {status}")
        calls = self._calls
        pick.answered(now, ok=status not in calls.pool.failing, status=status)
        if retry_after_s is not None and status in calls.pool.overloaded:
            calls.pool.pause(pick.member.id, retry_after_s, now)
        calls.give_back(pick, now, "success" if status in calls.pool.callers else "failure")
        return self._again(wait_s, now) if is_alone else None

    def _decide_retry(
        self,
        cause: Failure | int,
        tried: tuple[str, ...],
        retry_after_s: float | None,
        now: float,
    ) -> float | None:
        """Decide whether to try again: return the wait before it in seconds; None: no.

        Unprocessed attempts are counted here, and the budget is charged. No retry goes to an
        instance that could not be connected to, and no wait begins that would end after the
        deadline. A wait that the server asks for (`Retry-After`) replaces the backoff.
        """
        policy, calls = self._retry, self._calls
        attempts = self.attempts - self._unprocessed
        if cause == "unprocessed":
            self._unprocessed += 1
            attempts = self._unprocessed
        if not policy.allows(cause, attempts, method=self._method, replayable=self._replayable):
            return None
        was_connected = policy.was_connected(cause)
        if not was_connected and not calls.pool.has_other(self._unreachable):
            return None
        has_other = calls.pool.has_other(tried)
        is_immediate = has_other and (not was_connected or cause == "unprocessed")
        wait_s = 0.0 if is_immediate else self._backoff_s()
        only_it_rests = policy.retry_after == "instance" and cause not in calls.pool.callers
        if retry_after_s is not None and not (has_other and only_it_rests):
            wait_s = retry_after_s
            if wait_s > policy.max_retry_after_s:
                return None
        if wait_s >= self.deadline_at - now:
            return None
        if policy.is_charged(cause) and not calls.budget.take(now):
            return None
        return wait_s

    def _backoff_s(self) -> float:
        if self._backoff is None:
            policy = self._retry
            self._backoff = Backoff(
                self._calls.rng, first_s=policy.backoff_first_s, max_s=policy.backoff_max_s
            )
        return self._backoff.next_s()

    # -- hedging -----------------------------------------------------------------------------

    def _plan_hedge(self, pick: Pick, now: float) -> None:
        hedge = self._calls.hedge
        assert hedge is not None
        self._first = self._first or pick
        self._running = (*self._running, pick)
        self.wake_at = None
        if len(self._running) > 1 or self.attempts >= self._retry.max_attempts:
            return
        if self._replayable and self._method in hedge.methods:
            delay_s = self._calls.hedge_delay_s()
            self.wake_at = None if delay_s is None else now + delay_s

    def _hedge(self, now: float) -> Step:
        """Send a second attempt beside the first, if it is time, and allowed."""
        if self.wake_at is None or now < self.wake_at - _ROUNDING_S:
            return None
        self.wake_at = None
        calls = self._calls
        # A hedge does not overtake requests that wait for room.
        if calls.queue.count or not calls.pool.has_room_beside(self._tried_or_running()):
            return None
        return self._send(now) if calls.budget.take(now) else None

    # -- what is out, what was tried ---------------------------------------------------------

    def _is_late(self, now: float) -> bool:
        return now >= self.deadline_at - _ROUNDING_S

    def _running_picks(self) -> tuple[Pick, ...]:
        if self._may_hedge:
            return self._running
        return (self._pick,) if self._pick is not None and self.state == "sending" else ()

    def _tried_or_running(self) -> tuple[str, ...]:
        """Return the ids of the instances that were tried, and of those where attempts are out."""
        return (*self._tried, *(pick.instance.id for pick in self._running))

    def _tried_with(self, pick: Pick) -> tuple[str, ...]:
        id_ = pick.instance.id
        return self._tried if id_ in self._tried else (*self._tried, id_)

    def _remove(self, pick: Pick, tried: tuple[str, ...]) -> None:
        self._tried = tried
        if self._running:
            self._running = tuple(out for out in self._running if out is not pick)
