"""gRPC A58: weights from load reports, and turns from weights."""

from collections import Counter
from itertools import count
from random import Random

import pytest

from trimtab import ConfigurationError, Instance
from trimtab.member import Member
from trimtab.strategies import ClientSideWeightedRoundRobin, LoadReport
from trimtab.strategies.client_side_weighted_round_robin import (
    ReportedWeight,
    StaticStride,
    weight_of,
)


def picks(weights, length, start=0):
    turns, number = StaticStride(weights), count(start).__next__
    return [turns.pick(number) for _ in range(length)]


def members(size):
    return [Member(Instance(host="a", port=n + 1, id="abcdefghij"[n]), 0.0) for n in range(size)]


def strategy_of(size, **settings):
    strategy = ClientSideWeightedRoundRobin(**settings)(Random(1))
    strategy.update(members(size))
    return strategy


def load(weight):
    """Report what gives this weight."""
    return LoadReport(qps=weight, utilization=1.0)


def tally(strategy, now, length=600):
    return Counter(strategy.choose(now, None, ()).id for _ in range(length))


# Static stride


def test_a_generation_of_each_weight_is_dealt_exactly():
    assert Counter(picks([1, 2, 3], 6)) == {0: 1, 1: 2, 2: 3}
    assert Counter(picks([1, 2, 3], 2 * 65_535)) == {0: 21_845, 1: 43_690, 2: 65_535}


def test_the_unknown_count_as_the_mean():
    assert Counter(picks([3, 0, 1], 6)) == {0: 3, 1: 2, 2: 1}


@pytest.mark.parametrize("weights", [[300, 300, 0], [0, 0, 0], [0, 5, 0], [1e-320] * 3])
def test_equal_or_unknown_weights_are_a_round_robin(weights):
    assert picks(weights, 9, start=3) == [0, 1, 2] * 3


def test_nobody_counts_for_more_than_ten_times_the_mean():
    assert Counter(picks([81, *[1] * 19], 69)) == {0: 50} | dict.fromkeys(range(1, 20), 1)


def test_nobody_counts_for_less_than_a_hundredth_of_the_mean():
    assert Counter(picks([100, 1e-10], 201)) == {0: 200, 1: 1}
    assert Counter(picks([1.7e308, 5e-324], 201)) == {0: 200, 1: 1}


def test_neighbours_of_one_weight_pass_in_different_generations():
    weights = [1.0, 0.8, 0.8, 0.8]
    order = "".join(map(str, picks(weights, 3400)))
    assert "00" not in order


# Weights


@pytest.mark.parametrize(
    ("report", "penalty", "weight"),
    [
        (LoadReport(qps=100, utilization=0.5), 1.0, 200.0),
        (LoadReport(qps=100, eps=50, utilization=0.5), 1.0, 100.0),
        (LoadReport(qps=100, eps=50, utilization=0.5), 0.0, 200.0),
        (LoadReport(qps=100, eps=50, utilization=0.5), 3.0, 50.0),
        (LoadReport(qps=0, eps=50, utilization=0.5), 1.0, 0.0),
        (LoadReport(qps=100, eps=50, utilization=0.0), 1.0, 0.0),
    ],
)
def test_a_weight_is_the_rate_at_full_use(report, penalty, weight):
    assert weight_of(report, penalty) == pytest.approx(weight)


def test_a_weight_is_usable_after_the_blackout_and_until_it_expires():
    weight, times = ReportedWeight(), {"blackout_s": 10.0, "expiration_s": 180.0}
    assert weight.usable(0.0, **times) == 0.0
    weight.update(5.0, 100.0)
    assert weight.usable(109.9, **times) == 0.0
    assert weight.usable(110.0, **times) == 5.0
    weight.update(0.0, 111.0)  # no news
    assert weight.usable(279.9, **times) == 5.0
    assert weight.usable(280.0, **times) == 0.0
    weight.update(7.0, 281.0)
    assert weight.usable(290.9, **times) == 0.0
    assert weight.usable(291.0, **times) == 7.0


def test_without_a_blackout_the_first_report_counts():
    weight = ReportedWeight()
    weight.update(5.0, 1.0)
    assert weight.usable(1.0, blackout_s=0.0, expiration_s=180.0) == 5.0


# The strategy


