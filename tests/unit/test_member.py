"""Golden figures of one member's statistics, on a clock moved by hand."""

from math import exp
from random import Random

import pytest

from trimtab import Instance
from trimtab.member import (
    DECAY_S,
    FAILURE_DECAY_S,
    FAILURE_LOAD,
    MAX_FAILURE_LOAD,
    UNANSWERED_S,
    UNMEASURED_S,
    UNTRIED_DECAY_S,
    FleetFailures,
    Member,
)
from trimtab.pool import Pick


@pytest.fixture
def member():
    return Member(Instance(host="10.0.0.7", port=80, weight=2.0), now=100.0)


def call(member, start, rtt_s, *, ok=True):
    pick = Pick(member, start)
    member.answer(pick, start + rtt_s, ok=ok)
    member.in_flight -= 1


def test_a_new_member(member):
    assert (member.id, member.weight, member.since) == ("10.0.0.7:80", 2.0, 100.0)
    assert (member.in_flight, member.picks, member.is_removed) == (0, 0, False)
    assert member.latency_s(100.0) is None
    assert member.failure_load(100.0) == 0.0
    assert repr(member) == "<Member 10.0.0.7:80 in_flight=0>"


def test_unmeasured_counts_as_30_ms_which_fade_until_it_is_tried(member):
    assert member.cost(100.0) == UNMEASURED_S == 0.030
    assert member.cost(102.0) == pytest.approx(0.030 * exp(-2.0 / UNTRIED_DECAY_S))


def test_unmeasured_with_requests_waiting_counts_as_a_second(member):
    Pick(member, 100.0)
    assert member.cost(100.1) == pytest.approx(UNANSWERED_S * 2)
    Pick(member, 100.1)
    assert member.cost(100.1) == pytest.approx(UNANSWERED_S * 3)


def test_a_cancelled_first_request_leaves_30_ms_that_fade_as_any(member):
    r1 = Pick(member, 100.0)
    member.abandon(r1, 100.01, failed=False)
    member.in_flight -= 1
    before = member.cost(100.01)
    assert before == pytest.approx(0.030, rel=1e-2)
    assert member.cost(110.01) == pytest.approx(before * exp(-10.0 / DECAY_S))


def test_the_first_sample_sets_the_latency(member):
    call(member, 100.0, 0.005)
    assert member.latency_s(100.005) == pytest.approx(0.005)
    assert member.cost(100.005) == pytest.approx(0.005)


def test_a_peak_is_believed_at_once(member):
    call(member, 100.0, 0.1)
    call(member, 101.0, 0.5)
    assert member.latency_s(101.5) == pytest.approx(0.5)


def test_a_faster_answer_is_believed_gradually(member):
    call(member, 100.0, 1.0)  # v = 1.0 at 101.0
    call(member, 105.8, 0.2)  # answered at 106.0, 5 s later
    w = exp(-5.0 / 10.0)
    assert member.latency_s(106.0) == pytest.approx(0.2 * (1 - w) + 1.0 * w)


def test_the_formula_holds_however_often_the_cost_is_asked_meanwhile(member):
    call(member, 100.0, 1.0)
    for step in range(1, 50):
        member.cost(101.0 + step * 0.1)
    # Fading in steps is fading at once; only the share of the new sample counts from the last.
    assert member.latency_s(106.0) == pytest.approx(exp(-0.5))


def test_without_answers_the_latency_fades(member):
    call(member, 100.0, 1.0)
    assert member.latency_s(111.0) == pytest.approx(exp(-1.0))
    assert member.cost(121.0) == pytest.approx(exp(-2.0))


def test_the_cost_grows_with_the_queue(member):
    call(member, 100.0, 0.2)
    assert member.cost(100.2) == pytest.approx(0.2)
    Pick(member, 100.2)
    Pick(member, 100.2)
    assert member.cost(100.2) == pytest.approx(0.2 * 3)


def test_the_oldest_unanswered_request_is_evidence(member):
    call(member, 100.0, 0.2)
    old = Pick(member, 100.2)
    Pick(member, 103.0)
    assert member.cost(104.2) == pytest.approx(4.0 * 3)
    member.answer(old, 104.2, ok=True)  # the next oldest counts from here on
    member.in_flight -= 1
    assert member.latency_s(104.2) == pytest.approx(4.0)
    assert member.cost(113.0) == pytest.approx(10.0 * 2)


def test_a_long_wait_that_the_caller_gave_up_is_remembered(member):
    call(member, 100.0, 0.2)
    r1 = Pick(member, 101.0)
    member.abandon(r1, 109.0, failed=False)
    assert member.latency_s(109.0) == pytest.approx(8.0)


def test_a_short_wait_that_the_caller_gave_up_is_not(member):
    call(member, 100.0, 0.2)
    r1 = Pick(member, 100.2)
    member.abandon(r1, 100.2, failed=False)
    assert member.latency_s(100.2) == pytest.approx(0.2)


def test_a_failure_weighs_like_requests_in_flight(member):
    call(member, 100.0, 0.2)
    call(member, 100.2, 0.0, ok=False)
    assert member.failure_load(100.2) == FAILURE_LOAD
    assert member.latency_s(100.2) == pytest.approx(0.2)  # its own speed is no latency
    assert member.cost(100.2) == pytest.approx(0.2 * (1 + FAILURE_LOAD))
    assert member.failure_load(100.2 + FAILURE_DECAY_S) == pytest.approx(FAILURE_LOAD * exp(-1.0))


