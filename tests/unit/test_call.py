"""One request's course over its attempts, without any I/O."""

import asyncio
from math import inf
from random import Random

import pytest

from service_kit import instance, service_of
from trimtab import (
    ConcurrencyLimits,
    DiscoverySettings,
    HealthSettings,
    HedgePolicy,
    Instance,
    NoEligibleInstanceError,
    NoInstancesError,
    RetryPolicy,
    SaturatedError,
)
from trimtab.discovery import Balancer, Call, Home, Policies
from trimtab.testing import FakeRegistry
from trimtab_sim.loop import run

THREE = [Instance(host="10.0.0.1", port=port) for port in (1, 2, 3)]


def with_service(test):
    """Run `test(service)` in virtual time, with a service of three instances."""

    async def main():
        registry = FakeRegistry()
        registry.set("orders", THREE)
        balancer = Balancer(
            Home.for_async(),
            registry,
            policies=Policies(strategy="round_robin"),
            settings=DiscoverySettings(),
            rng=Random(1),
            on_removed=lambda members: None,
        )
        await test(await balancer.open("orders"))
        await balancer.aclose()

    run(main())


def test_a_request_that_is_answered_whole():
    async def test(service):
        statuses = {200: "successes", 404: "successes", 499: "successes"}
        statuses |= {429: "failures", 500: "failures", 503: "failures"}
        for status, ended in statuses.items():
            call = Call(service)
            pick = call.pick()
            before = getattr(pick.member, ended)
            call.completed(pick, status)
            assert getattr(pick.member, ended) == before + 1, status
            assert call.tried == {}

    with_service(test)


def test_head_and_body_apart():
    async def test(service):
        call = Call(service, key="customer-7")
        pick = call.pick()
        await asyncio.sleep(0.2)
        call.answered(pick, 503)
        assert pick.member.in_flight == 1
        call.done(pick, "success")
        call.done(pick, "success")  # the end may be noted twice
        assert (pick.member.in_flight, pick.member.failures) == (0, 1)

    with_service(test)


def test_each_attempt_goes_to_another_instance_while_there_is_one():
    async def test(service):
        call = Call(service)
        again = [call.failed(call.pick(), "refused") for _ in range(3)]
        assert again == [0.0, 0.0, None]
        assert sorted(call.tried) == [each.id for each in THREE]
        assert all(why == "refused" for _, why in call.tried.values())
        figures = service.statistics()
        assert figures.in_flight == 0
        assert [each.failures for each in figures.members.values()] == [1, 1, 1]

    with_service(test)


@pytest.mark.parametrize(
    ("failure", "method", "replayable", "again"),
    [
        ("no_response", "GET", True, True),
        ("no_response", "GET", False, False),
        ("no_response", "POST", True, False),
        ("connect_timeout", "POST", False, True),
        ("timeout", "GET", True, False),
    ],
)
def test_whether_there_is_another_attempt(failure, method, replayable, again):
    async def test(service):
        call = Call(service, method=method, replayable=replayable)
        pick = call.pick()
        assert (call.failed(pick, failure) is not None) is again
        assert pick.member.failures == 1

    with_service(test)


def test_a_mistake_of_ours_says_nothing_against_the_instance():
    async def test(service):
        call = Call(service)
        pick = call.pick()
        assert call.failed(pick, "other") is None
        assert (pick.member.cancelled, pick.member.failures, pick.member.in_flight) == (1, 0, 0)

    with_service(test)


def test_first_attempts_of_calls_share_nothing():
    async def test(service):
        one, other = Call(service), Call(service)
        one.failed(one.pick(), "refused")
        assert (len(one.tried), len(other.tried)) == (1, 0)

    with_service(test)


# On a clock moved by hand

STATUSES = RetryPolicy(statuses={429, 502, 503})


def counts(pick):
    member = pick.member
    return member.successes, member.failures, member.cancelled, member.in_flight


def test_an_instance_already_tried_comes_last():
    service = service_of("abc", retry=RetryPolicy(max_refused=9))
    for _ in range(20):
        call = Call(service)
        tried = []
        for _ in range(3):
            pick = call.pick()
            tried.append(pick.instance.id)
            call.failed(pick, "no_response")
        assert sorted(tried) == ["a", "b", "c"]
    one = service_of("a")
    call = Call(one)
    assert call.failed(call.pick(), "no_response") is not None
    assert call.pick().instance.id == "a"


def test_nothing_is_sent_again_to_an_instance_that_refused():
    call = Call(service_of("ab"))
    assert call.failed(call.pick(), "refused") == 0.0
    assert call.failed(call.pick(), "refused") is None


