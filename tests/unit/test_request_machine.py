"""The request machine, event by event, on a time moved by hand."""

from math import inf

import pytest

from service_kit import World
from trimtab import (
    ClosedError,
    ConcurrencyLimits,
    EnvoyOutliers,
    HealthSettings,
    HedgePolicy,
    NoEligibleInstanceError,
    NoInstancesError,
    RetryPolicy,
    SaturatedError,
)
from trimtab.calls import ANSWER, Fail, Wait
from trimtab.pool import Pick

STATUSES = RetryPolicy(statuses={429, 502, 503})
TIMED_OUT = RetryPolicy(failures={"timeout"}, backoff_first_s=0.0)


def counts(pick):
    member = pick.member
    return member.successes, member.failures, member.cancelled, member.in_flight


# -- one attempt ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        *[(status, "successes") for status in (200, 404, 499)],
        *[(status, "failures") for status in (429, 500, 503)],
    ],
)
def test_a_request_that_is_answered_whole(status, ended):
    world = World()
    call = world.begin()
    pick = call.pick
    call.completed(status)
    assert call.step is ANSWER
    assert getattr(pick.member, ended) == 1
    assert (pick.member.in_flight, world.calls.under_way) == (0, 0)
    assert (call.request.attempts, call.request.history) == (1, ())


def test_head_and_body_apart():
    world = World()
    call = world.begin(key="customer-7")
    pick = call.pick
    world.advance(0.2)
    call.answered(503)
    assert (call.step, pick.member.in_flight, world.calls.under_way) == (ANSWER, 1, 0)
    call.request.ended(pick, "success", world.now)
    call.request.ended(pick, "success", world.now)  # the end may be noted twice
    assert (pick.member.in_flight, pick.member.failures) == (0, 1)


def test_each_attempt_goes_to_another_instance_while_there_is_one():
    world = World()
    call = world.begin()
    assert [call.failed("refused", words="no") for _ in range(3)] == [0.0, 0.0, None]
    assert call.step == Fail("attempt")
    assert len(call.request.history) == 3
    assert all(each.endswith("(refused: no)") for each in call.request.history)
    figures = world.figures()
    assert (figures.in_flight, world.calls.under_way) == (0, 0)
    assert [each.failures for each in figures.members.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("failure", "method", "replayable", "again"),
    [
        ("no_response", "GET", True, True),
        ("no_response", "GET", False, False),
        ("no_response", "POST", True, False),
        ("connect_timeout", "POST", False, True),
        ("timeout", "GET", True, False),
        ("unknown", "GET", True, False),
    ],
)
def test_whether_there_is_another_attempt(failure, method, replayable, again):
    call = World().begin(method=method, replayable=replayable)
    pick = call.pick
    assert (call.failed(failure) is not None) is again
    assert pick.member.failures == 1


def test_a_mistake_of_the_caller_does_not_count_against_the_instance():
    call = World().begin()
    pick = call.pick
    assert call.failed("caller") is None
    assert call.step == Fail("attempt")
    assert counts(pick) == (0, 0, 1, 0)


def test_requests_share_nothing_of_what_they_tried():
    world = World()
    one, other = world.begin(), world.begin()
    one.failed("refused", words="no")
    assert (len(one.request.history), len(other.request.history)) == (1, 0)
    assert one.request.attempts == 2


def test_history_holds_only_what_was_put_in_words():
    call = World().begin()
    address = call.pick.instance.address
    call.failed("connect_timeout")
    assert call.request.history == ()
    call.failed("connect_timeout", words="too slow")
    assert call.request.history == (f"{address} (connect timeout: too slow)",)


def test_an_instance_already_tried_comes_last():
    world = World("abc", retry=RetryPolicy(max_refused=9))
    for _ in range(20):
        call = world.begin()
        tried = []
        for _ in range(3):
            tried.append(call.pick.instance.id)
            call.failed("no_response")
        assert sorted(tried) == ["a", "b", "c"]
    call = World("a").begin()
    assert call.failed("no_response") is not None
    assert call.pick.instance.id == "a"


def test_nothing_is_sent_again_to_an_instance_that_refused():
    call = World("ab").begin()
    assert call.failed("refused") == 0.0
    assert call.failed("refused") is None


@pytest.mark.parametrize("failure", ["refused", "connect_timeout"])
def test_after_a_failed_connect_one_that_was_connected_to_before_may_be_asked_again(failure):
    call = World("ab").begin()
    first = call.pick.instance
    assert call.failed("no_response") is not None
    wait_s = call.failed(failure)
    # It is no other instance, so that there is a wait.
    assert wait_s > 0
    assert call.pick.instance is first
    assert call.failed("no_response") is None


def test_waits_grow_with_full_jitter_and_refusals_do_not_wait():
    call = World("abcdefgh", retry=RetryPolicy(max_attempts=9)).begin()
    causes = ["no_response", "refused", "no_response", "connect_timeout", *["no_response"] * 4]
    waits = [call.failed(cause) for cause in causes]
    assert waits == pytest.approx([0.025, 0, 0.05, 0, 0.1, 0.2, 0.25, 0.25])
    assert World(draw=0.5).begin().failed("no_response") == 0.0125


def test_each_request_has_waits_of_its_own():
    world = World()
    for _ in range(3):
        assert world.begin().failed("no_response") == 0.025


