"""The request machine under random events, against a naive model of what a caller may rely on.

Several requests share one `Calls`, with limits, a queue, hedges, retries, deadlines, Retry-After, a
list that comes late and closing. The model knows which attempts are out, who queues in which order,
and what was charged to the budget; it knows none of the machine's states.
"""

from __future__ import annotations

from math import inf
from random import Random

import pytest

from service_kit import World, instance
from trimtab import ConcurrencyLimits, EnvoyOutliers, HealthSettings, HedgePolicy, RetryPolicy
from trimtab.calls import ANSWER, Fail, Wait
from trimtab.calls.request import Request
from trimtab.pool import Pick

FAILURES = ("refused", "connect_timeout", "no_response", "timeout", "caller", "unknown")
RETRIED = ("refused", "connect_timeout", "no_response", "timeout")
STATUSES = (200, 404, 429, 500, 503)
WINDOW_S = 10.0
SECONDS = (0.0, 0.001, 0.02, 0.02, 0.1, 0.1, 0.5, 3.0, 31.0)


class Caller:
    """What the model knows of one request."""

    def __init__(self, machine, request):
        self.machine, self.request = machine, request
        self.out: list[Pick] = []
        self.wait: Wait | None = None
        self.refusals = 0
        self.is_woken = False
        self.end: object = None
        request.wake = self._wake

    def _wake(self):
        self.is_woken = True


