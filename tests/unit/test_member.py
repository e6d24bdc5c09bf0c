"""What one member learns, and when it is tried again, on a clock moved by hand."""

from math import inf
from random import Random

import pytest

from trimtab import Instance
from trimtab.member import (
    FIRST_TRIAL_PICKS,
    FIRST_TRIAL_S,
    LEAST_SLOW_PICKS,
    PICKS_PER_MEMBER,
    SLOW_PICKS,
    SMALL_S,
    TRIAL_GROWTH_PICKS,
    TRIAL_GROWTH_S,
    TRIAL_PICKS,
    TRIAL_S,
    UNANSWERED_S,
    Fleet,
    Member,
)
from trimtab.pool import Pick


@pytest.fixture
def member():
    return Member(Instance(host="10.0.0.7", port=80, weight=2.0), now=100.0)


def call(member, start, rtt_s, *, ok=True):
    pick = Pick(member, start)
    pick.answered(start + rtt_s, ok=ok)
    pick.done(start + rtt_s, "success")


def others(member, count):
    """Requests to the other members of its pool."""
    member.fleet.picks += count


def test_a_new_member(member):
    assert (member.id, member.weight, member.since) == ("10.0.0.7:80", 2.0, 100.0)
    assert (member.in_flight, member.picks, member.is_removed) == (0, 0, False)
    assert (member.latency.count, member.failed_in_row, member.picked_at) == (0, 0, 0)
    assert not member.is_avoided(100.0)
    assert repr(member) == "<Member 10.0.0.7:80 in_flight=0>"


# What is expected


def test_unknown_with_requests_waiting_it_is_a_second_or_their_age(member):
    assert member.expected_s(100.0) == 0.0
    Pick(member, 100.0)
    assert member.expected_s(100.1) == UNANSWERED_S + SMALL_S
    assert member.expected_s(102.0) == 2.0 + SMALL_S


def known(member, rtt_s=0.01):
    for start in (100.0, 100.1, 100.2):
        call(member, start, rtt_s)


def test_an_unanswered_request_is_evidence_once_it_is_late(member):
    known(member)
    first = Pick(member, 101.0)
    assert member.expected_s(101.03) == pytest.approx(0.01 + SMALL_S)
    Pick(member, 105.0)
    assert member.expected_s(106.0) == 5.0 + SMALL_S
    first.done(106.0, "cancelled")
    assert member.expected_s(106.0) == 1.0 + SMALL_S


def test_requests_that_were_given_up_count_for_as_long_as_they_waited(member):
    known(member)
    for start in (101.0, 103.0):
        Pick(member, start).done(start + 1.0, "cancelled")
    assert member.latency.mean_s == pytest.approx(1.0)
    # Those that were given up sooner than an answer takes say nothing.
    Pick(member, 104.0).done(104.1, "cancelled")
    assert member.latency.mean_s == pytest.approx(1.0)


def test_a_member_that_only_lets_requests_wait_is_known_as_slow(member):
    for start in (100.0, 101.0, 102.0):
        Pick(member, start).done(start + 1.0, "cancelled")
    assert member.expected_s(103.0) == pytest.approx(1.0 + SMALL_S)


def test_after_a_rest_an_answer_counts_half(member):
    known(member, 0.1)
    for rest, mean_s in ((LEAST_SLOW_PICKS - 1, 0.075), (LEAST_SLOW_PICKS, 0.0375)):
        others(member, rest)
        call(member, 100.3, 0.0)
        assert member.latency.mean_s == pytest.approx(mean_s, rel=0.05)


def test_a_failure_says_nothing_of_the_latency(member):
    known(member, 0.2)
    call(member, 101.0, 0.001, ok=False)
    Pick(member, 102.0).done(102.001, "failure")
    assert member.latency.mean_s == pytest.approx(0.2)
    assert (member.failures, member.failed_in_row) == (2, 2)


def test_a_clock_that_steps_back_harms_nothing(member):
    known(member, 0.2)
    pick = Pick(member, 101.0)
    assert member.expected_s(99.0) >= 0
    pick.answered(100.5)
    assert 0.0 <= member.latency.mean_s <= 0.2


def test_replacing_the_instance_keeps_the_statistics(member):
    call(member, 100.0, 0.2)
    member.replace(member.instance.with_(weight=5.0))
    assert (member.weight, member.instance.weight, member.picks) == (5.0, 5.0, 1)
    assert member.latency.mean_s == pytest.approx(0.2)


# Failures and trials


def next_trial(member, now):
    """Seconds, and requests to the pool, until it is no longer avoided."""
    others(member, 10**6)
    wait_s = 0.0
    while member.is_avoided(now + wait_s):
        wait_s += 0.01
    member.fleet.picks -= 10**6
    picks = 0
    while member.is_avoided(now + 100.0):
        others(member, 1)
        picks += 1
    member.fleet.picks -= picks
    return pytest.approx(wait_s, abs=0.02), picks


def test_trials_are_further_and_further_apart(member):
    now, seen = 100.0, []
    for _ in range(6):
        call(member, now, 0.0, ok=False)
        wait_s, picks = next_trial(member, now)
        seen.append((wait_s, picks))
        now += 10.0
    assert seen == [
        (
            min(FIRST_TRIAL_S * TRIAL_GROWTH_S**n, TRIAL_S),
            min(FIRST_TRIAL_PICKS * TRIAL_GROWTH_PICKS**n, TRIAL_PICKS),
        )
        for n in range(6)
    ]