def test_a_policy_of_the_request_stands_above_the_services():
    world = World(retry=RetryPolicy(max_attempts=1))
    own = RetryPolicy(backoff_first_s=0.5, backoff_max_s=9.0)
    assert world.begin(retry=own).failed("no_response") == 0.5
    assert world.begin().failed("no_response") is None


def test_a_pause_ends_at_its_time_and_not_before():
    world = World()
    call = world.begin()
    call.failed("no_response")
    paused = call.step
    assert (call.request.state, call.resume()) == ("paused", paused)
    world.advance(0.024)
    assert call.resume() is paused
    world.advance(0.001)
    assert isinstance(call.resume(), Pick)
    assert call.request.state == "sending"
    assert call.resume() is None  # nothing to hedge


def test_after_its_end_a_request_has_no_next_step():
    world = World()
    answered, failed = world.begin(), world.begin()
    answered.answered(200)
    failed.failed("caller")
    for call in (answered, failed):
        assert call.resume() is None
        call.request.cancelled(world.now)
    assert world.calls.under_way == 0


def test_without_an_instance_a_request_fails_at_once():
    world = World("")
    call = world.begin()
    assert isinstance(call.step.error, NoInstancesError)
    assert (call.step.reason, call.request.state) == ("error", "failed")
    assert (call.request.attempts, world.calls.under_way) == (0, 0)


def test_when_the_instances_leave_between_attempts_that_is_the_error():
    world = World("ab")
    call = world.begin()
    call.failed("no_response")
    world.list()
    world.advance(1.0)
    assert isinstance(call.resume().error, NoInstancesError)


# -- statuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["answered", "completed"])
@pytest.mark.parametrize(
    ("status", "method", "replayable", "wait_s"),
    [
        (503, "GET", True, 0.025),
        (502, "PUT", True, 0.025),
        (500, "GET", True, None),
        (200, "GET", True, None),
        (503, "POST", True, None),
        (503, "GET", False, None),
    ],
)
def test_statuses_that_are_tried_again(how, status, method, replayable, wait_s):
    call = World(retry=STATUSES).begin(method=method, replayable=replayable)
    pick = call.pick
    assert getattr(call, how)(status) == wait_s
    if wait_s is None:
        assert call.step is ANSWER
        assert pick.is_done is (how == "completed")
        assert call.request.history == ()
    else:
        assert counts(pick) == (0, 1, 0, 0)
        assert call.request.history == (f"{pick.instance.address} (status {status})",)


def test_the_last_response_is_the_answer():
    call = World(retry=STATUSES).begin()
    assert [call.answered(503) for _ in range(3)] == [0.025, 0.05, None]
    assert call.step is ANSWER


@pytest.mark.parametrize(
    ("status", "asks_s", "pauses"),
    [(429, 7.0, True), (503, 7.0, True), (504, 7.0, True), (429, None, False)],
)
def test_an_instance_that_asks_to_wait_gets_no_request_for_so_long(status, asks_s, pauses):
    world = World()
    call = world.begin()
    id_ = call.pick.instance.id
    call.answered(status, asks_s)
    assert call.step is ANSWER
    assert (id_ not in world.eligible()) is pauses
    world.advance(6.9)
    assert (id_ not in world.eligible()) is pauses
    world.advance(0.1)
    assert len(world.eligible()) == 3


def test_other_instances_are_asked_without_that_wait():
    world = World(retry=STATUSES)
    call = world.begin()
    id_ = call.pick.instance.id
    assert call.answered(503, 60.0) == 0.025
    assert id_ not in world.eligible()


@pytest.mark.parametrize(("asks_s", "wait_s"), [(3.0, 3.0), (5.0, 5.0), (5.1, None), (0.0, 0.0)])
def test_an_instance_that_is_alone_sets_the_wait(asks_s, wait_s):
    call = World("a", retry=STATUSES).begin()
    assert call.answered(429, asks_s) == wait_s


def test_a_retry_after_may_apply_to_the_service():
    policy = RetryPolicy(statuses={503}, retry_after="service", max_retry_after_s=2.0)
    call = World(retry=policy).begin()
    assert call.answered(503, 1.5) == 1.5
    assert call.answered(503, 2.5) is None


# -- statuses that are about the caller -----------------------------------------------------------

QUOTAS = HealthSettings(caller_statuses={429, 503}, outliers="envoy")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("way", ["answered", "completed"])
def test_a_status_about_the_caller_counts_as_a_good_answer(way, status):
    world = World("ab", health=QUOTAS)
    for _ in range(50):
        call = world.begin()
        pick = call.pick
        call.answered(status, 60.0) if way == "answered" else call.completed(status)
        assert call.step is ANSWER
        if way == "answered":
            call.request.ended(pick, "success", world.now)
    assert world.eligible() == ["a", "b"]
    for member in world.pool.members.values():
        assert (member.successes, member.failures, member.in_flight) == (25, 0, 0)
        assert member.failed_in_row == 0


def test_other_statuses_count_as_ever_beside_it():
    world = World("ab", health=QUOTAS)
    call = world.begin()
    pick = call.pick
    call.answered(504, 7.0)
    call.request.ended(pick, "success", world.now)
    assert (pick.member.failures, len(world.eligible())) == (1, 1)


