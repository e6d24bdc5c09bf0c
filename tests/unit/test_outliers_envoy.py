"""Outlier ejection as Envoy does it, rule by rule, on a clock of plain numbers.

Source of the figures: envoyproxy/envoy, outlier_detection_impl.cc and its tests.
"""

from math import inf
from random import Random

import pytest

from trimtab.health import EnvoyOutliers
from trimtab.health.envoy import EnvoyDetector
from trimtab.health.outliers import Ejections, outlier_threshold, percent


class Draw(Random):
    """Draws one number for ever."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def random(self):
        return self.value


def detector(hosts=10, *, draw=0.0, at=0.0, **settings):
    made = EnvoyDetector(EnvoyOutliers(**settings), Draw(draw))
    made.update([str(n) for n in range(hosts)], at)
    return made


def note(made, id_, *statuses, now=0.0):
    """Give a member outcomes; say at which of them it was ejected."""
    return [n for n, status in enumerate(statuses, 1) if made.note(id_, status, now)]


def spread(made, shares, requests=100):
    """Give each member so many successes of so many requests, none of them in a row for long."""
    for id_, good in shares.items():
        for _ in range(requests - good):
            made.note(id_, 500, 0.0)
        for _ in range(good):
            made.note(id_, 200, 0.0)


def out(made, hosts=10):
    return [str(n) for n in range(hosts) if made.ejected(str(n))]


# Failures in a row


@pytest.mark.parametrize(
    ("outcomes", "ejected_at"),
    [
        ([500] * 4, []),
        ([500] * 5, [5]),
        ([500] * 4 + [200] + [500] * 4, []),
        ([500, 501, 502, 503, 504], [5]),
        ([None] * 5, [5]),
        ([None, 500, None, 599, None], [5]),
        ([500] * 4 + [499, 500], []),
        ([400, 404, 429, 499, 600], []),
        ([500] * 12, [5]),
    ],
)
def test_five_failures_in_a_row(outcomes, ejected_at):
    made = detector()
    assert note(made, "3", *outcomes) == ejected_at
    assert made.ejected("3") == ("failures in a row" if ejected_at else None)
    assert out(made) == (["3"] if ejected_at else [])


def test_what_counts_as_a_failure_is_configurable():
    made = detector(failing_statuses={429, 418}, consecutive_failures=3)
    assert note(made, "0", 500, 503, 599, 500, 502) == []
    assert note(made, "1", 429, 418, 429) == [3]
    assert note(detector(failing_statuses={429}), "1", *[None] * 5) == [5]


def test_failures_in_a_row_can_be_left_out():
    made = detector(consecutive_failures=0)
    assert note(made, "0", *[500] * 50) == []


def test_an_unknown_member_is_not_counted():
    made = detector()
    assert not made.note("x", 500, 0.0)
    assert made.ejected("x") is None
    made.release("x", 0.0)
    assert out(made) == []


@pytest.mark.parametrize(
    ("outcomes", "ejected_at"),
    [
        ([502, 503, 504], [3]),
        ([None, None, None], [3]),
        ([502, 500, 503, 504], []),
        ([502, 200, 503, 504], []),
        ([500, 500, 500, 502, 503], [5]),
    ],
)
def test_gateway_failures_in_a_row(outcomes, ejected_at):
    made = detector(consecutive_gateway_failures=3)
    assert note(made, "0", *outcomes) == ejected_at


def test_the_rule_that_ejected_is_told():
    made = detector(hosts=20, consecutive_gateway_failures=2)
    note(made, "0", 503, 503)
    note(made, "1", *[500] * 5)
    assert made.ejected("0") == "gateway failures in a row"
    assert made.ejected("1") == "failures in a row"
    # One failure may complete both: it is ejected once.
    both = detector(consecutive_gateway_failures=5)
    assert note(both, "0", *[503] * 5) == [5]
    assert both.ejected("0") == "gateway failures in a row"


def test_gateway_failures_are_off_by_default():
    made = detector(consecutive_failures=0)
    assert note(made, "0", *[503] * 50) == []


# No response, counted apart


def test_apart_five_without_response_eject_and_statuses_do_not_add_to_them():
    made = detector(split_local=True, hosts=30)
    assert note(made, "0", None, None, None, None, 500, None, None, None, None) == []
    assert note(made, "1", *[None] * 5) == [5]
    assert made.ejected("1") == "no response in a row"
    # Those without response do not end a row of failing statuses, nor add to it.
    assert note(made, "2", 500, 500, None, 500, 500, None, 500) == [7]
    assert made.ejected("2") == "failures in a row"


def test_apart_their_limit_is_their_own():
    made = detector(split_local=True, consecutive_local_failures=2, consecutive_failures=0)
    assert note(made, "0", *[500] * 9, None, None) == [11]
    never = detector(split_local=True, consecutive_local_failures=0)
    assert note(never, "0", *[None] * 50) == []
    together = detector(consecutive_local_failures=2, consecutive_failures=0)
    assert note(together, "0", *[None] * 50) == []


def test_apart_a_gateway_failure_is_a_status():
    made = detector(split_local=True, consecutive_gateway_failures=2)
    assert note(made, "0", None, None, 503, None, 504) == [5]


def test_apart_no_response_leaves_the_ratio_of_statuses_alone():
    settings = {"split_local": True, "consecutive_local_failures": 0}
    made = detector(hosts=10, **settings)
    for n in range(10):
        for _ in range(100):
            made.note(str(n), 200, 0.0)
    for _ in range(100):
        made.note("4", None, 0.0)
    # By statuses "4" is spotless; by connects it answered 100 of 200, and all others all.
    assert made.sweep(10.0)
    assert out(made) == ["4"]
    assert made.ejected("4") == "success rate"


def test_apart_an_ejection_ends_like_any_other():
    made = detector(split_local=True)
    note(made, "0", *[None] * 5, now=3.0)
    assert not made.sweep(32.9)
    assert made.sweep(33.0)
    assert made.ejected("0") is None


@pytest.mark.parametrize(("lost", "ejected"), [(84, False), (85, True)])
def test_apart_connects_have_ratios_of_their_own(lost, ejected):
    made = detector(hosts=5, **FAILURES, split_local=True, consecutive_local_failures=0)
    for n in range(5):
        for _ in range(100 - (lost if n == 0 else 0)):
            made.note(str(n), 200, 0.0)
    for _ in range(lost):
        made.note("0", None, 0.0)
    assert made.sweep(10.0) is ejected
    assert made.ejected("0") == ("failure ratio" if ejected else None)
    if ejected:
        assert not made.sweep(39.9)
        assert made.sweep(40.0)


def test_apart_either_kind_of_failure_is_a_change():
    made = detector(hosts=5, **FAILURES, split_local=True)
    spread(made, {"0": 0, "1": 100, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0)
    assert out(made, 5) == ["0"]


def test_together_no_response_counts_once_in_the_ratio():
    made = detector(hosts=10, consecutive_failures=0)
    for n in range(10):
        for _ in range(100):
            made.note(str(n), None if n == 4 else 200, 0.0)
    assert made.sweep(10.0)
    assert out(made) == ["4"]


# The limit


@pytest.mark.parametrize(
    ("hosts", "ratio", "ejected"),
    [
        *[(2, 0.1, 0), (3, 0.1, 0), (5, 0.1, 0), (9, 0.1, 0), (10, 0.1, 1), (19, 0.1, 1)],
        *[(20, 0.1, 2), (2, 0.5, 1), (3, 0.5, 1), (5, 0.5, 2), (10, 0.5, 5), (3, 0.33, 0)],
        *[(3, 0.34, 1), (3, 1.0, 3), (5, 0.0, 0), (100, 0.07, 7), (100, 0.29, 29), (1, 0.99, 0)],
    ],
)
def test_the_limit_is_never_passed(hosts, ratio, ejected):
    """`(ejected + 1) * 100 / hosts <= max`."""
    made = detector(hosts, max_ejected_ratio=ratio)
    for n in range(hosts):
        note(made, str(n), *[500] * 5)
    assert out(made, hosts) == [str(n) for n in range(ejected)]


@pytest.mark.parametrize(
    ("hosts", "ratio", "ejected"),
    [(1, 0.1, 1), (2, 0.1, 1), (5, 0.1, 1), (5, 0.0, 1), (10, 0.1, 1), (20, 0.1, 2), (4, 0.5, 2)],
)
def test_one_may_be_ejected_whatever_the_share(hosts, ratio, ejected):
    made = detector(hosts, max_ejected_ratio=ratio, always_eject_one=True)
    for n in range(hosts):
        note(made, str(n), *[500] * 5)
    assert out(made, hosts) == [str(n) for n in range(ejected)]


def test_who_found_no_room_begins_a_new_row():
    made = detector(hosts=2)
    assert note(made, "0", *[500] * 9) == []
    made.update([str(n) for n in range(10)], 0.0)
    assert note(made, "0", 500) == [1]


def test_room_comes_back_with_those_that_return():
    made = detector(hosts=10)
    note(made, "0", *[500] * 5, now=0.0)
    assert note(made, "1", *[500] * 5, now=0.0) == []
    made.sweep(30.0)
    assert note(made, "1", *[500] * 5, now=30.0) == [5]


def test_room_comes_back_with_those_that_leave():
    made = detector(hosts=10)
    note(made, "0", *[500] * 5)
    made.update([str(n) for n in range(1, 11)], 1.0)
    assert note(made, "1", *[500] * 5) == [5]
    assert made.ejected("0") is None


# How long


def ejections(made, *, base=30.0, until=2000.0, healthy=0, interval=10.0):
    """Eject a member whenever it is back and was so for some intervals; tell each one's length."""
    lengths, now, began, back = [], 0.0, None, 0
    while now < until:
        if began is None and back >= healthy:
            assert note(made, "0", *[500] * 5, now=now) == [5]
            began = now
        now += interval
        made.sweep(now)
        if began is None:
            back += 1
        elif made.ejected("0") is None:
            lengths.append(now - began)
            began, back = None, 0
    return lengths


