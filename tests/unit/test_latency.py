"""What one client learns of an instance's latency, and when two latencies differ."""

from math import exp
from random import Random

import pytest

from trimtab.member import DECAY_S, SLOW_IN_ROW, STALL_S, Latency


def learnt(*samples_s, every_s=0.1, **how):
    latency = Latency(0.0)
    for number, sample_s in enumerate(samples_s, start=1):
        latency.learn(number * every_s - sample_s, number * every_s, **how)
    return latency


def test_the_first_three_are_taken_by_their_median():
    for samples, mean_s in (((0.3,), 0.3), ((0.3, 0.02), 0.02), ((0.3, 0.02, 0.05), 0.05)):
        latency = learnt(*samples)
        assert latency.mean_s == pytest.approx(mean_s)
        assert latency.is_known is (len(samples) == 3)


def test_soon_each_counts_as_much_as_any_other():
    latency = learnt(0.1, 0.1, 0.1, 0.2)
    assert latency.mean_s == pytest.approx(0.125)
    assert latency.spread_s == pytest.approx(0.025)


def test_of_many_the_last_ten_seconds_count():
    """Finagle `PeakEwma`: tau 10 s."""
    latency = learnt(*[0.2] * 2000)
    latency.learn(209.7, 210.0)
    assert latency.mean_s == pytest.approx(0.2 + 0.1 * (1 - exp(-10.0 / DECAY_S)))


def test_after_a_rest_an_answer_counts_half():
    latency = learnt(*[0.2] * 2000)
    latency.learn(199.9, 200.0, is_rested=True)
    assert latency.mean_s == pytest.approx(0.15)


def test_one_answer_beyond_all_others_is_no_news():
    latency = learnt(*[0.001] * 100, 5.0)
    # It counts as three times the mean, both with 2 ms more.
    assert latency.mean_s == pytest.approx(0.001 + 0.006 / 101, rel=0.01)


def test_three_slow_ones_in_a_row_are_believed_at_once():
    before = [0.001] * 50
    assert SLOW_IN_ROW == 3
    assert learnt(*before, 0.03, 0.05, 0.001, 0.04, 0.05).mean_s < 0.002
    assert learnt(*before, 0.03, 0.05, 0.04).mean_s == pytest.approx(0.03)


def test_slow_answers_to_requests_that_were_out_at_once_are_one():
    latency = learnt(*[0.001] * 300)
    for start in (31.0, 32.0, 33.0):
        assert latency.mean_s < 0.003
        for number in range(5):
            latency.learn(start + number * 0.01, start + 0.5)
    assert latency.mean_s == pytest.approx(0.5, rel=0.1)


def test_what_varies_as_much_is_not_slow():
    chance = Random(1)
    latency = learnt(*(chance.expovariate(1 / 0.2) for _ in range(2000)), every_s=1.0)
    assert latency.mean_s == pytest.approx(0.2, rel=0.4)
    # The mean distance of an exponential law is 2 / e of its mean.
    assert latency.spread_s == pytest.approx(0.2 * 2 / 2.718, rel=0.5)


@pytest.mark.parametrize(("spread_s", "waiting", "late_s"), [(0.0, 1, STALL_S), (0.1, 1, 0.3)])
def test_a_request_is_late_beyond_the_spread(spread_s, waiting, late_s):
    latency = learnt(0.2, 0.2, 0.2)
    latency.spread_s = spread_s
    assert not latency.is_late(0.2 + late_s - 0.001, waiting)
    assert latency.is_late(0.2 + late_s + 0.001, waiting)


def test_the_oldest_of_many_is_late_later():
    latency = learnt(0.2, 0.2, 0.2)
    latency.spread_s = 0.1
    assert latency.is_late(0.6, 1)
    assert not latency.is_late(0.6, 20)


def test_equal_ones_rarely_differ():
    apart = 0
    for seed in range(400):
        chance = Random(seed)
        one, other = (learnt(*(chance.expovariate(5.0) for _ in range(40))) for _ in range(2))
        apart += one.differs(other, abs(one.mean_s - other.mean_s))
    # 0.3 % by the normal law; more than 6 of 400 come once in 3,000 times.
    assert apart <= 6


def test_unequal_ones_differ():
    slow, fast = learnt(*[0.030] * 20), learnt(*[0.001] * 20)
    assert slow.differs(fast, slow.mean_s - fast.mean_s)


def test_what_a_request_took_is_divided_by_its_cost():
    latency = learnt(*[0.01] * 50)
    latency.learn(6.0, 6.5, cost=50)
    assert latency.mean_s == pytest.approx(0.01)
    assert learnt(*[0.5] * 9, cost=50).mean_s == pytest.approx(0.01)