def test_outlier_detection_and_limits_take_it_for_a_good_answer_too():
    outliers = EnvoyOutliers(failing_statuses={429}, always_eject_one=True, consecutive_failures=2)
    limits = ConcurrencyLimits(adaptation="aimd", initial_in_flight=10)
    for callers, ejected, limit in (((), 1, 9), ({429}, 0, 10)):
        health = HealthSettings(caller_statuses=callers, outliers=outliers)
        world = World("ab", health=health, concurrency=limits)
        for _ in range(8):
            call = world.begin()
            pick = call.pick
            call.answered(429)
            call.request.ended(pick, "success", world.now)
        figures = world.figures()
        assert figures.eligible == 2 - ejected
        assert (min(each.limit for each in figures.members.values()) < 10) is (limit < 10)


def test_where_it_is_repeated_its_retry_after_applies_to_every_instance():
    world = World(retry=STATUSES, health=QUOTAS)
    call = world.begin()
    first = call.pick
    assert call.answered(429, 3.0) == 3.0
    assert (first.member.successes, first.member.failures) == (1, 0)
    assert len(world.eligible()) == 3
    assert call.answered(429, 6.0) is None


# -- what was not processed ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_was_not_processed_is_sent_again_whatever_the_method(method):
    world = World("ab", retry=RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.0))
    call = world.begin(method=method)
    first = call.pick
    assert call.failed("unprocessed") == 0.0
    assert call.pick.instance.id != first.instance.id
    assert counts(first) == (0, 0, 1, 0)


def test_it_is_sent_to_the_same_instance_if_there_is_no_other():
    call = World("a").begin(method="POST")
    assert call.failed("unprocessed") == 0.025
    assert call.pick.instance.id == "a"


def test_a_body_that_cannot_be_sent_twice_is_not_sent_again():
    call = World("ab").begin(method="POST", replayable=False)
    assert call.failed("unprocessed") is None


def test_it_is_bounded_and_takes_no_attempt_from_others():
    call = World("a", retry=RetryPolicy(max_unprocessed=4, max_attempts=2)).begin()
    assert [call.failed("unprocessed") is None for _ in range(3)] == [False] * 3
    assert call.failed("no_response") is not None
    assert call.failed("no_response") is None
    call = World("a", retry=RetryPolicy(max_unprocessed=4)).begin()
    assert [call.failed("unprocessed") is None for _ in range(4)] == [False] * 3 + [True]
    call = World("ab", retry=RetryPolicy(max_attempts=1)).begin()
    assert call.failed("unprocessed") is None


# -- the budget ----------------------------------------------------------------------------------


def test_retries_stop_with_the_budget_and_refusals_are_free():
    world = World(retry=RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.2))  # two in ten seconds
    got = [world.begin().failed("no_response") for _ in range(4)]
    assert got == [0.025, 0.025, None, None]
    call = world.begin()
    assert call.failed("refused") == 0.0
    assert call.failed("connect_timeout") is None
    world.advance(10.0)
    assert world.begin().failed("no_response") == 0.025


def test_connect_timeouts_are_charged_to_the_budget():
    """Servers that do not accept in time are overloaded: more connections make it worse."""
    world = World("abcdef", retry=RetryPolicy(budget_ratio=0.1, budget_min_per_s=0.0))
    attempts = 0
    for _ in range(200):
        call, wait_s = world.begin(), 0.0
        while wait_s is not None:
            attempts += 1
            wait_s = call.failed("connect_timeout")
    assert attempts == 220


def test_requests_earn_budget_once_each():
    policy = RetryPolicy(budget_ratio=0.5, budget_min_per_s=0.0, max_attempts=9)
    world = World(retry=policy)
    calls, got = [], []
    for _ in range(4):
        calls.append(world.begin())
        got.append(calls[-1].failed("no_response") is not None)
    # Half of 1, 2, 3 and 4 requests: the retries themselves earn nothing.
    assert got == [False, True, False, True]
    assert calls[1].failed("no_response") is None


def test_a_retry_is_charged_when_it_is_decided_on():
    world = World(retry=RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.1))
    first, second = world.begin(), world.begin()
    assert first.failed("no_response") is not None
    assert second.failed("no_response") is None


def test_a_wait_beyond_the_deadline_costs_no_budget():
    world = World(retry=RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.1))
    assert world.begin(deadline_s=0.0249).failed("no_response") is None
    assert world.begin(deadline_s=0.026).failed("no_response") == 0.025


def test_a_request_that_waited_earns_budget_once():
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=1)
    policy = RetryPolicy(budget_ratio=0.5, budget_min_per_s=0.0)
    world = World("a", retry=policy, concurrency=limits)
    out, waiting = world.begin(), world.begin()
    out.completed(200)
    waiting.resume()
    # Two requests, two halves: one retry, and no other.
    assert waiting.failed("no_response") is not None
    assert waiting.failed("no_response") is None


def test_a_request_that_waited_for_the_list_earns_budget_once_it_is_sent():
    world = World(None, retry=RetryPolicy(budget_ratio=1.0, budget_min_per_s=0.0))
    unlisted, given_up = world.begin(), world.begin()
    given_up.request.cancelled(world.now)
    world.list(*"abc")
    unlisted.resume()
    assert unlisted.failed("no_response") is not None
    assert unlisted.failed("no_response") is None


# -- the deadline --------------------------------------------------------------------------------