class Play:
    """One random world, and random events in it.

    Args:
        rng: the source of chance.
    """

    def __init__(self, rng):
        choice = rng.choice
        self.rng = rng
        ejects, size, hedge_s = choice([0, 0, 1]), rng.randint(1, 4), choice([None, 0.0, 0.05])
        retry = RetryPolicy(
            max_attempts=rng.randint(1, 4),
            max_refused=rng.randint(1, 5),
            failures=[each for each in RETRIED if rng.random() < 0.7],
            statuses=choice([(), (503,), (429, 503)]),
            backoff_first_s=choice([0.0, 0.02]),
            retry_after=choice(["instance", "service"]),
            budget_ratio=choice([0.0, 0.2, 1.0]),
            budget_min_per_s=choice([0.0, 0.3, 10.0]),
        )
        outliers = EnvoyOutliers(consecutive_failures=2, max_ejected_ratio=1.0) if ejects else None
        self.world = World(
            None,
            retry=retry,
            hedge=None if hedge_s is None else HedgePolicy(quantile=None, after_s=hedge_s),
            concurrency=ConcurrencyLimits(
                max_in_flight=choice([None, 1, 1, 2]),
                max_pending=choice([0, 1, 3, 9]),
                max_wait_s=2.0,
            ),
            health=HealthSettings(outliers=outliers, panic_ratio=0.0),
            draw=0.5,
            startup_timeout_s=5.0,
        )
        self.calls = self.world.calls
        self.retry = retry
        self.callers: list[Caller] = []
        self.queue: list[Caller] = []
        self.bodies: list[Pick] = []
        self.sent = self.retries_for_free = 0
        self.requests: list[float] = []
        self.charged: list[float] = []
        self._watch_budget()
        if rng.random() < 0.8:
            self.world.list(*(instance(f"i{number}") for number in range(size)))

    def _watch_budget(self):
        budget = self.calls.budget
        request, take = budget.request, budget.take

        def noted_request(now):
            self.requests.append(now)
            request(now)

        def noted_take(now):
            is_taken = take(now)
            if is_taken:
                self.charged.append(now)
            return is_taken

        budget.request, budget.take = noted_request, noted_take

    # -- the driver, and what it checks at each step -----------------------------------------------

    @property
    def now(self):
        return self.world.now

    @property
    def live(self):
        return [caller for caller in self.callers if caller.end is None]

    def take(self, caller, step, *, is_driven=True):
        """Carry out a step."""
        assert caller.end is None
        if isinstance(step, Pick):
            self._sent(caller, step)
        elif isinstance(step, Wait):
            assert step.until <= caller.request.deadline_at
            caller.wait, caller.is_woken = step, False
            if caller.request.state == "queued" and caller not in self.queue:
                self.queue.append(caller)
        elif step is not None:
            self._ended(caller, step)
        else:
            assert caller.out or not is_driven, "nothing is out and nothing is waited for"
        if caller.request.state != "queued" and caller in self.queue:
            self.queue.remove(caller)

    def _sent(self, caller, pick):
        request = caller.request
        assert not pick.is_done
        assert self.now < request.deadline_at, "sent after the deadline"
        assert not self.calls.is_closed, "sent after closing"
        assert len(caller.out) < 2, "more than one hedge"
        ahead = self.queue[: self.queue.index(caller)] if caller in self.queue else self.queue
        for other in ahead:
            assert self.calls.queue.is_called(other.request), "it overtook one that waits"
        caller.out.append(pick)
        caller.wait = None
        self.sent += 1
        most = self.retry.max_attempts
        if caller.refusals and most > 1:
            most = max(most, self.retry.max_refused)
        assert request.attempts <= most, "more attempts than are allowed"

    def _ended(self, caller, end):
        assert end is ANSWER or isinstance(end, Fail), end
        caller.end = end
        caller.wait = None
        assert all(pick.is_done or pick in self.bodies for pick in caller.out)
        caller.out = []

    def resume(self, caller):
        before = caller.wait
        step = caller.request.resumed(self.now)
        if isinstance(step, Wait) and step is before:
            assert self.now < before.until, "a wait that is over goes on"
        self.take(caller, step)

    # -- events ------------------------------------------------------------------------------------

    def begin(self):
        deadline_s = self.rng.choice([None, None, None, 0.1, 1.0])
        request = Request(
            self.calls,
            method=self.rng.choice(["GET", "GET", "GET", "POST"]),
            replayable=self.rng.random() < 0.9,
            deadline_s=deadline_s,
            deadline_at=inf if deadline_s is None else self.now + deadline_s,
        )
        caller = Caller(self, request)
        self.callers.append(caller)
        self.take(caller, request.begin(self.now))

    def _any(self, things):
        things = list(things)
        return self.rng.choice(things) if things else None

    def _one_out(self):
        return self._any((caller, pick) for caller in self.live for pick in caller.out)

    def answer(self):
        status, whole = self.rng.choice(STATUSES), self.rng.random() < 0.5
        retry_after_s = self.rng.choice([None, None, 0.0, 1.0, 30.0])
        if found := self._one_out():
            caller, pick = found
            if whole:
                step = caller.request.completed(pick, status, self.now)
            else:
                step = caller.request.answered(pick, status, self.now, retry_after_s)
            if step is ANSWER and not whole:
                assert not pick.is_done
                self.bodies.append(pick)
            else:
                assert pick.is_done
                caller.out.remove(pick)
            self.take(caller, step)

    def fail(self):
        failure = self.rng.choice(FAILURES)
        if found := self._one_out():
            caller, pick = found
            caller.refusals += failure == "refused"
            step = caller.request.failed(pick, failure, self.now, "words")
            assert pick.is_done
            caller.out.remove(pick)
            self.take(caller, step)
            if failure == "refused" and isinstance(step, (Pick, Wait)):
                self.retries_for_free += 1
            if failure in {"caller", "unknown"}:
                assert caller.end is not None or caller.out, f"tried again after {failure}"

    def resume_any(self):
        """Drivers may ask at any time."""
        if caller := self._any(self.live):
            self.resume(caller)

    def time_passes(self):
        self.advance(self.rng.choice(SECONDS), in_steps=self.rng.random() < 0.5)

    def advance(self, seconds, *, in_steps):
        """Let every wait end at its time, or all of them late."""
        until = self.now + seconds
        while in_steps and (due := [at for at in self._dues() if self.now < at <= until]):
            self.world.now = min(due)
            self._fire()
        self.world.now = until
        self._fire()

    def _dues(self):
        for caller in self.live:
            if caller.wait is not None:
                yield caller.wait.until
            else:
                yield caller.request.deadline_at
                if caller.request.wake_at is not None:
                    yield caller.request.wake_at

    def _fire(self):
        for caller in self.live:
            if caller.wait is not None:
                if caller.is_woken or self.now >= caller.wait.until:
                    self.resume(caller)
            elif self.now >= caller.request.deadline_at:
                self.take(caller, caller.request.deadline_passed(self.now))
            elif caller.request.wake_at is not None:
                self.resume(caller)

    def cancel(self):
        if caller := self._any(self.live):
            caller.request.cancelled(self.now)
            self.take(caller, Fail("attempt"))

    def end_body(self):
        outcome = self.rng.choice(["success", "failure", "cancelled"])
        if self.bodies:
            pick = self.bodies.pop(self.rng.randrange(len(self.bodies)))
            for _ in range(2):
                self.callers[0].request.ended(pick, outcome, self.now)
            assert pick.is_done

    def late_events_change_nothing(self):
        if caller := self._any(each for each in self.callers if each.end is not None):
            request = caller.request
            before = self.calls.under_way, self._in_flight()
            assert request.resumed(self.now) is None
            request.cancelled(self.now)
            assert isinstance(request.deadline_passed(self.now), Fail)
            assert (self.calls.under_way, self._in_flight()) == before

    def change_list(self):
        first, size = self.rng.randint(0, 3), self.rng.choice([0, 1, 2, 3, 4, 5])
        self.world.list(*(instance(f"i{number}") for number in range(first, first + size)))

    def refuse(self):
        if not self.calls.is_listed:
            self.calls.refused(ValueError("no such token"))

    def close(self):
        self.calls.close()
        for caller in self.live:
            if caller.wait is not None:
                assert caller.is_woken
                self.resume(caller)
                assert caller.end is not None

    # -- what always holds -------------------------------------------------------------------------

    def _in_flight(self):
        return self.world.figures().in_flight

    def counts_are_right(self):
        assert self.calls.under_way == len(self.live)
        out = [pick for caller in self.live for pick in caller.out]
        assert not any(pick.is_done for pick in (*out, *self.bodies))
        assert self._in_flight() == len(out) + len(self.bodies)

    def the_queue_is_bounded_and_never_stuck_while_there_is_room(self):
        queue = self.calls.queue
        assert queue.count == len(self.queue) <= queue._max_pending
        if self.queue and self._has_room_for(self.queue[0].request):
            # As long as there is room the first of those that wait has its turn, and knows.
            assert queue.is_called(self.queue[0].request)
            assert self.queue[0].is_woken or self.calls.is_closed

    def _has_room_for(self, request):
        """Whether an instance has room to which this request could not fail to connect before."""
        pool = self.calls.pool
        return any(
            pool._limiter is None or pool._limiter.has_room(member)
            for member in pool.eligible
            if member.id not in request._unreachable
        )

    def the_budget_is_kept(self):
        if self.charged and self.charged[-1] == self.now:
            retry = self.retry
            requests = sum(at > self.now - WINDOW_S for at in self.requests)
            charged = sum(at > self.now - 0.9 * WINDOW_S for at in self.charged)
            most = retry.budget_ratio * requests + retry.budget_min_per_s * WINDOW_S
            assert charged <= most + 1e-9
        assert self.sent <= len(self.requests) + len(self.charged) + self.retries_for_free

    def check(self):
        # First: figures look for room themselves.
        self.the_queue_is_bounded_and_never_stuck_while_there_is_room()
        self.counts_are_right()
        self.the_budget_is_kept()

    def play(self, steps):
        events, weights = zip(*EVENTS.items(), strict=True)
        for event in self.rng.choices(events, weights, k=steps):
            event(self)
            self.check()
        if self.rng.random() < 0.2:
            self.close()
            self.check()
        self.end()

    def end(self):
        """Answer everything: every request ends, and nothing is left."""
        for _ in range(100):
            if not self.live:
                break
            for caller in self.live:
                if caller.out:
                    pick = caller.out[0]
                    step = caller.request.completed(pick, 200, self.now)
                    caller.out.remove(pick)
                    self.take(caller, step)
            self.advance(0.5, in_steps=True)
            self.check()
        assert not self.live, "requests that never end"
        while self.bodies:
            self.end_body()
        assert (self.calls.under_way, self._in_flight(), self.calls.queue.count) == (0, 0, 0)
        assert not self.calls.awaits_list
        for member in self.world.figures().members.values():
            assert member.picks == member.successes + member.failures + member.cancelled


EVENTS = {
    Play.begin: 25,
    Play.answer: 15,
    Play.fail: 15,
    Play.time_passes: 25,
    Play.resume_any: 5,
    Play.end_body: 6,
    Play.cancel: 3,
    Play.late_events_change_nothing: 2,
    Play.change_list: 3,
    Play.refuse: 1,
}


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(600), id="short"),
        pytest.param((1557, 10032), id="found"),
        pytest.param(range(600, 100_000), id="soak", marks=pytest.mark.soak),
    ],
)
def test_a_caller_gets_one_end_and_nothing_leaks(seeds):
    for seed in seeds:
        play = Play(Random(seed))
        try:
            play.play(80)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
