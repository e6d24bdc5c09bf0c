"""Outlier ejection as gRPC does it (gRFC A50), rule by rule, on a clock of plain numbers."""

from math import inf

import pytest

from trimtab.health import GrpcOutliers
from trimtab.health.grpc import GrpcDetector

ALL = {"max_ejected_ratio": 1.0}
BY_FAILURES = {"success_rate": False}
BY_RATE = {"failure_ratio": False}


def detector(hosts=5, at=0.0, **settings):
    made = GrpcDetector(GrpcOutliers(**settings))
    made.update([str(n) for n in range(hosts)], at)
    return made


def spread(made, shares, requests=100):
    """Give each member so many successes of so many requests; nothing is decided yet."""
    for id_, good in shares.items():
        assert not any(made.note(id_, 200, 0.0) for _ in range(good))
        assert not any(made.note(id_, 500, 0.0) for _ in range(requests - good))


def out(made, hosts=5):
    return [str(n) for n in range(hosts) if made.ejected(str(n))]


# The failure ratio


@pytest.mark.parametrize(("good", "ejected"), [(16, False), (15, False), (14, True), (0, True)])
def test_the_failure_ratio_is_above_85_percent(good, ejected):
    made = detector(**BY_FAILURES)
    spread(made, {"0": good, "1": 100, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0) is ejected
    assert made.ejected("0") == ("failure ratio" if ejected else None)


def test_members_count_whatever_their_requests():
    made = detector(hosts=5, **BY_FAILURES)
    spread(made, {"0": 0}, 50)
    assert made.sweep(10.0)
    assert out(made) == ["0"]


@pytest.mark.parametrize(("requests", "hosts", "ejected"), [(50, 5, 5), (49, 5, 0), (50, 4, 0)])
def test_the_failure_ratio_needs_requests_and_members(requests, hosts, ejected):
    made = detector(hosts, **BY_FAILURES, **ALL)
    spread(made, {str(n): 0 for n in range(hosts)}, requests)
    assert made.sweep(10.0) is bool(ejected)
    assert len(out(made, hosts)) == ejected


def test_a_failure_ratio_of_its_own():
    made = detector(**BY_FAILURES, **ALL, failure_ratio_threshold=0.07)
    spread(made, {"0": 92, "1": 93, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0)
    assert out(made) == ["0"]


# The success rate


@pytest.mark.parametrize(("worst", "ejected"), [(0, ["0"]), (50, ["0"]), (97, ["0"]), (100, [])])
def test_the_success_rate(worst, ejected):
    made = detector(**BY_RATE)
    spread(made, {"0": worst, "1": 100, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0) is bool(ejected)
    assert out(made) == ejected
    assert made.ejected("0") == ("success rate" if ejected else None)


@pytest.mark.parametrize(
    ("factor", "ejected"), [(1.9, []), (1.23, []), (1.2, ["0", "1"]), (0.0, ["0", "1"])]
)
def test_the_factor_counts(factor, ejected):
    """Rates 0, 0, 1, 1, 1: mean 0.6, deviation of the population 0.49."""
    made = detector(**BY_RATE, **ALL, success_rate_stdev_factor=factor)
    spread(made, {"0": 0, "1": 0, "2": 100, "3": 100, "4": 100})
    made.sweep(10.0)
    assert out(made) == ejected


def test_exactly_on_the_threshold_stays():
    made = detector(**BY_RATE, **ALL, success_rate_stdev_factor=0.0)
    spread(made, dict.fromkeys("01234", 50))
    assert not made.sweep(10.0)


@pytest.mark.parametrize(
    ("requests", "hosts", "ejected"), [(100, 5, True), (99, 5, False), (100, 4, False)]
)
def test_the_success_rate_needs_requests_and_members(requests, hosts, ejected):
    made = detector(hosts, **BY_RATE)
    spread(made, {str(n): requests if n else 0 for n in range(hosts)}, requests)
    assert made.sweep(10.0) is ejected


def test_members_with_few_requests_neither_count_nor_are_judged():
    made = detector(6, **BY_RATE, **ALL)
    spread(made, {str(n): 100 for n in range(4)})
    spread(made, {"4": 0}, 99)
    spread(made, {"5": 0}, 100)
    made.sweep(10.0)
    assert out(made, 6) == ["5"]


def test_both_rules_may_be_left_out():
    made = detector(**BY_RATE, **BY_FAILURES, **ALL)
    spread(made, {"0": 0, "1": 100, "2": 100, "3": 100, "4": 100})
    assert not made.sweep(10.0)


def test_both_rules_in_one_sweep():
    made = detector(10, max_ejected_ratio=0.2)
    spread(made, {"0": 0, "1": 100}, 100)
    spread(made, {str(n): 100 for n in range(2, 9)}, 100)
    spread(made, {"9": 0}, 60)
    assert made.sweep(10.0)
    assert [made.ejected("0"), made.ejected("9")] == ["success rate", "failure ratio"]
    assert out(made, 10) == ["0", "9"]


def test_no_requests_are_no_failures():
    none = ("min_requests", "min_hosts", "threshold")
    made = detector(
        **{f"failure_ratio_{name}": 0 for name in none},
        **{f"success_rate_{name}": 0 for name in none[:2]},
        **ALL,
    )
    assert not made.sweep(10.0)


# What is counted


def test_no_response_always_is_a_failure():
    made = detector(**BY_FAILURES, **ALL, failing_statuses={429})
    for _ in range(50):
        made.note("0", None, 0.0)
        made.note("1", 429, 0.0)
        made.note("2", 500, 0.0)
    made.sweep(10.0)
    assert out(made) == ["0", "1"]


@pytest.mark.parametrize(
    ("status", "fails"), [(499, False), (500, True), (599, True), (600, False)]
)
def test_server_errors_are_failures(status, fails):
    made = detector(**BY_FAILURES)
    for _ in range(50):
        made.note("0", status, 0.0)
    assert made.sweep(10.0) is fails


def test_failures_in_a_row_are_nothing():
    made = detector()
    assert not any(made.note("0", 500, 0.0) for _ in range(1000))
    assert out(made) == []


def test_each_interval_counts_for_itself():
    made = detector(**BY_FAILURES)
    for at in (10.0, 20.0, 30.0):
        spread(made, {"0": 0}, 49)
        assert not made.sweep(at)


def test_unknown_members_are_not_counted():
    made = detector()
    assert not made.note("x", 500, 0.0)
    assert made.ejected("x") is None
    made.release("x", 0.0)
    assert out(made) == []


# The limit


@pytest.mark.parametrize(
    ("hosts", "ratio", "ejected"),
    [
        *[(2, 0.1, 1), (3, 0.1, 1), (5, 0.1, 1), (10, 0.1, 1), (11, 0.1, 2), (20, 0.1, 2)],
        *[(2, 0.5, 1), (3, 0.5, 2), (5, 0.5, 3), (10, 0.5, 5), (3, 1.0, 3), (5, 0.0, 0)],
        *[(3, 0.34, 2), (100, 0.995, 100), (100, 0.07, 7), (100, 0.29, 29)],
    ],
)
def test_it_stops_once_the_limit_is_reached(hosts, ratio, ejected):
    """`ejected * 100 / hosts >= max`, as grpc-go has it; so one may always go."""
    made = detector(hosts, **BY_FAILURES, failure_ratio_min_hosts=1, max_ejected_ratio=ratio)
    spread(made, {str(n): 0 for n in range(hosts)}, 50)
    made.sweep(10.0)
    assert out(made, hosts) == [str(n) for n in range(ejected)]


def test_nothing_changes_when_nobody_may_go():
    made = detector(5, max_ejected_ratio=0.0)
    spread(made, {"0": 0, "1": 100, "2": 100, "3": 100, "4": 100})
    assert not made.sweep(10.0)


def test_one_that_goes_is_a_change_though_another_may_not():
    made = detector(5, **BY_RATE, max_ejected_ratio=0.2, success_rate_stdev_factor=1.2)
    spread(made, {"0": 0, "1": 0, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0)
    assert out(made) == ["0"]
    ratio = detector(5, **BY_FAILURES, max_ejected_ratio=0.2)
    spread(ratio, {"0": 0, "1": 0})
    assert ratio.sweep(10.0)
    assert out(ratio) == ["0"]


def test_one_request_may_be_enough():
    made = detector(5, **BY_FAILURES, failure_ratio_min_requests=1)
    made.note("0", 500, 0.0)
    assert made.sweep(10.0)


def test_who_is_out_counts_for_the_limit_and_is_not_ejected_twice():
    made = detector(5, **BY_FAILURES, max_ejected_ratio=0.4)
    spread(made, {"0": 0}, 50)
    assert made.sweep(10.0)
    spread(made, {"0": 0, "1": 0, "2": 0}, 50)
    assert made.sweep(20.0)
    assert out(made) == ["0", "1"]
    # The first ejection was not made longer: it ends after 40, at the sweep of 50.
    for at in (30.0, 40.0):
        assert not made.sweep(at)
    assert made.sweep(50.0)
    assert out(made) == ["1"]


def test_room_comes_back_with_those_that_leave():
    made = detector(5, **BY_FAILURES)
    spread(made, {"0": 0}, 50)
    made.sweep(10.0)
    made.update([str(n) for n in range(1, 6)], 11.0)
    spread(made, {"1": 0}, 50)
    made.sweep(20.0)
    assert out(made, 6) == ["1"]


# How long


def lengths_of(made, sweeps):
    """Let a member fail whenever it is back; return the lengths of its ejections."""
    lengths, began = [], None
    for sweep in range(1, sweeps + 1):
        if began is None:
            spread(made, {"0": 0}, 50)
        made.sweep(sweep * 10.0)
        if began is None:
            began = sweep
        elif not made.ejected("0"):
            lengths.append((sweep - began) * 10)
            began = None
    return lengths


def test_it_ends_after_its_time_and_not_at_it():
    made = detector(**BY_FAILURES)
    spread(made, {"0": 0}, 50)
    made.sweep(10.0)
    assert not made.sweep(40.0)
    assert made.sweep(40.5)
    assert out(made) == []


def test_each_ejection_is_longer_than_the_last_up_to_the_longest():
    # Times end at a sweep after them, hence the ten seconds more; judged in the very interval
    # after its return, its count has not fallen.
    lengths = lengths_of(detector(**BY_FAILURES), 300)
    assert lengths[:12] == [40, 70, 100, 130, 160, 190, 220, 250, 280, 310, 310, 310]


@pytest.mark.parametrize(
    ("base", "most", "lengths"),
    [(30.0, 70.0, [40, 70, 80, 80]), (60.0, 10.0, [70, 70, 70]), (15.0, 15.0, [20, 20])],
)
def test_bounds_of_the_length(base, most, lengths):
    made = detector(**BY_FAILURES, base_ejection_s=base, max_ejection_s=most)
    assert lengths_of(made, 60)[: len(lengths)] == lengths


@pytest.mark.parametrize(("healthy", "next_s"), [(0, 130), (1, 100), (2, 70), (3, 40), (7, 40)])
def test_the_count_falls_by_one_per_healthy_interval(healthy, next_s):
    made, now = detector(**BY_FAILURES), 0.0
    for _ in range(3):
        spread(made, {"0": 0}, 50)
        now += 10.0
        made.sweep(now)
        while made.ejected("0"):
            now += 10.0
            made.sweep(now)
    for _ in range(healthy):
        now += 10.0
        made.sweep(now)
    spread(made, {"0": 0}, 50)
    now += 10.0
    made.sweep(now)
    began = now
    while made.ejected("0"):
        now += 10.0
        made.sweep(now)
    assert now - began == next_s


# Time and lists


def test_sweeps_are_an_interval_apart_from_the_first_list_on():
    made = GrpcDetector(GrpcOutliers(interval_s=7.0))
    assert made.next_at == inf
    made.update(["0"], 100.0)
    assert made.next_at == 107.0
    made.update(["0", "1"], 103.0)
    assert made.next_at == 107.0
    assert not made.sweep(110.0)
    assert made.next_at == 117.0


def test_survivors_of_a_new_list_keep_their_counts_and_ejections():
    made = detector(**BY_FAILURES, max_ejected_ratio=0.4)
    spread(made, {"0": 0}, 50)
    made.sweep(10.0)
    spread(made, {"1": 0}, 49)
    made.update([*"01abc"], 15.0)
    assert made.ejected("0") == "failure ratio"
    made.note("1", 500, 16.0)
    made.sweep(20.0)
    assert made.ejected("1") == "failure ratio"


def test_released_early_once():
    made = detector(**BY_FAILURES)
    spread(made, {"0": 0}, 50)
    made.sweep(10.0)
    made.release("0", 11.0)
    made.release("0", 11.0)
    made.release("1", 11.0)
    assert out(made) == []
    spread(made, {"1": 0, "2": 0}, 50)
    made.sweep(20.0)
    assert out(made) == ["1"]