def test_a_request_without_a_deadline_has_none():
    call = World().begin()
    assert (call.request.deadline_at, call.request.deadline_s) == (inf, None)


@pytest.mark.parametrize(
    ("had_s", "is_blamed"), [(1.0, True), (0.5, True), (0.499, False), (0.001, False)]
)
def test_a_deadline_counts_against_an_instance_that_had_half_of_the_time(had_s, is_blamed):
    world = World()
    call = world.begin(deadline_s=1.0)
    world.advance(1.0 - had_s)
    call.failed("refused")
    pick = call.pick
    world.advance(had_s)
    assert call.request.deadline_passed(world.now) == Fail(
        "deadline", doing="waiting for a response"
    )
    assert counts(pick) == ((0, 1, 0, 0) if is_blamed else (0, 0, 1, 0))
    assert (call.request.state, world.calls.under_way) == ("failed", 0)
    call.request.deadline_passed(world.now)  # it may be noted twice
    assert (counts(pick)[3], world.calls.under_way) == (0, 0)


@pytest.mark.parametrize("failure", ["timeout", "connect_timeout"])
@pytest.mark.parametrize(("early_s", "is_late"), [(0.0, True), (5e-10, True), (0.001, False)])
def test_a_time_out_at_the_deadline_is_the_deadline(failure, early_s, is_late):
    world = World("a")
    call = world.begin(deadline_s=2.0)
    pick = call.pick
    world.advance(2.0 - early_s)  # a wait may end a rounding error early
    call.failed(failure)
    assert call.step.reason == ("deadline" if is_late else "attempt")
    assert counts(pick) == (0, 1, 0, 0)


def test_other_failures_at_the_deadline_are_what_they_are():
    world = World()
    call = world.begin(deadline_s=2.0)
    world.advance(2.0)
    assert (call.failed("refused"), call.step) == (None, Fail("attempt"))


@pytest.mark.parametrize("is_hedged", [False, True])
def test_a_deadline_gives_back_every_attempt_that_is_out(is_hedged):
    hedge = HedgePolicy(quantile=None, after_s=0.6) if is_hedged else None
    world = World(hedge=hedge)
    call = world.begin(deadline_s=1.0)
    first, second = call.pick, call.hedge()
    world.now = 101.0
    call.request.deadline_passed(world.now)
    assert counts(first) == (0, 1, 0, 0)
    if is_hedged:
        assert counts(second) == (0, 0, 1, 0)
    assert world.figures().in_flight == 0


def test_an_answer_that_the_caller_did_not_get_in_time_is_lost():
    """The driver has the response, and waits for the loser's end when the deadline comes."""
    world = World()
    call = world.begin(deadline_s=1.0)
    call.answered(200)
    assert call.request.deadline_passed(world.now).reason == "deadline"
    assert world.calls.under_way == 0


@pytest.mark.parametrize(
    ("state", "doing"),
    [
        ("queued", "waiting for room on an instance"),
        ("paused", "waiting before another attempt"),
        ("sending", "waiting for a response"),
    ],
)
def test_a_deadline_says_what_the_request_was_doing(state, doing):
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=60.0)
    world = World("a", concurrency=limits, retry=RetryPolicy(backoff_first_s=9, backoff_max_s=9))
    if state == "queued":
        world.begin()
    call = world.begin(deadline_s=30.0)
    if state == "paused":
        call.failed("no_response")
    assert call.request.state == state
    world.advance(30.0)
    step = call.request.deadline_passed(world.now) if state == "sending" else call.resume()
    assert step == Fail("deadline", doing=doing)


# -- the first list ------------------------------------------------------------------------------


def test_a_request_waits_for_the_first_list():
    world = World(None, startup_timeout_s=10.0)
    calls = [world.begin() for _ in range(3)]
    assert [call.step for call in calls] == [Wait(110.0)] * 3
    assert world.calls.awaits_list
    assert calls[0].resume() == Wait(110.0)
    world.list("a")
    assert [call.woken for call in calls] == [1, 1, 1]
    assert all(isinstance(call.resume(), Pick) for call in calls)
    assert not world.calls.awaits_list
    assert isinstance(world.begin().step, Pick)


def test_no_list_in_time_is_an_error_and_the_deadline_bounds_the_wait():
    world = World(None, startup_timeout_s=10.0)
    long, short = world.begin(), world.begin(deadline_s=0.5)
    assert (long.wait_s, short.wait_s) == (10.0, 0.5)
    world.advance(0.5)
    assert short.resume() == Fail("no_list", doing="waiting for the first list")
    assert long.resume() == Wait(110.0)
    world.advance(9.5)
    assert long.resume().reason == "no_list"
    assert (world.calls.under_way, world.calls.awaits_list) == (0, False)


def test_a_refusal_ends_the_waits_and_the_next_request_asks_again():
    world = World(None)
    call, error = world.begin(), ValueError("no such token")
    world.calls.refused(error)
    assert (call.woken, call.resume()) == (1, Fail("error", error))
    later = world.begin()
    assert isinstance(later.step, Wait)
    world.list("a")
    assert isinstance(later.resume(), Pick)


def test_a_request_without_a_waker_is_passed_over():
    """Its driver has not begun to wait, and will ask anyway."""
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9)
    world = World(None, concurrency=limits)
    call = world.begin()
    call.request.wake = None
    world.list("a")
    assert isinstance(call.resume(), Pick)
    queued = world.begin()
    queued.request.wake = None
    call.completed(200)
    world.calls.close()
    assert isinstance(queued.resume(), Fail)