def test_waits_grow_with_full_jitter_and_refusals_wait_for_nothing():
    service = service_of("abcdefgh", retry=RetryPolicy(max_attempts=9))
    call = Call(service)
    causes = ["no_response", "refused", "no_response", "connect_timeout", *["no_response"] * 4]
    waits = [call.failed(call.pick(), cause) for cause in causes]
    assert waits == pytest.approx([0.025, 0, 0.05, 0, 0.1, 0.2, 0.25, 0.25])
    half = Call(service_of("abc", draw=0.5))
    assert half.failed(half.pick(), "no_response") == 0.0125


def test_each_call_has_waits_of_its_own():
    service = service_of("abc")
    for _ in range(3):
        call = Call(service)
        assert call.failed(call.pick(), "no_response") == 0.025


def test_a_policy_of_the_call_stands_above_the_services():
    service = service_of("abc", retry=RetryPolicy(max_attempts=1))
    call = Call(service, retry=RetryPolicy(backoff_first_s=0.5, backoff_max_s=9.0))
    assert call.failed(call.pick(), "no_response") == 0.5
    plain = Call(service)
    assert plain.failed(plain.pick(), "no_response") is None


# Statuses


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
def test_statuses_that_are_tried_again(status, method, replayable, wait_s):
    call = Call(service_of("abc", retry=STATUSES), method=method, replayable=replayable)
    pick = call.pick()
    assert call.rejected(pick, status) == wait_s
    if wait_s is None:  # it is the answer: nothing is noted yet
        assert counts(pick) == (0, 0, 0, 1)
        assert call.tried == {}
    else:
        assert counts(pick) == (0, 1, 0, 0)
        assert call.tried == {pick.instance.id: (pick.instance, status)}


def test_the_last_response_is_the_answer():
    call = Call(service_of("abc", retry=STATUSES))
    waits = [call.rejected(call.pick(), 503) for _ in range(3)]
    assert waits == [0.025, 0.05, None]


@pytest.mark.parametrize(
    ("status", "asks", "pauses"),
    [(429, 7.0, True), (503, 7.0, True), (504, 7.0, True), (429, None, False)],
)
def test_who_has_too_much_to_do_is_left_in_peace(status, asks, pauses):
    service = service_of("abc")
    call = Call(service)
    pick = call.pick()
    call.answered(pick, status, asks)
    call.done(pick, "success")
    assert (pick.instance.id not in service.eligible()) is pauses
    service.clock.advance(6.9)
    assert (pick.instance.id not in service.eligible()) is pauses
    service.clock.advance(0.1)
    assert len(service.eligible()) == 3


def test_others_are_asked_at_once_while_one_rests():
    call = Call(service_of("abc", retry=STATUSES))
    assert call.rejected(call.pick(), 503, retry_after_s=60.0) == 0.025


@pytest.mark.parametrize(("asks", "wait_s"), [(3.0, 3.0), (5.0, 5.0), (5.1, None), (0.0, 0.0)])
def test_alone_the_instances_word_overrides_the_backoff(asks, wait_s):
    call = Call(service_of("a", retry=STATUSES))
    assert call.rejected(call.pick(), 429, retry_after_s=asks) == wait_s


def test_a_retry_after_may_speak_for_the_service():
    policy = RetryPolicy(statuses={503}, retry_after="service", max_retry_after_s=2.0)
    call = Call(service_of("abc", retry=policy))
    assert call.rejected(call.pick(), 503, retry_after_s=1.5) == 1.5
    assert call.rejected(call.pick(), 503, retry_after_s=2.5) is None


# The budget


def test_retries_stop_with_the_budget_and_refusals_are_free():
    policy = RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.2)  # two in ten seconds
    service = service_of("abc", retry=policy)
    waits = [Call(service) for _ in range(4)]
    got = [call.failed(call.pick(), "no_response") for call in waits]
    assert got == [0.025, 0.025, None, None]
    call = Call(service)
    assert call.failed(call.pick(), "refused") == 0.0
    assert call.failed(call.pick(), "connect_timeout") == 0.0
    service.clock.advance(10.0)
    late = Call(service)
    assert late.failed(late.pick(), "no_response") == 0.025


def test_requests_earn_budget_once_each():
    policy = RetryPolicy(budget_ratio=0.5, budget_min_per_s=0.0, max_attempts=9)
    service = service_of("abc", retry=policy)
    calls = [Call(service) for _ in range(4)]
    got = [call.failed(call.pick(), "no_response") is not None for call in calls]
    # Half of 1, 2, 3 and 4 requests: the retries themselves earn nothing.
    assert got == [False, True, False, True]
    for call in calls:
        call.failed(call.pick(), "refused")
    assert calls[0].failed(calls[0].pick(), "no_response") is None


