"""A server: its queue, its workers, and each of its faults."""

import pytest

from trimtab.strategies import REPORT_HEADER, read_load_report
from trimtab_sim.laws import Constant
from trimtab_sim.scenario.actions import Gray
from trimtab_sim.scenario.content import ColdStart
from trimtab_sim.scenario.content import Network as NetworkContent

OK = ("answered", 200)


def test_workers_take_requests_in_order_and_the_rest_waits(bench):
    it = bench(concurrency=2)
    it.send(5)
    assert (it.server.busy, it.server.waiting) == (2, 3)
    it.at(10)
    assert it.outcomes() == [(0, 1, *OK), (1, 1, *OK), (2, 2, *OK), (3, 2, *OK), (4, 3, *OK)]
    assert (it.server.received, it.server.served, it.server.busy) == (5, 5, 0)


def test_beyond_the_queue_it_rejects_at_once(bench):
    it = bench(queue_limit=1)
    it.send(3)
    it.at(10)
    assert it.outcomes() == [(2, 0, "answered", 503), (0, 1, *OK), (1, 2, *OK)]


def test_with_overflow_drop_requests_beyond_the_queue_get_no_answer(bench):
    it = bench(queue_limit=0, overflow="drop")
    it.send(2)
    it.at(10)
    assert it.outcomes() == [(0, 1, *OK)]


def test_messages_take_their_time_both_ways(bench):
    it = bench(network=NetworkContent(latency=Constant(mean=0.25)))
    it.send()
    it.at(10)
    assert it.outcomes() == [(0, 1.5, *OK)]


def test_a_crash_loses_requests_inside_and_refuses_new_ones(bench):
    it = bench()
    it.send(2)
    it.at(0.5)
    it.server.crash()
    it.send()
    it.at(2)
    assert it.outcomes() == [
        (0, 0.5, "broken", 0),
        (1, 0.5, "broken", 0),
        (2, 0.5, "refused", 0),
    ]
    assert (it.server.is_alive, it.server.ended_at) == (False, pytest.approx(0.5))
    it.server.start()
    it.send()
    it.at(4)
    assert it.outcomes()[3:] == [(3, 3, *OK)]
    assert it.server.past_ends == [(pytest.approx(0.5), None)]


def test_with_on_crash_finish_requests_inside_end_even_after_the_restart(bench):
    it = bench(on_crash="finish")
    it.send(3)
    it.at(0.5)
    it.server.crash()
    it.send()
    it.at(1.5)
    assert it.outcomes() == [(3, 0.5, "refused", 0), (0, 1, *OK)]
    it.server.start()
    it.at(10)
    assert it.outcomes()[2:] == [(1, 2, *OK), (2, 3, *OK)]


def test_a_stop_breaks_off_remaining_requests_whatever_on_crash_says(bench):
    it = bench(on_crash="finish")
    it.send()
    it.server.stop()
    it.at(5)
    assert it.outcomes() == [(0, 0, "broken", 0)]


@pytest.mark.parametrize("stays_registered", [False, True])
def test_a_black_hole_answers_nothing_and_later_answers_the_requests_inside(
    bench, stays_registered
):
    it = bench()
    it.send(3)
    it.at(0.5)
    it.server.vanish(stays_registered=stays_registered)
    it.send()
    assert it.server.is_dark
    assert it.server.is_alive is stays_registered
    it.at(1.5)
    it.server.reappear(stays_registered=stays_registered)
    assert not it.server.is_dark
    assert it.server.is_alive
    it.at(10)
    # The answer of the first was lost; the fourth never arrived.
    assert it.outcomes() == [(1, 2, *OK), (2, 3, *OK)]


def test_black_holes_overlap_and_a_crash_in_one_is_silent(bench):
    it = bench()
    it.send()
    it.server.vanish()
    it.server.vanish(stays_registered=True)
    it.server.reappear()
    assert it.server.is_dark
    assert it.server.is_alive
    it.server.crash()
    it.server.reappear(stays_registered=True)
    assert not it.server.is_alive
    it.at(5)
    assert it.outcomes() == []
    it.server.start()
    assert it.server.is_alive