# -- closing -------------------------------------------------------------------------------------


def test_closing_ends_every_wait_and_refuses_every_request():
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9)
    world = World("a", concurrency=limits)
    paused = world.begin()
    paused.failed("no_response")
    sending, queued = world.begin(), world.begin()
    unlisted_world = World(None)
    unlisted = unlisted_world.begin()
    for each in (world, unlisted_world):
        each.calls.close()
    assert (queued.woken, unlisted.woken, paused.woken) == (1, 1, 1)
    for call in (paused, queued, unlisted):
        assert isinstance(call.resume().error, ClosedError), call.request.state
    for each in (world, unlisted_world):
        late = each.begin().step
        assert isinstance(late.error, ClosedError)
        assert "'orders'" in str(late.error)
    sending.answered(200)
    assert sending.step is ANSWER
    assert (world.calls.under_way, unlisted_world.calls.under_way) == (0, 0)


@pytest.mark.parametrize("failure", ["refused", "no_response", "timeout", "unknown"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_attempt_that_closing_breaks_off_counts_against_no_instance(failure, method):
    world = World()
    call = world.begin(method=method)
    pick = call.pick
    world.calls.close()
    call.failed(failure)
    assert isinstance(call.step.error, ClosedError)
    assert counts(pick) == (0, 0, 1, 0)


def test_the_callers_own_mistake_stays_its_own_while_closing():
    world = World()
    call = world.begin()
    world.calls.close()
    call.failed("caller")
    assert call.step == Fail("attempt")


def test_the_last_request_to_end_tells_those_who_close():
    world, idle = World(), []
    calls = [world.begin() for _ in range(2)]
    world.calls.on_idle = lambda: idle.append(world.calls.under_way)
    calls[0].answered(200)
    assert idle == []
    calls[1].request.cancelled(world.now)
    assert idle == [0]


# -- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_hedged", [False, True])
def test_a_cancelled_request_gives_back_what_is_out(is_hedged):
    world = World(hedge=HedgePolicy(quantile=None, after_s=0.1) if is_hedged else None)
    call = world.begin()
    picks = [call.pick]
    if is_hedged:
        picks.append(call.hedge())
    call.request.cancelled(world.now)
    assert [counts(pick) for pick in picks] == [(0, 0, 1, 0)] * len(picks)
    assert (call.request.state, world.calls.under_way) == ("failed", 0)


@pytest.mark.parametrize("state", ["listing", "queued", "paused"])
def test_a_cancelled_wait_is_forgotten(state):
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9)
    world = World(None if state == "listing" else "a", concurrency=limits)
    if state == "queued":
        world.begin()
    call = world.begin()
    if state == "paused":
        call.failed("no_response")
    assert call.request.state == state
    call.request.cancelled(world.now)
    assert (world.calls.queue.count, world.calls.awaits_list) == (0, False)
    world.calls.close()
    assert call.woken == 0


# -- hedging -------------------------------------------------------------------------------------

AT_ONCE = HedgePolicy(quantile=None, after_s=0.1)


def hedging(ids="abc", hedge=AT_ONCE, **policies):
    return World(ids, hedge=hedge, **policies)


def test_a_hedge_goes_elsewhere_and_the_loser_is_given_back():
    world = hedging()
    call = world.begin()
    first = call.pick
    assert call.request.wake_at == world.now + 0.1
    world.advance(0.09)
    assert call.resume() is None
    second = call.hedge()
    assert second.instance.id != first.instance.id
    assert call.request.wake_at is None
    call.completed(200, pick=second)
    assert (call.step, counts(first), counts(second)) == (ANSWER, (0, 0, 1, 0), (1, 0, 0, 0))


@pytest.mark.parametrize(
    ("options", "is_hedged"),
    [
        ({}, True),
        ({"method": "POST"}, False),
        ({"replayable": False}, False),
        ({"may_hedge": False}, False),
        ({"retry": RetryPolicy(max_attempts=1)}, False),
        ({"method": "PUT"}, True),
    ],
)
def test_what_may_be_hedged(options, is_hedged):
    call = hedging().begin(**options)
    assert (call.request.wake_at is not None) is is_hedged
    assert (call.hedge() is not None) is is_hedged


def test_hedges_count_as_attempts():
    call = hedging(retry=RetryPolicy(max_attempts=2)).begin()
    first, second = call.pick, call.hedge()
    assert call.failed("no_response", first) is None
    assert call.failed("no_response", second) is None
    assert (call.step, call.request.attempts) == (Fail("attempt"), 2)


def test_without_a_policy_there_are_no_hedges():
    call = World().begin()
    assert call.request.wake_at is None


def test_hedges_draw_on_the_retry_budget():
    world = hedging(retry=RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.2))
    calls = [world.begin() for _ in range(4)]
    assert [call.hedge() is not None for call in calls] == [True, True, False, False]
    assert calls[3].failed("no_response", calls[3].step) is None
    assert calls[3].step == Fail("attempt")


def test_a_hedge_needs_another_instance_with_room():
    assert hedging("a").begin().hedge() is None
    full = hedging("ab", concurrency=ConcurrencyLimits(max_in_flight=1))
    full.begin()
    assert full.begin().hedge() is None
    tried = hedging("ab").begin()
    tried.failed("no_response")
    assert isinstance(tried.pick, Pick)
    assert tried.hedge() is None