def test_each_ejection_is_longer_than_the_last_up_to_the_longest():
    lengths = ejections(detector(), until=2300.0)
    assert lengths[:11] == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300]


def test_one_healthy_interval_takes_one_off():
    # Back at a sweep, healthy up to the next: n falls by one before it is ejected again.
    assert ejections(detector(), until=400.0, healthy=1) == [30] * 10
    assert ejections(detector(), until=400.0, healthy=3) == [30] * 6


def grown(made, times):
    """Eject a member so many times in a row; return when it was back."""
    now = 0.0
    for _ in range(times):
        note(made, "0", *[500] * 5, now=now)
        while made.ejected("0"):
            now += 10.0
            made.sweep(now)
    return now


@pytest.mark.parametrize(
    ("times", "healthy", "next_s"),
    [(3, 0, 120), (3, 1, 90), (3, 2, 60), (3, 3, 30), (3, 9, 30), (11, 1, 300), (11, 2, 300),
     (11, 3, 270), (20, 1, 300), (20, 2, 300), (20, 3, 270)],
)  # fmt: skip
def test_the_count_falls_by_one_per_healthy_interval(times, healthy, next_s):
    """Envoy counts to one beyond the longest: `n * base < max + base`."""
    made = detector()
    now = grown(made, times)
    for _ in range(healthy):
        now += 10.0
        made.sweep(now)
    note(made, "0", *[500] * 5, now=now)
    began = now
    while made.ejected("0"):
        now += 10.0
        made.sweep(now)
    assert now - began == next_s