def test_a_hanging_server_answers_its_requests_after_the_hang(bench):
    it = bench()
    it.send(2)
    lift = it.server.override("is_hung", value=True)
    it.at(5)
    assert it.outcomes() == []
    assert (it.server.busy, it.server.waiting) == (1, 1)
    lift()
    it.at(10)
    assert it.outcomes() == [(0, 5, *OK), (1, 6, *OK)]


def test_a_crash_during_a_hang_breaks_off_held_requests(bench):
    it = bench()
    lift = it.server.override("is_hung", value=True)
    it.send()
    it.at(5)
    it.server.crash()
    lift()
    it.at(10)
    assert it.outcomes() == [(0, 5, "broken", 0)]


def test_slowness_applies_to_requests_begun_after_it(bench):
    it = bench(concurrency=9)
    it.send()
    first = it.server.override("factor", 3.0)
    second = it.server.override("factor", 0.1)
    it.send()
    first()
    it.send()
    second()
    it.send()
    it.at(10)
    assert it.server.factor == 1.0
    assert it.outcomes() == [(1, 0.1, *OK), (2, 0.1, *OK), (0, 1, *OK), (3, 1, *OK)]


@pytest.mark.parametrize(("waits", "utilization"), [(False, 1.0), (True, 0.25)])
def test_a_slow_server_works_all_the_time_or_waits(bench, waits, utilization):
    it = bench(reports_load=True)
    it.server.override("factor", 4.0)
    it.server.override("waits", waits)
    it.send(2)
    last = it.send(wants_load=True)
    it.at(12)
    report = read_load_report({REPORT_HEADER: last.load})
    assert report.utilization == pytest.approx(utilization)


def test_errors_answer_a_share_at_once(bench):
    it = bench(concurrency=1000)
    lift = it.server.override("error", (0.3, 502))
    it.send(1000)
    it.at(0.5)
    assert {(ending, status) for _, _, ending, status in it.outcomes()} == {("answered", 502)}
    assert 240 < len(it.log) < 360
    lift()
    it.send()
    it.at(5)
    assert it.outcomes()[-1][2:] == OK


def test_refusal_is_for_new_connections_only(bench):
    it = bench()
    it.send()
    lift = it.server.override("is_refusing", value=True)
    it.send()
    lift()
    it.send()
    it.at(5)
    assert it.outcomes() == [(1, 0, "refused", 0), (0, 1, *OK), (2, 2, *OK)]


def test_a_gray_failure_hangs_fails_or_slows_a_share(bench):
    outcomes = {}
    for effect in ("hang", "error", "slow"):
        it = bench(concurrency=1000)
        it.server.override("gray", Gray(share=0.25, effect=effect, status=599, factor=7.0))
        it.send(1000)
        it.at(20)
        outcomes[effect] = it.outcomes()
    good = [one for one in outcomes["hang"] if one[2:] == OK]
    assert 690 < len(good) == len(outcomes["hang"]) < 810
    hit = {one[0] for one in outcomes["error"] if one[1:] == (0, "answered", 599)}
    slow = {one[0] for one in outcomes["slow"] if one[1] == 7}
    # The same requests, whatever the effect.
    assert hit == slow == set(range(1000)) - {one[0] for one in good}


def test_of_two_faults_of_one_kind_the_later_counts_until_it_ends(bench):
    it = bench(concurrency=9)
    first = it.server.override("error", (1.0, 500))
    second = it.server.override("error", (1.0, 501))
    it.send()
    first()
    it.send()
    second()
    second()
    it.send()
    it.at(5)
    assert [(status) for _, _, _, status in it.outcomes()] == [501, 501, 200]
    assert it.server.error is None


def test_a_cold_start_warms_up_in_a_straight_line(bench):
    it = bench(concurrency=9, cold_start=ColdStart(factor=5.0, duration=10.0))
    it.send()
    it.at(5)
    it.send()
    it.at(9.999999)
    it.send()
    it.at(20)
    assert it.outcomes() == [(0, 5, *OK), (1, 8, *OK), (2, pytest.approx(11, abs=1e-4), *OK)]
    it.server.crash()
    it.server.start()
    it.send()
    it.at(50)
    assert it.outcomes()[-1] == (3, 25, *OK)


def test_an_answer_to_an_abandoned_request_is_dropped(bench):
    it = bench()
    it.send()
    attempt = next(iter(it.server._inside))
    attempt.is_over = True
    it.at(5)
    assert it.outcomes() == []
    assert it.server.served == 1