def test_a_failure_while_another_attempt_is_out_decides_nothing():
    call = hedging(retry=STATUSES).begin()
    first, second = call.pick, call.hedge()
    assert call.failed("no_response", first) is None
    assert call.step is None
    assert call.failed("no_response", second) == 0.025


def test_a_bad_status_while_another_attempt_is_out_waits_for_it():
    call = hedging(retry=STATUSES).begin()
    first, second = call.pick, call.hedge()
    call.answered(503, pick=first)
    assert (call.step, counts(first)) == (None, (0, 1, 0, 0))
    assert call.answered(503, pick=second) == 0.025


def test_attempts_after_a_hedge_avoid_all_instances_that_were_asked():
    call = hedging("abc").begin()
    first, second = call.pick, call.hedge()
    call.failed("no_response", first)
    call.failed("no_response", second)
    assert {first.instance.id, second.instance.id, call.pick.instance.id} == {"a", "b", "c"}


def test_a_retry_may_be_hedged_as_the_first_attempt_was():
    world = hedging("abc")
    call = world.begin()
    call.failed("refused")
    retried = call.pick
    assert call.request.wake_at == world.now + 0.1
    assert call.hedge() is not retried


def test_a_hedge_that_finds_the_service_closed_is_not_sent():
    world = hedging("abc")
    call = world.begin()
    first = call.pick
    world.calls.close()
    assert call.hedge() is None
    call.answered(200, pick=first)
    assert call.step is ANSWER


def test_a_hedge_that_finds_nothing_to_pick_leaves_the_first_attempt_alone():
    world = hedging("ab")
    call = world.begin()
    first = call.pick
    world.pool.has_room_beside = lambda _exclude: True  # as if the list changed in between
    for broken in (NoEligibleInstanceError("orders"), SaturatedError("full", service="orders")):
        world.pool.pick = _raising(broken)
        call.request.wake_at = world.now
        assert call.resume() is None
    call.answered(200, pick=first)
    assert call.step is ANSWER


def _raising(error):
    def fail(*_args, **_named):
        raise error

    return fail


def test_delays_follow_the_quantile_of_first_attempts():
    world = hedging(hedge=HedgePolicy(quantile=0.5, min_samples=3, after_s=0.0))
    for took_s in (0.1, 0.2, 0.3):
        call = world.begin()
        first, second = call.pick, call.hedge()
        world.now = first.started_at + took_s
        call.completed(200, pick=second if took_s == 0.2 else first)
    assert 0.2 <= world.calls.hedge_delay_s() <= 0.21


@pytest.mark.parametrize("how", ["answered", "completed", "lost"])
def test_answers_and_lost_first_attempts_are_latencies(how):
    world = hedging(hedge=HedgePolicy(quantile=0.5, min_samples=1, after_s=0.1))
    call = world.begin()
    first = call.pick
    second = call.hedge()
    world.now = first.started_at + 0.2
    if how == "lost":
        call.completed(200, pick=second)
    else:
        getattr(call, how)(200, pick=first)
    assert 0.2 <= world.calls.hedge_delay_s() <= 0.21


def test_failures_are_no_latencies():
    world = hedging(hedge=HedgePolicy(quantile=0.5, min_samples=1))
    world.begin().failed("no_response")
    again = world.begin(deadline_s=1.0)
    again.request.deadline_passed(world.now)
    assert world.calls.hedge_delay_s() is None
    world.calls.took(0.1, world.now)
    assert world.calls.hedge_delay_s() is not None
    fixed = hedging(hedge=HedgePolicy(quantile=None, after_s=0.3))
    fixed.calls.took(0.1, fixed.now)
    assert fixed.calls.hedge_delay_s() == 0.3


# -- hedges where instances are full -------------------------------------------------------------


def full_hedging(ids="abc", *, max_in_flight, **policies):
    limits = ConcurrencyLimits(max_in_flight=max_in_flight, max_pending=9)
    return hedging(ids, concurrency=limits, **policies)


def due(call):
    """Make a hedge due now, and return what comes of it."""
    call.request.wake_at = call.world.now
    return call.request.resumed(call.world.now)


def test_no_hedge_goes_where_the_first_attempt_is():
    world = full_hedging("ab", max_in_flight=2)
    call = world.begin()
    first = call.pick
    others = [world.begin() for _ in range(3)]
    elsewhere = [each for each in others if each.pick.instance.id != first.instance.id]
    beside = [each for each in others if each not in elsewhere]
    beside[0].completed(200)
    # There is room, but only where the first attempt is.
    assert due(call) is None
    elsewhere[0].completed(200)
    assert due(call).instance.id != first.instance.id


def test_a_hedge_that_is_not_sent_costs_nothing():
    budget = RetryPolicy(budget_ratio=0.5, budget_min_per_s=0.0)
    world = full_hedging("ab", max_in_flight=1, retry=budget)
    call, other = world.begin(), world.begin()
    assert not any(due(call) for _ in range(9))
    other.completed(200)
    assert due(call) is not None
    assert not world.calls.budget.take(world.now)


def test_a_hedge_does_not_jump_the_queue():
    world = full_hedging("ab", max_in_flight=1)
    call, out, queued = world.begin(), world.begin(), world.begin()
    out.completed(200)
    assert due(call) is None
    queued.request.cancelled(world.now)
    assert due(call) is not None