def test_an_interval_cut_short_by_an_early_return_is_not_a_healthy_one():
    made = detector()
    note(made, "0", *[500] * 5, now=0.0)
    made.release("0", 5.0)
    assert made.ejected("0") is None
    made.sweep(10.0)
    assert lasts(made, now=10.0) == 60
    other = detector()
    note(other, "0", *[500] * 5, now=0.0)
    other.release("0", 5.0)
    other.sweep(10.0)
    other.sweep(20.0)
    assert lasts(other, now=20.0) == 30


def lasts(made, *, now):
    began = now
    assert note(made, "0", *[500] * 5, now=now) == [5]
    while made.ejected("0"):
        now += 10.0
        made.sweep(now)
    return now - began


def test_an_interval_that_ends_in_an_ejection_is_not_a_healthy_one():
    """Judged by rate at the very sweep that completes the first interval back: n rises."""
    made = detector(hosts=10, consecutive_failures=0)
    shares = {str(n): 0 if n == 0 else 100 for n in range(10)}
    lengths, began = [], None
    for sweep in range(1, 40):
        if began is None:
            spread(made, shares)
        made.sweep(sweep * 10.0)
        if began is None and made.ejected("0"):
            began = sweep
        elif began is not None and not made.ejected("0"):
            lengths.append((sweep - began) * 10)
            began = None
    assert lengths == [30, 60, 90, 120]