def test_a_retry_in_backoff_counts():
    """It is charged when it is decided on, not when it is sent."""
    policy = RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.1)
    service = service_of("abc", retry=policy)
    first, second = Call(service), Call(service)
    assert first.failed(first.pick(), "no_response") is not None
    assert second.failed(second.pick(), "no_response") is None


def test_a_wait_beyond_the_deadline_costs_no_budget():
    policy = RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.1)
    service = service_of("abc", retry=policy)
    hurried = Call(service, deadline_s=0.0249)
    assert hurried.failed(hurried.pick(), "no_response") is None
    call = Call(service, deadline_s=0.026)
    assert call.failed(call.pick(), "no_response") == 0.025


# The deadline


def test_the_deadline_counts_from_the_calls_beginning():
    service = service_of("abc")
    call = Call(service, deadline_s=2.0)
    assert (call.deadline_at, call.time_left_s(), call.is_out_of_time()) == (102.0, 2.0, False)
    service.clock.advance(1.5)
    assert call.time_left_s() == 0.5
    service.clock.advance(0.5 - 5e-10)  # a wait that ends a rounding error early
    assert call.is_out_of_time()
    service.clock.advance(1.0)
    assert call.is_out_of_time()
    free = Call(service)
    assert (free.deadline_at, free.time_left_s(), free.is_out_of_time()) == (inf, inf, False)


@pytest.mark.parametrize(
    ("had_s", "blamed"), [(1.0, True), (0.5, True), (0.499, False), (0.0, False)]
)
def test_the_deadline_blames_whoever_had_most_of_the_time(had_s, blamed):
    service = service_of("abc")
    call = Call(service, deadline_s=1.0)
    service.clock.advance(1.0 - had_s)
    pick = call.pick()
    service.clock.advance(had_s)
    call.ran_out(pick)
    assert counts(pick) == ((0, 1, 0, 0) if blamed else (0, 0, 1, 0))
    call.ran_out(pick)  # the end may be noted twice
    assert counts(pick)[3] == 0


# Hedging

AT_ONCE = HedgePolicy(after_s=0.1)


def hedged(ids="abc", hedge=AT_ONCE, **policies):
    return service_of(ids, hedge=hedge, **policies)


def test_a_hedge_goes_elsewhere_and_the_loser_is_given_back():
    call = Call(hedged())
    assert call.hedge_delay_s() == 0.1
    first = call.pick()
    assert call.is_under_way
    assert call.may_hedge()
    second = call.pick()
    assert second.instance.id != first.instance.id
    call.lost(first)
    assert counts(first) == (0, 0, 1, 0)
    assert call.is_under_way
    call.completed(second, 200)
    assert counts(second) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("settings", "delay_s"),
    [
        ({}, 0.1),
        ({"method": "POST"}, None),
        ({"replayable": False}, None),
        ({"hedged": False}, None),
        ({"retry": RetryPolicy(max_attempts=1)}, 0.1),
        ({"method": "PUT"}, 0.1),
    ],
)
def test_what_may_be_hedged(settings, delay_s):
    assert Call(hedged(), **settings).hedge_delay_s() == delay_s


def test_hedges_count_as_attempts():
    call = Call(hedged(), retry=RetryPolicy(max_attempts=2))
    call.pick()
    assert call.hedge_delay_s() == 0.1
    assert call.may_hedge()
    call.pick()
    assert call.hedge_delay_s() is None
    assert not call.may_hedge()
    only = Call(hedged(), retry=RetryPolicy(max_attempts=1))
    only.pick()
    assert only.hedge_delay_s() is None
    assert not only.may_hedge()


def test_without_a_policy_there_are_no_hedges():
    service = service_of("abc")
    call = Call(service)
    call.pick()
    assert call.hedge_delay_s() is None
    assert service.hedge_delay_s() is None
    assert not call.is_under_way


def test_hedges_draw_on_the_retry_budget():
    policy = RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.2)
    service = hedged(retry=policy)
    calls = [Call(service) for _ in range(4)]
    for call in calls:
        call.pick()
    assert [call.may_hedge() for call in calls] == [True, True, False, False]
    assert calls[0].failed(calls[0].pick(), "no_response") is None


def test_a_hedge_needs_another_instance_with_room():
    alone = Call(hedged("a"))
    alone.pick()
    assert not alone.may_hedge()
    full = Call(hedged("ab", concurrency=ConcurrencyLimits(max_in_flight=1)))
    Call(full.service).pick()
    full.pick()
    assert not full.may_hedge()
    tried = Call(hedged("ab"))
    tried.failed(tried.pick(), "no_response")
    tried.pick()
    assert not tried.may_hedge()