@pytest.mark.parametrize("max_in_flight", [None, 5])
def test_without_another_instance_there_is_no_hedge(max_in_flight):
    assert full_hedging("a", max_in_flight=max_in_flight).begin().hedge() is None


def test_two_attempts_at_one_instance_are_told_apart():
    """The list may shrink to one instance between the two."""
    world = full_hedging("ab", max_in_flight=5, retry=TIMED_OUT)
    call = world.begin()
    first = call.pick
    world.pool.has_room_beside = lambda _exclude: True
    world.list(first.instance.id)
    second = call.hedge()
    assert first.instance.id == second.instance.id
    assert call.failed("timeout", first) is None
    assert call.step is None  # the second may still answer
    assert call.failed("timeout", second) == 0.0


def test_of_two_attempts_at_one_instance_one_wins():
    world = full_hedging("ab", max_in_flight=5)
    call = world.begin()
    first = call.pick
    world.pool.has_room_beside = lambda _exclude: True
    world.list(first.instance.id)
    call.hedge()
    call.completed(200, pick=first)
    assert counts(first) == (1, 0, 1, 0)


# -- waiting for room ----------------------------------------------------------------------------


def narrow(**limits):
    limits = {"max_in_flight": 1, "max_pending": 9, "max_wait_s": 60.0} | limits
    return World("a", concurrency=ConcurrencyLimits(**limits))


def test_requests_that_wait_get_their_turns_in_order():
    world = narrow()
    out, first, second = (world.begin() for _ in range(3))
    assert (first.step, first.request.state) == (Wait(160.0), "queued")
    out.completed(200)
    assert (first.woken, second.woken) == (1, 0)
    late = world.begin()
    assert late.request.state == "queued"  # it does not overtake, though there is room
    assert isinstance(first.resume(), Pick)
    assert second.woken == 0
    first.completed(200)
    assert second.woken == 1
    second.resume()
    second.completed(200)
    late.resume()
    late.completed(200)
    assert isinstance(world.begin().step, Pick)


def test_several_get_their_turn_while_there_is_room():
    world = narrow(max_in_flight=2)
    out = [world.begin() for _ in range(2)]
    waiting = [world.begin() for _ in range(3)]
    for each in out:
        each.completed(200)
    assert [each.woken for each in waiting] == [1, 1, 0]
    waiting[0].resume()
    assert waiting[2].woken == 1  # it may try; only one has room
    assert isinstance(waiting[1].resume(), Pick)
    assert isinstance(waiting[2].resume(), Wait)


def test_a_request_that_tried_in_vain_stays_first():
    world = narrow()
    out, first, second = (world.begin() for _ in range(3))
    out.completed(200)
    thief = world.pool.pick(world.now)  # between its turn and its try
    assert first.resume() == Wait(160.0)
    thief.done(world.now, "success")
    world.calls.call_idle()
    assert (first.woken, second.woken) == (2, 0)
    assert isinstance(first.resume(), Pick)


def test_the_queue_is_bounded_and_places_come_free():
    world = narrow(max_pending=1)
    world.begin()
    first, second = world.begin(), world.begin()
    assert isinstance(second.step.error, SaturatedError)
    assert "1 requests wait for room" in str(second.step.error)
    first.request.cancelled(world.now)
    assert world.begin().request.state == "queued"


def test_without_a_queue_the_error_is_that_all_are_full():
    world = narrow(max_pending=0)
    world.begin()
    error = world.begin().step.error
    assert isinstance(error, SaturatedError)
    assert "as many requests in flight as they may" in str(error)


def test_a_turn_that_is_given_up_passes_to_the_next():
    world = narrow()
    out, first, second, third = (world.begin() for _ in range(4))
    second.request.cancelled(world.now)
    out.completed(200)
    first.request.cancelled(world.now)
    assert [each.woken for each in (first, second, third)] == [1, 0, 1]
    assert isinstance(third.resume(), Pick)


def test_a_place_that_is_given_up_before_its_turn_passes_nothing_on():
    world = narrow()
    _, first, second = (world.begin() for _ in range(3))
    first.request.cancelled(world.now)
    assert second.woken == 0


def test_a_turn_that_is_given_up_while_all_is_full_passes_nothing_on():
    world = narrow(max_in_flight=2)
    out = [world.begin() for _ in range(2)]
    waiting = [world.begin() for _ in range(4)]
    for each in out:
        each.completed(200)
    waiting[0].resume()
    waiting[1].resume()
    assert [each.woken for each in waiting] == [1, 1, 1, 0]
    waiting[2].request.cancelled(world.now)
    assert waiting[3].woken == 0


def test_room_that_never_comes_is_an_error():
    world = narrow(max_wait_s=3.0)
    world.begin()
    call = world.begin()
    world.advance(2.9)
    assert call.resume() == Wait(103.0)
    world.advance(0.1)
    error = call.resume().error
    assert isinstance(error, SaturatedError)
    assert "no room on any instance within 3 s" in str(error)
    assert world.calls.queue.count == 0


def test_room_that_comes_with_the_last_moment_is_used():
    world = narrow(max_wait_s=3.0)
    out, call = world.begin(), world.begin()
    world.advance(3.0)
    out.completed(200)
    assert isinstance(call.resume(), Pick)