def test_failures_of_requests_sent_before_the_first_one_are_one_with_it(member):
    picks = [Pick(member, 100.0) for _ in range(5)]
    for pick in picks:
        pick.done(101.0, "failure")
    assert (member.failures, member.failed_in_row) == (5, 1)
    Pick(member, 101.5).done(102.0, "failure")
    assert member.failed_in_row == 2


def test_one_trial_at_a_time_and_another_only_when_it_hangs(member):
    call(member, 100.0, 0.0, ok=False)
    others(member, FIRST_TRIAL_PICKS)
    assert not member.is_avoided(101.0)
    Pick(member, 101.0)
    others(member, FIRST_TRIAL_PICKS)
    assert member.is_avoided(101.5)
    others(member, TRIAL_PICKS)
    assert member.is_avoided(101.0 + TRIAL_S - 0.01)
    assert not member.is_avoided(101.0 + TRIAL_S)


def test_a_trial_that_succeeds_is_believed(member):
    for _ in range(9):
        call(member, 100.0, 0.0, ok=False)
    call(member, 200.0, 0.01)
    assert (member.failed_in_row, member.is_avoided(200.01)) == (0, False)


def test_it_is_forgiven_when_it_is_known_to_be_well(member):
    call(member, 100.0, 0.0, ok=False)
    assert member.is_avoided(100.0)
    member.forgive()
    assert not member.is_avoided(100.0)


def test_a_body_that_breaks_off_is_a_failure(member):
    pick = Pick(member, 100.0)
    pick.answered(100.2)
    pick.done(105.0, "failure")
    assert (member.failed_in_row, member.latency.mean_s) == (1, pytest.approx(0.2))


@pytest.mark.parametrize(
    ("ratio", "latency_s", "picks"),
    [
        (2.5, 0.01, LEAST_SLOW_PICKS),
        (12.0, 0.01, 12 * SLOW_PICKS),
        (500.0, 0.5, TRIAL_PICKS),
        (500.0, 1.5, TRIAL_PICKS),
    ],
)
def test_a_slow_one_is_due_after_so_many_requests_to_others(ratio, latency_s, picks, member):
    for start in (100.0, 110.0, 120.0):
        call(member, start, latency_s)
    others(member, int(picks) - 1)
    assert not member.is_due(ratio, 200.0)
    others(member, 1)
    assert member.is_due(ratio, 200.0)


def test_one_that_hangs_or_needs_more_than_a_second_is_due_no_sooner_than_a_failing_one(member):
    for start in (100.0, 110.0, 120.0):
        call(member, start, 0.01)
    Pick(member, 130.0)
    others(member, TRIAL_PICKS - 1)
    assert not member.is_due(2.0, 130.0 + TRIAL_S)
    others(member, 1)
    assert not member.is_due(2.0, 130.0 + TRIAL_S - 0.01)
    assert member.is_due(2.0, 130.0 + TRIAL_S)


def test_among_many_members_trials_are_rarer():
    fleet = Fleet()
    first, *_ = members = [
        Member(Instance(host="10.0.0.7", port=port), 0.0, fleet) for port in range(1, 101)
    ]
    call(first, 1.0, 0.1)
    others(first, PICKS_PER_MEMBER * len(members) - 1)
    assert not first.is_due(2.5, 9.0)
    others(first, 1)
    assert first.is_due(2.5, 9.0)
    for member in members[1:]:
        member.leave()
    assert (fleet.count, members[1].is_removed) == (1, True)


def test_any_sequence_of_answers_leaves_sound_figures():
    for seed in range(50):
        chance, now = Random(seed), 100.0
        member = Member(Instance(host="10.0.0.7", port=80), now)
        out, least_s, most_s = [], inf, 0.0
        for _ in range(200):
            now += chance.expovariate(1.0)
            if len(out) < 3:
                out.append(Pick(member, now))
            else:
                pick = out.pop(chance.randrange(len(out)))
                how = chance.choice(["success", "failure", "cancelled"])
                if how != "failure":
                    least_s = min(least_s, now - pick.started_at)
                    most_s = max(most_s, now - pick.started_at)
                pick.done(now, how)
            if member.latency.count:
                assert least_s <= member.latency.mean_s <= most_s, seed
            assert member.in_flight == len(member.unanswered) == len(out), seed


def test_a_request_is_late_after_its_cost_times_the_mean(member):
    known(member)
    Pick(member, 101.0, None, 50)
    assert member.expected_s(101.5) == pytest.approx(0.01 + SMALL_S)
    assert member.expected_s(104.0) == pytest.approx(3.0 / 50 + SMALL_S)


def test_a_costly_request_that_was_given_up_too_soon_says_nothing(member):
    known(member)
    for start in (101.0, 103.0):
        Pick(member, start, None, 50).done(start + 0.4, "cancelled")
    assert member.latency.mean_s == pytest.approx(0.01)
    for start in (105.0, 107.0):
        Pick(member, start, None, 50).done(start + 1.0, "cancelled")
    assert member.latency.mean_s > 0.01