@pytest.mark.parametrize(
    ("base", "most", "lengths"),
    [(30.0, 70.0, [30, 60, 70, 70]), (60.0, 10.0, [60, 60, 60]), (20.0, 20.0, [20, 20, 20])],
)
def test_bounds_of_the_length(base, most, lengths):
    made = detector(base_ejection_s=base, max_ejection_s=most)
    assert ejections(made, base=base, until=2000.0)[: len(lengths)] == lengths


def test_it_ends_with_a_sweep_and_not_before():
    made = detector()
    note(made, "0", *[500] * 5, now=3.0)
    assert not made.sweep(32.999)
    assert made.ejected("0")
    assert made.sweep(33.0)
    assert made.ejected("0") is None


@pytest.mark.parametrize(("draw", "ends"), [(0.0, 30.0), (0.5, 32.0), (0.75, 33.0)])
def test_jitter_lengthens_by_up_to_its_bound(draw, ends):
    made = detector(draw=draw, max_ejection_jitter_s=4.0)
    note(made, "0", *[500] * 5)
    assert not made.sweep(ends - 0.001)
    assert made.sweep(ends)


def test_who_returns_begins_new_rows():
    made = detector(consecutive_gateway_failures=3)
    note(made, "0", *[500] * 4, 503)
    made.sweep(30.0)
    assert made.ejected("0") is None
    assert note(made, "0", 503, 503, 500, 500) == []
    local = detector(split_local=True)
    note(local, "0", *[None] * 4, *[500] * 5)
    local.sweep(30.0)
    assert note(local, "0", *[None] * 4) == []


def test_released_early_once():
    made = detector()
    note(made, "0", *[500] * 5)
    made.release("0", 1.0)
    made.release("0", 1.0)
    made.release("1", 1.0)
    assert out(made) == []
    assert note(made, "1", *[500] * 5) == [5]
    assert note(made, "0", *[500] * 5) == []  # "1" has the only place


# Ratios, at intervals