def test_room_that_comes_by_time_alone_is_found_before_a_request_is_refused():
    """An ejection ends while nothing else happens that could wake those who wait."""
    outliers = EnvoyOutliers(
        consecutive_failures=1, max_ejected_ratio=1.0, base_ejection_s=1.0, interval_s=1.0
    )
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=60.0)
    health = HealthSettings(outliers=outliers, panic_ratio=0.0)
    world = World("ab", concurrency=limits, health=health, retry=RetryPolicy(max_attempts=1))
    world.begin().failed("no_response")
    world.begin()
    call = world.begin()
    assert call.request.state == "queued"
    world.advance(60.0)
    assert isinstance(call.resume(), Pick)


def test_a_turn_in_vain_at_the_last_moment_is_the_end():
    world = narrow(max_wait_s=3.0)
    out, call = world.begin(), world.begin()
    world.advance(3.0)
    out.completed(200)
    world.pool.pick(world.now)
    assert isinstance(call.resume().error, SaturatedError)
    assert world.calls.queue.count == 0


def test_a_turn_that_finds_no_instance_is_an_error_and_passes_on():
    world = narrow()
    out, first, second = (world.begin() for _ in range(3))
    out.completed(200)
    world.list()
    assert isinstance(first.resume().error, NoInstancesError)
    assert world.calls.queue.count == 1
    world.list("b")
    assert second.woken == 1


def test_a_retry_queues_like_any_request():
    world = narrow()
    call = world.begin()
    call.failed("no_response")
    other = world.begin()
    assert isinstance(other.step, Pick)
    world.advance(1.0)
    assert call.resume() == Wait(world.now + 60.0)
    assert call.request.state == "queued"
    other.completed(200)
    assert isinstance(call.resume(), Pick)


# -- room that comes without a request's end -----------------------------------------------------
# With nothing in flight, no end would call those who wait, and later ones queue behind them.


def full(**policies):
    """Make a world whose one instance is full, and two requests that wait."""
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9)
    world = World("a", concurrency=limits, **policies)
    return world, *(world.begin() for _ in range(3))


def test_a_list_with_a_newcomer_calls_the_first():
    world, out, first, second = full()
    world.list("a")
    assert first.woken == 0
    world.list("a", "b")
    world.list("a", "b", "c")
    # One at a time: the one that goes calls the next if there is still room.
    assert world.begin().request.state == "queued"
    assert (first.woken, second.woken) == (1, 0)
    assert first.resume().instance.id in "bc"
    assert second.woken == 1
    assert not out.pick.is_done


def test_a_list_without_the_full_one_calls_the_first():
    world, out, first, _ = full()
    world.list("b")
    assert first.woken == 1
    assert first.resume().instance.id == "b"
    # What was in flight on the old one makes no room on the new one.
    out.failed("caller")
    assert world.begin().request.state == "queued"


def test_an_empty_list_calls_nobody():
    world, _, first, _ = full()
    world.list()
    assert first.woken == 0


def test_the_end_of_an_ejection_calls_the_first_once_another_comes():
    outliers = EnvoyOutliers(consecutive_failures=1, max_ejected_ratio=1.0, interval_s=10.0)
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9)
    health = HealthSettings(outliers=outliers, panic_ratio=0.0)
    world = World("ab", concurrency=limits, health=health, retry=RetryPolicy(max_attempts=1))
    world.begin().failed("no_response")
    world.begin()
    first, second = world.begin(), world.begin()
    world.begin()
    assert first.woken == 0
    world.advance(41.0)
    world.begin()
    world.begin()
    assert (first.woken, second.woken) == (1, 0)
    assert isinstance(first.resume(), Pick)


# -- costs ---------------------------------------------------------------------------------------


def in_flight(world):
    return {id_: each.in_flight for id_, each in world.figures().members.items()}


def test_each_attempt_counts_the_cost_of_its_request():
    world = World("ab")
    call = world.begin(cost=12)
    first = call.pick
    assert in_flight(world) == {"a": 0, "b": 0, first.instance.id: 12}
    call.failed("refused", words="no")
    assert in_flight(world) == {"a": 0, "b": 0, call.pick.instance.id: 12}
    assert call.pick.instance.id != first.instance.id
    call.completed(200)
    assert in_flight(world) == {"a": 0, "b": 0}


def test_a_hedge_counts_the_cost_of_its_request():
    world = World("ab", hedge=HedgePolicy(quantile=None, after_s=0.1))
    call = world.begin(cost=12)
    assert call.hedge() is not None
    assert in_flight(world) == {"a": 12, "b": 12}
    assert world.figures().requests_in_flight == 2
    call.completed(200)
    assert in_flight(world) == {"a": 0, "b": 0}


def test_a_request_that_waits_for_much_room_is_not_overtaken():
    world = World("a", concurrency=ConcurrencyLimits(max_in_flight=10, max_pending=3))
    running = [world.begin(cost=5), world.begin(cost=5)]
    dear, cheap = world.begin(cost=8), world.begin()
    assert isinstance(dear.step, Wait)
    running[0].completed(200)
    for call in (dear, cheap):
        call.resume()
        assert isinstance(call.step, Wait), "the dear one has no room yet, and is the first"
    running[1].completed(200)
    dear.resume()
    cheap.resume()
    assert in_flight(world) == {"a": 9}