def test_with_another_attempt_out_a_failure_decides_nothing():
    call = Call(hedged(retry=STATUSES))
    first = call.pick()
    second = call.pick()
    assert call.failed(first, "no_response") is None
    assert call.is_under_way
    assert first.instance.id in call.tried
    assert call.failed(second, "no_response") == 0.025
    assert not call.is_under_way


def test_with_another_attempt_out_a_bad_status_waits_for_it():
    call = Call(hedged(retry=STATUSES))
    first, second = call.pick(), call.pick()
    assert call.rejected(first, 503) == 0.0
    assert counts(first) == (0, 1, 0, 0)
    assert call.is_under_way
    assert call.rejected(second, 503) == 0.025
    assert not call.is_under_way


def test_attempts_after_hedges_avoid_all_that_were_asked():
    call = Call(hedged("abc"))
    first, second = call.pick(), call.pick()
    call.failed(first, "no_response")
    assert {first.instance.id, second.instance.id, call.pick().instance.id} == {"a", "b", "c"}


def test_unhedged_calls_keep_no_list_of_those_out():
    call = Call(hedged(), hedged=False)
    call.pick()
    assert not call.is_under_way


def test_delays_follow_the_quantile_of_first_attempts():
    service = hedged(hedge=HedgePolicy(quantile=0.5, min_samples=3))
    assert service.hedge_delay_s() is None
    for took_s in (0.1, 0.2, 0.3):
        call = Call(service)
        pick = call.pick()
        other = call.pick()  # a hedge, which counts for nothing
        service.clock.advance(took_s)
        call.completed(pick, 200)
        service.clock.advance(9.0)
        call.completed(other, 200)
    assert 0.2 <= service.hedge_delay_s() <= 0.21


@pytest.mark.parametrize("how", ["answered", "completed", "lost"])
def test_answers_and_lost_first_attempts_are_latencies(how):
    service = hedged(hedge=HedgePolicy(quantile=0.5, min_samples=1))
    call = Call(service)
    pick = call.pick()
    service.clock.advance(0.2)
    {
        "answered": lambda: call.answered(pick, 200),
        "completed": lambda: call.completed(pick, 200),
        "lost": lambda: call.lost(pick),
    }[how]()
    assert 0.2 <= service.hedge_delay_s() <= 0.21


def test_failures_are_no_latencies():
    service = hedged(hedge=HedgePolicy(quantile=0.5, min_samples=1))
    call = Call(service)
    call.failed(call.pick(), "no_response")
    again = Call(service, deadline_s=1.0)
    again.ran_out(again.pick())
    assert service.hedge_delay_s() is None
    service.took(0.1)
    assert service.hedge_delay_s() is not None
    fixed = hedged(hedge=HedgePolicy(quantile=None, after_s=0.3))
    fixed.took(0.1)
    assert fixed.hedge_delay_s() == 0.3


# Waiting for room


def waiting_service(**limits):
    limits = {"max_in_flight": 1, "max_pending": 9} | limits
    return service_of("a", concurrency=ConcurrencyLimits(**limits))


def joined(service, called, *names):
    return [service.join(lambda name=name: called.append(name)) for name in names]


def test_whoever_waits_is_called_in_turn():
    service, called = waiting_service(), []
    out = service.pick()
    with pytest.raises(SaturatedError, match="as many requests in flight as they may"):
        service.pick()
    first, second = joined(service, called, "first", "second")
    assert (first.joined_at, called) == (100.0, [])
    service.done(out, "success")
    assert called == ["first"]
    # Nobody jumps the queue, though there is room.
    with pytest.raises(
        SaturatedError, match=r"'orders': 2 requests wait for room .* ConcurrencyLimits"
    ):
        service.pick()
    pick = service.pick(turn=first)
    assert called == ["first"]
    service.done(pick, "success")
    assert called == ["first", "second"]
    service.done(service.pick(turn=second), "success")
    service.done(service.pick(), "success")


def test_several_are_called_while_there_is_room():
    service, called = waiting_service(max_in_flight=2), []
    picks = [service.pick(), service.pick()]
    turns = joined(service, called, 1, 2, 3)
    for pick in picks:
        service.done(pick, "success")
    assert called == [1, 2]
    service.pick(turn=turns[0])
    assert called == [1, 2, 3]  # it may try; only one has room
    service.pick(turn=turns[1])
    with pytest.raises(SaturatedError, match="in flight"):
        service.pick(turn=turns[2])