def test_the_threshold_of_the_source():
    """The example in Envoy's own code: rates 50, 100, 100, 100, 100; stdev 20; 52."""
    assert outlier_threshold([0.5, 1, 1, 1, 1], 1.9) == pytest.approx(0.52)
    assert outlier_threshold([0.5, 1, 1, 1, 1], 0.0) == pytest.approx(0.9)
    assert outlier_threshold([0.25], 1.9) == 0.25
    assert outlier_threshold([0.2, 0.4], 1.0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("worst", "ejected"),
    [(50, ["0"]), (0, ["0"]), (97, ["0"]), (100, [])],
)
def test_the_success_rate(worst, ejected):
    """One of five below four equals is always 2 deviations off, so 1.9 finds it."""
    made = detector(hosts=5, consecutive_failures=0, max_ejected_ratio=0.2)
    spread(made, {"0": worst, "1": 100, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0) is bool(ejected)
    assert out(made, 5) == ejected


def test_two_of_five_do_not_stand_out():
    """Rates 0, 0, 1, 1, 1: mean 0.6, deviation 0.49, threshold -0.33."""
    made = detector(hosts=5, consecutive_failures=0, max_ejected_ratio=1.0)
    spread(made, {"0": 0, "1": 0, "2": 100, "3": 100, "4": 100})
    assert not made.sweep(10.0)


def test_the_factor_counts():
    shares = {"0": 0, "1": 0, "2": 100, "3": 100, "4": 100}
    made = detector(
        hosts=5, consecutive_failures=0, max_ejected_ratio=1.0, success_rate_stdev_factor=1.2
    )
    spread(made, shares)
    assert made.sweep(10.0)
    assert out(made, 5) == ["0", "1"]


def test_exactly_on_the_threshold_stays():
    made = detector(
        hosts=5, consecutive_failures=0, max_ejected_ratio=1.0, success_rate_stdev_factor=0.0
    )
    spread(made, dict.fromkeys("01234", 50))
    assert not made.sweep(10.0)


@pytest.mark.parametrize(
    ("requests", "hosts", "ejected"), [(100, 5, True), (99, 5, False), (100, 4, False)]
)
def test_the_success_rate_needs_requests_and_members(requests, hosts, ejected):
    made = detector(hosts=hosts, consecutive_failures=0, max_ejected_ratio=0.5)
    spread(made, {str(n): requests if n else 0 for n in range(hosts)}, requests)
    assert made.sweep(10.0) is ejected


def test_members_with_few_requests_neither_count_nor_are_judged():
    made = detector(hosts=6, consecutive_failures=0, max_ejected_ratio=1.0)
    spread(made, {str(n): 100 for n in range(4)})
    spread(made, {"4": 0}, 99)
    spread(made, {"5": 0}, 100)
    made.sweep(10.0)
    assert out(made, 6) == ["5"]


def test_the_success_rate_can_be_left_out():
    made = detector(hosts=5, consecutive_failures=0, max_ejected_ratio=1.0, success_rate=False)
    spread(made, {"0": 0, "1": 100, "2": 100, "3": 100, "4": 100})
    assert not made.sweep(10.0)


def test_each_interval_counts_for_itself():
    made = detector(hosts=5, consecutive_failures=0, max_ejected_ratio=1.0)
    spread(made, {"0": 0, "1": 60, "2": 60, "3": 60, "4": 60}, 60)
    assert not made.sweep(10.0)
    spread(made, {"0": 0, "1": 60, "2": 60, "3": 60, "4": 60}, 60)
    assert not made.sweep(20.0)
    apart = detector(hosts=5, consecutive_local_failures=0, max_ejected_ratio=1.0, split_local=True)
    for at in (10.0, 20.0):
        for n in range(5):
            for _ in range(60):
                apart.note(str(n), 200 if n else None, 0.0)
        assert not apart.sweep(at)


def test_those_ejected_are_not_judged():
    made = detector(
        hosts=5, max_ejected_ratio=1.0, consecutive_failures=0, consecutive_gateway_failures=2
    )
    assert note(made, "1", 503, 503) == [2]
    spread(made, {"0": 0, "1": 100, "2": 100, "3": 100, "4": 100})
    # Four are left, and five are asked for.
    assert not made.sweep(10.0)


FAILURES = {
    "consecutive_failures": 0,
    "success_rate": False,
    "failure_ratio": True,
    "max_ejected_ratio": 1.0,
}


@pytest.mark.parametrize(("good", "ejected"), [(16, False), (15, True), (14, True), (0, True)])
def test_the_failure_ratio_is_at_least_85_percent(good, ejected):
    made = detector(hosts=5, **FAILURES)
    spread(made, {"0": good, "1": 100, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0) is ejected
    assert made.ejected("0") == ("failure ratio" if ejected else None)


@pytest.mark.parametrize(
    ("requests", "hosts", "ejected"), [(50, 5, 5), (49, 5, 0), (50, 4, 0), (500, 6, 6)]
)
def test_the_failure_ratio_needs_requests_and_members(requests, hosts, ejected):
    made = detector(hosts=hosts, **FAILURES)
    spread(made, {str(n): 0 for n in range(hosts)}, requests)
    assert made.sweep(10.0) is bool(ejected)
    assert len(out(made, hosts)) == ejected


def test_one_that_goes_is_a_change_though_another_may_not():
    made = detector(hosts=5, **(FAILURES | {"max_ejected_ratio": 0.2}))
    spread(made, {"0": 0, "1": 0})
    spread(made, {"2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0)
    assert out(made, 5) == ["0"]


def test_one_request_may_be_enough():
    made = detector(hosts=5, **FAILURES, failure_ratio_min_requests=1, failure_ratio_min_hosts=1)
    made.note("0", 500, 0.0)
    assert made.sweep(10.0)


def test_the_failure_ratio_is_off_by_default():
    made = detector(hosts=5, **(FAILURES | {"failure_ratio": False}))
    spread(made, dict.fromkeys("01234", 0))
    assert not made.sweep(10.0)


def test_a_failure_ratio_of_its_own():
    made = detector(hosts=5, **FAILURES, failure_ratio_threshold=0.07)
    spread(made, {"0": 93, "1": 94, "2": 100, "3": 100, "4": 100})
    assert made.sweep(10.0)
    assert out(made, 5) == ["0"]


def test_no_requests_are_no_failures():
    zero = {"failure_ratio_min_requests": 0, "failure_ratio_min_hosts": 0}
    made = detector(hosts=5, **FAILURES, **zero, failure_ratio_threshold=0.0)
    assert not made.sweep(10.0)
    rates = {"success_rate_min_requests": 0, "success_rate_min_hosts": 0}
    assert not detector(hosts=5, **rates).sweep(10.0)


def test_who_goes_by_success_rate_still_makes_up_the_numbers_for_the_failure_ratio():
    settings = FAILURES | {"success_rate": True, "max_ejected_ratio": 0.4}
    made = detector(hosts=5, **settings, failure_ratio_threshold=0.5, success_rate_stdev_factor=1.5)
    # Mean 0.7, deviation 0.4, threshold 0.1: "0" goes by rate; "1" by ratio, since five were
    # there to be judged.
    spread(made, {"0": 0, "1": 50, "2": 100, "3": 100, "4": 100})
    made.sweep(10.0)
    assert made.ejected("0") == "success rate"
    assert made.ejected("1") == "failure ratio"


def test_the_limit_holds_at_intervals_too():
    made = detector(hosts=10, **(FAILURES | {"max_ejected_ratio": 0.2}))
    spread(made, {str(n): 0 for n in range(10)})
    made.sweep(10.0)
    assert out(made) == ["0", "1"]


# Time and lists


def test_sweeps_are_an_interval_apart_from_the_first_list_on():
    made = EnvoyDetector(EnvoyOutliers(interval_s=7.0), Draw(0.0))
    assert made.next_at == inf
    made.update(["0"], 100.0)
    assert made.next_at == 107.0
    made.update(["0", "1"], 103.0)
    assert made.next_at == 107.0
    assert not made.sweep(110.0)
    assert made.next_at == 117.0


def test_survivors_of_a_new_list_keep_their_rows_counts_and_ejections():
    made = detector(hosts=10)
    note(made, "1", *[500] * 4)
    note(made, "0", *[500] * 5)
    made.update(["0", "1", *"abcdefghijklmnopqr"], 1.0)
    assert made.ejected("0") == "failures in a row"
    assert note(made, "1", 500) == [1]
    made.update(["1"], 2.0)
    made.update(["0", "1"], 3.0)
    assert made.ejected("0") is None  # it left, and came back as another


def test_the_ledger_knows_how_many_are_out():
    ledger = Ejections(base_s=1.0, max_s=5.0)
    ledger.keep(["a", "b", "c"])
    assert (len(ledger), ledger.count, ledger.records.get("x")) == (3, 0, None)
    ledger.eject(ledger.records["a"], 0.0, "so")
    ledger.eject(ledger.records["b"], 0.0, "so", jitter_s=0.25)
    assert ledger.count == 2
    assert (ledger.ends_at(ledger.records["a"]), ledger.ends_at(ledger.records["b"])) == (1.0, 1.25)
    ledger.keep(["b", "c"])
    assert ledger.count == 1
    ledger.release(ledger.records["b"], 1.0)
    assert ledger.count == 0


def test_percent_is_free_of_rounding():
    assert percent(0.07) == 7
    assert percent(0.29) == 29
    assert percent(0.85) == 85