def test_failures_add_up_to_a_limit(member):
    loads = []
    for _ in range(4):
        call(member, 100.0, 0.0, ok=False)
        loads.append(member.failure_load(100.0))
    assert loads == [FAILURE_LOAD, MAX_FAILURE_LOAD, MAX_FAILURE_LOAD, MAX_FAILURE_LOAD]
    call(member, 100.0, 0.1)  # a success takes nothing back: a gray failure is one of both
    assert member.failure_load(100.1) == pytest.approx(
        MAX_FAILURE_LOAD * exp(-0.1 / FAILURE_DECAY_S)
    )


def test_a_failure_takes_back_the_fading_since_the_last_good_answer(member):
    call(member, 100.0, 0.2)
    assert member.latency_s(130.2) == pytest.approx(0.2 * exp(-3.0))
    call(member, 130.2, 0.0, ok=False)
    assert member.latency_s(130.2) == pytest.approx(0.2)


def test_a_newcomer_that_fails_at_once_costs_as_one_of_30_ms(member):
    call(member, 160.0, 0.0, ok=False)
    assert member.cost(160.0) == pytest.approx(UNMEASURED_S * (1 + FAILURE_LOAD))


def fleet_of(count):
    fleet = FleetFailures()
    return [Member(Instance(host="10.0.0.7", port=1 + n), 0.0, fleet) for n in range(count)]


def weight(member, now):
    """What failures weigh in the cost, in requests in flight."""
    return member.cost(now) / member.latency_s(now) - 1


def fail(members, now):
    for one in members:
        call(one, now, 0.2)
        call(one, now + 0.2, 0.0, ok=False)


def test_the_only_one_that_fails_is_shunned_for_all_of_it():
    members = fleet_of(3)
    fail(members[:1], 100.0)
    assert weight(members[0], 100.2) == FAILURE_LOAD


def test_of_two_that_fail_each_excuses_the_other():
    members = fleet_of(4)
    fail(members[:2], 100.0)
    left = FAILURE_LOAD * (1 - 1 / 3)
    assert [weight(one, 100.2) for one in members[:2]] == pytest.approx([left, left])
    left *= exp(-30 / FAILURE_DECAY_S)  # all fade alike
    assert [weight(one, 130.2) for one in members[:2]] == pytest.approx([left, left])


def test_when_all_fail_none_is_shunned():
    members = fleet_of(5)
    fail(members, 100.0)
    assert [weight(one, 100.2) for one in members] == pytest.approx([0.0] * 5, abs=1e-12)
    call(members[0], 100.2, 0.0, ok=False)
    assert weight(members[0], 100.2) == pytest.approx(MAX_FAILURE_LOAD - FAILURE_LOAD)
    # Less than the mean of the others is no merit.
    assert weight(members[1], 100.2) == 0.0


def test_who_leaves_excuses_nobody_any_more():
    members = fleet_of(3)
    fail(members, 100.0)
    for gone in members[1:]:
        gone.leave(110.0)
        assert gone.is_removed
        # What was in flight there may still fail.
        fail([gone], 111.0)
        assert gone.failure_load(111.2) > FAILURE_LOAD
    assert weight(members[0], 112.0) == members[0].failure_load(112.0) > 0


def test_a_load_that_has_faded_away_weighs_nothing():
    members = fleet_of(2)
    fail(members[:1], 100.0)
    assert weight(members[0], 265.8) > 0
    assert weight(members[0], 266.2) == 0  # 40 * exp(-165.9 / 20) is a hundredth
    assert members[0].failure_load(266.2) == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_the_failures_of_a_fleet_are_those_of_its_members(seed):
    chance, fleet, now = Random(seed), FleetFailures(), 0.0
    members = [Member(Instance(host="h", port=1), now, fleet)]
    for port in range(2, 200):
        now += chance.expovariate(1.0)
        turn = chance.random()
        if turn < 0.2:
            members.append(Member(Instance(host="h", port=port), now, fleet))
        elif turn < 0.3 and len(members) > 1:
            members.pop(chance.randrange(len(members))).leave(now)
        else:
            call(chance.choice(members), now, 0.0, ok=False)
        loads = [one.failure_load(now) for one in members]
        for load in loads:
            others = (sum(loads) - load) / max(1, len(loads) - 1)
            assert fleet.excess(load, now) == pytest.approx(max(load - others, 0.0), abs=1e-9)


def test_a_body_that_breaks_off_is_a_failure_and_its_head_a_latency(member):
    call(member, 100.0, 0.2)
    member.break_off(105.0)
    assert member.failure_load(105.0) == FAILURE_LOAD
    assert member.latency_s(105.0) == pytest.approx(0.2)


def test_a_clock_that_steps_back_harms_nothing(member):
    call(member, 100.0, 0.2)
    before = member.cost(101.0)
    assert member.cost(99.0) == before
    r1 = Pick(member, 101.0)
    member.answer(r1, 100.5, ok=True)
    assert 0.0 <= member.latency_s(101.0) <= 0.2


def test_replacing_the_instance_keeps_the_statistics(member):
    call(member, 100.0, 0.2)
    member.replace(member.instance.with_(weight=5.0))
    assert (member.weight, member.instance.weight, member.picks) == (5.0, 5.0, 1)
    assert member.latency_s(100.2) == pytest.approx(0.2)