def test_who_tried_in_vain_stays_first():
    service, called = waiting_service(), []
    out = service.pick()
    first, second = joined(service, called, "first", "second")
    with pytest.raises(SaturatedError):
        service.pick(turn=first)
    service.done(out, "success")
    assert called == ["first"]
    assert service.pick(turn=first) is not None
    assert second is not None


def test_the_queue_is_bounded_and_a_place_comes_free():
    service, called = waiting_service(max_pending=1), []
    service.pick()
    first, second = joined(service, called, 1, 2)
    assert second is None
    service.leave(first)
    assert joined(service, called, 3)[0] is not None


def test_who_is_called_and_gives_up_passes_the_turn_on():
    service, called = waiting_service(), []
    out = service.pick()
    first, second, third = joined(service, called, 1, 2, 3)
    service.leave(second)
    service.done(out, "success")
    service.leave(first)
    assert called == [1, 3]
    service.leave(third)
    service.done(service.pick(), "success")


def test_who_gives_up_uncalled_passes_nothing_on():
    service, called = waiting_service(), []
    service.pick()
    first, _ = joined(service, called, 1, 2)
    service.leave(first)
    assert called == []


def test_who_gives_up_while_all_is_full_passes_nothing_on():
    service, called = waiting_service(max_in_flight=2), []
    one, two = service.pick(), service.pick()
    turns = joined(service, called, 1, 2, 3)
    service.done(one, "success")
    service.done(two, "success")
    for turn in turns[:2]:
        service.pick(turn=turn)
    assert called == [1, 2, 3]
    service.leave(turns[2])
    assert called == [1, 2, 3]


def test_a_call_that_waited_earns_no_budget_twice():
    policy = RetryPolicy(budget_ratio=0.5, budget_min_per_s=0.0)
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=1)
    service = service_of("a", retry=policy, concurrency=limits)
    out = service.pick()
    call = Call(service)
    with pytest.raises(SaturatedError):
        call.pick()
    turn = service.join(lambda: None)
    service.done(out, "success")
    pick = call.pick(turn)
    # Two requests, two halves: one retry, and no other.
    assert call.failed(pick, "no_response") is not None
    assert call.failed(call.pick(), "no_response") is None


# What a service tells


def test_errors_say_how_old_the_list_is():
    with pytest.raises(NoInstancesError, match=r"is registered; the list from static:// is 0.0 s"):
        service_of(None).pick()
    service = service_of("")
    with pytest.raises(NoInstancesError, match=r"2.0 s old; check that instances are registered"):
        service.pick()
    service.lease.last_error = "refused"
    with pytest.raises(NoInstancesError, match=r"2.0 s old, and it does not answer now: refused"):
        service.pick()
    service.lease.set(instance("a", status="critical"))
    with pytest.raises(NoEligibleInstanceError, match=r"\(1 critical\); the list from") as caught:
        service.pick()
    assert caught.value.reasons == {"critical": 1}


def test_dropped_picks_are_given_back_with_the_next():
    service = service_of("a", concurrency=ConcurrencyLimits(max_in_flight=1))
    service.drop(service.pick())
    assert service.statistics().in_flight == 0
    pick = service.pick()
    service.drop(pick)
    assert service.pick() is not pick
    assert counts(pick)[2:] == (2, 1)
    service.done(pick, "success")
    assert counts(pick)[2:] == (2, 1)


def test_ejection_pauses_and_probes_show():
    events = []
    service = service_of("abc", health=HealthSettings(outliers="envoy"), listener=events.append)
    events.clear()
    assert service.is_ready
    assert not service_of(None).is_ready
    assert service_of(None).instances() == ()
    service.probed("a", is_well=False, why="refused")
    assert service.eligible() == ["b", "c"]
    assert [each.id for each in service.suspects()] == ["a"]
    assert [each.kind for each in events] == ["probe_failed"]
    service.probed("a", is_well=True)
    assert [each.kind for each in events] == ["probe_failed", "probe_passed"]
    service.empty()
    assert [member.id for member in service.removed] == ["a", "b", "c"]
    assert [each.id for each in service.instances()] == ["a", "b", "c"]
    assert service.state().age_s == 2.0


def test_a_listener_that_fails_is_logged_and_disturbs_nobody(caplog):
    def fail(event):
        raise ValueError(event.kind)

    service = service_of("abc", listener=fail)
    caplog.clear()
    service.probed("a", is_well=False)
    service.probed("b", is_well=False)
    assert [record.message for record in caplog.records] == [
        "service 'orders': a listener to events failed"
    ] * 3  # two probes, and panic
    assert service.pick() is not None
