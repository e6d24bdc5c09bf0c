"""Hedges where instances are full: none is sent for nothing, and none is taken for another."""

import pytest

from service_kit import service_of
from trimtab import ConcurrencyLimits, HedgePolicy, RetryPolicy
from trimtab.discovery import Call

TIMED_OUT = RetryPolicy(failures={"timeout"}, backoff_first_s=0.0)


def hedging(ids="abc", *, max_in_flight, **policies):
    limits = ConcurrencyLimits(max_in_flight=max_in_flight, max_pending=9)
    return service_of(ids, hedge=HedgePolicy(after_s=0.1), concurrency=limits, **policies)


def test_no_hedge_goes_where_the_first_attempt_is():
    service = hedging("ab", max_in_flight=2)
    call = Call(service)
    first = call.pick()
    others = [Call(service).pick() for _ in range(3)]
    elsewhere = [pick for pick in others if pick.instance.id != first.instance.id]
    beside = [pick for pick in others if pick not in elsewhere]
    service.done(beside[0], "success")
    # There is room, but only where the first attempt is.
    assert not call.may_hedge()
    service.done(elsewhere[0], "success")
    assert call.may_hedge()
    assert call.pick().instance.id != first.instance.id


def test_a_hedge_that_is_not_sent_costs_nothing():
    budget = RetryPolicy(budget_ratio=1.0, budget_min_per_s=0.0)
    service = hedging("ab", max_in_flight=1, retry=budget)
    call, other = Call(service), Call(service)
    call.pick()
    out = other.pick()
    assert not any(call.may_hedge() for _ in range(9))
    service.done(out, "success")
    assert [call.may_hedge() for _ in range(3)] == [True, True, False]


def test_a_hedge_does_not_jump_the_queue():
    service = hedging("ab", max_in_flight=1)
    call = Call(service)
    call.pick()
    out = service.pick()
    turn = service.join(lambda: None)
    service.done(out, "success")
    assert not call.may_hedge()
    service.leave(turn)
    assert call.may_hedge()


@pytest.mark.parametrize("max_in_flight", [None, 5])
def test_without_another_instance_there_is_no_hedge(max_in_flight):
    service = hedging("a", max_in_flight=max_in_flight)
    call = Call(service)
    call.pick()
    assert not call.may_hedge()


def test_two_attempts_at_one_instance_are_told_apart():
    service = hedging("a", max_in_flight=5, retry=TIMED_OUT)
    call = Call(service)
    first, second = call.pick(), call.pick()
    assert first.instance is second.instance
    # The second may still answer.
    assert call.failed(first, "timeout") is None
    assert call.is_under_way
    assert call.failed(second, "timeout") == 0.0
    assert not call.is_under_way


def test_of_two_attempts_at_one_instance_one_wins():
    service = hedging("a", max_in_flight=5)
    call = Call(service)
    first, second = call.pick(), call.pick()
    call.completed(first, 200)
    call.lost(second)
    member = first.member
    assert (member.in_flight, member.successes, member.cancelled) == (0, 1, 1)