def test_turns_follow_the_reports_after_the_blackout():
    strategy = strategy_of(3)
    for member_id, weight in (("a", 1), ("b", 2), ("c", 3)):
        strategy.report(member_id, load(weight), 0.0)
    assert tally(strategy, 9.9) == {"a": 200, "b": 200, "c": 200}
    counts = tally(strategy, 10.9)
    assert all(abs(counts[id_] - wanted) <= 2 for id_, wanted in zip("abc", (100, 200, 300)))  # noqa: B905


def test_a_utilization_without_a_rate_counts_too():
    """vLLM reports no rate (vllm issue #24905)."""
    strategy = strategy_of(3, blackout_s=0.0)
    for member_id, utilization in (("a", 0.9), ("b", 0.45), ("c", 0.3)):
        strategy.report(member_id, LoadReport(qps=0.0, utilization=utilization), 0.0)
    counts = tally(strategy, 1.0)
    assert all(abs(counts[id_] - wanted) <= 2 for id_, wanted in zip("abc", (100, 200, 300)))  # noqa: B905
    # Beside one that reports a rate, it counts as if it had that rate.
    strategy.report("a", LoadReport(qps=10.0, utilization=0.9), 1.0)
    counts = tally(strategy, 3.0)
    assert all(abs(counts[id_] - wanted) <= 2 for id_, wanted in zip("abc", (100, 200, 300)))  # noqa: B905
    # One that is idle, or says nothing, keeps its weight.
    strategy.report("c", LoadReport(qps=0.0, utilization=0.0), 4.0)
    assert abs(tally(strategy, 5.0)["c"] - 300) <= 2


def test_who_says_nothing_gets_the_mean_and_one_word_is_too_few():
    strategy = strategy_of(3, blackout_s=0.0)
    strategy.report("a", load(3), 0.0)
    assert tally(strategy, 1.0) == {"a": 200, "b": 200, "c": 200}
    strategy.report("c", load(1), 1.0)
    counts = tally(strategy, 2.0)
    assert all(abs(counts[id_] - wanted) <= 2 for id_, wanted in zip("abc", (300, 200, 100)))  # noqa: B905


def test_turns_are_dealt_anew_once_a_second():
    strategy = strategy_of(2, blackout_s=0.0)
    strategy.report("a", load(1), 0.0)
    strategy.report("b", load(1), 0.0)
    strategy.choose(0.0, None, ())
    strategy.report("b", load(3), 0.1)
    assert tally(strategy, 0.9) == {"a": 300, "b": 300}
    assert abs(tally(strategy, 1.0)["b"] - 450) <= 2


def test_reports_expire():
    strategy = strategy_of(2, blackout_s=0.0)
    strategy.report("a", load(1), 0.0)
    strategy.report("b", load(3), 0.0)
    assert abs(tally(strategy, 179.0)["b"] - 450) <= 2
    assert tally(strategy, 180.0) == {"a": 300, "b": 300}


def test_who_stays_keeps_its_weight_and_who_returns_does_not():
    strategy = strategy_of(2, blackout_s=0.0)
    strategy.report("a", load(1), 0.0)
    strategy.report("b", load(3), 0.0)
    strategy.report("z", load(9), 0.0)  # a stranger
    strategy.choose(1.0, None, ())
    strategy.update(members(2))
    assert abs(tally(strategy, 1.0)["b"] - 450) <= 2
    strategy.update(members(1))
    strategy.update(members(2))
    assert tally(strategy, 2.0) == {"a": 300, "b": 300}


def test_fleets_do_not_march_in_step():
    starts = set()
    for seed in range(60):
        strategy = ClientSideWeightedRoundRobin()(Random(seed))
        strategy.update(members(4))
        starts.add(strategy.choose(0.0, None, ()).id)
    assert starts == set("abcd")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"blackout_s": -1}, "blackout_s is -1; it must be 0 or more"),
        ({"expiration_s": None}, "expiration_s is None"),
        ({"update_s": 0.05}, "update_s is 0.05; it must be 0.1 or more"),
        ({"error_penalty": -0.1}, "error_penalty is -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        ClientSideWeightedRoundRobin(**settings)


def test_it_has_its_text_for_a_name():
    name = ClientSideWeightedRoundRobin(blackout_s=5.0).__name__
    assert name == "client_side_weighted_round_robin(blackout_s=5.0)"
