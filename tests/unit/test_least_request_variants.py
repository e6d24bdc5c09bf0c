"""Least request over all, and by weight and bias."""

from collections import Counter
from random import Random

import pytest

from trimtab import ConfigurationError, Instance
from trimtab.member import Member
from trimtab.strategies import WeightedLeastRequest
from trimtab.strategies.weighted_least_request import LeastRequestFullScan


class Scripted(Random):
    """A generator that always draws the same."""

    def __init__(self, value):
        super().__init__(0)
        self.value = value

    def random(self):
        return self.value


def members(*weights):
    return [
        Member(Instance(host="10.0.0.1", port=n + 1, id="abcdefghij"[n], weight=w), 0.0)
        for n, w in enumerate(weights)
    ]


def word(strategy, length, exclude=()):
    return "".join(strategy.choose(0.0, None, exclude).id for _ in range(length))


# Full scan


def test_a_full_scan_finds_the_least_busy_always():
    everyone, strategy = members(*[1] * 8), LeastRequestFullScan(Random(1))
    strategy.update(everyone)
    for number, member in enumerate(everyone):
        member.in_flight = 5 + (number * 3) % 8
    assert word(strategy, 20) == "a" * 20
    assert word(strategy, 20, exclude=("a",)) == "d" * 20


def test_a_full_scan_counts_per_weight():
    everyone, strategy = members(4, 1), LeastRequestFullScan(Random(1))
    strategy.update(everyone)
    everyone[0].in_flight, everyone[1].in_flight = 4, 2
    assert word(strategy, 20) == "a" * 20
    everyone[0].in_flight = 12
    assert word(strategy, 20) == "b" * 20


def test_every_tie_is_as_likely_and_the_last_is_asked_first():
    everyone, strategy = members(1, 1, 1), LeastRequestFullScan(Random(1))
    strategy.update(everyone)
    counts = Counter(word(strategy, 6000))
    assert all(abs(counts[id_] - 2000) < 6 * 37 for id_ in "abc")
    for value, chosen in ((0.0, "c"), (0.4, "b"), (0.99, "a")):
        strategy = LeastRequestFullScan(Scripted(value))
        strategy.update(everyone)
        assert word(strategy, 1) == chosen


def test_a_full_scan_survives_loads_beyond_the_floats():
    everyone, strategy = members(5e-324, 5e-324), LeastRequestFullScan(Random(1))
    strategy.update(everyone)
    everyone[0].in_flight = everyone[1].in_flight = 3
    assert set(word(strategy, 20)) <= set("ab")
    assert word(strategy, 5, exclude=("a",)) == "bbbbb"


# By weight and bias


def deadlines(*weights, bias=1.0, seed=1):
    strategy = WeightedLeastRequest(bias=bias)(Random(seed))
    everyone = members(*weights)
    strategy.update(everyone)
    return strategy, everyone


def test_idle_members_take_turns_exactly_by_weight():
    strategy, _ = deadlines(5, 1, 2)
    for _ in range(10):
        assert Counter(word(strategy, 8)) == {"a": 5, "b": 1, "c": 2}


@pytest.mark.parametrize(("bias", "shares"), [(0, (4, 4)), (1, (1, 4)), (2, (1, 16))])
def test_requests_in_flight_make_lighter_by_the_bias(bias, shares):
    strategy, (busy, _) = deadlines(1, 1, bias=bias)
    busy.in_flight = 3
    word(strategy, 40)  # what was dealt before
    counts = Counter(word(strategy, 100 * sum(shares)))
    assert abs(counts["a"] - 100 * shares[0]) <= 1


def test_turns_begin_anywhere():
    assert {word(deadlines(1, 1, 1, seed=seed)[0], 1) for seed in range(40)} == set("abc")


def test_ties_go_to_who_has_waited_longest():
    strategy = WeightedLeastRequest()(Scripted(0.0))
    strategy.update(members(1, 1, 1))
    assert word(strategy, 7) == "abcabca"


def test_an_update_leaves_the_turns_where_they_are():
    strategy, everyone = deadlines(1, 1, 1, 1, seed=3)
    first = word(strategy, 2)
    strategy.update(everyone[::-1])
    assert set(first + word(strategy, 2)) == set("abcd")


def test_who_has_grown_need_not_wait_as_long_as_before():
    strategy = WeightedLeastRequest()(Scripted(0.99))
    everyone = members(1, 0.001)
    strategy.update(everyone)
    assert word(strategy, 50) == "a" * 50
    everyone[1].weight = 1.0
    strategy.update(everyone)
    assert Counter(word(strategy, 10)) == {"a": 5, "b": 5}


def test_an_empty_list_between_two_is_survived():
    strategy, everyone = deadlines(1, 1)
    strategy.update([])
    strategy.update(everyone)
    assert set(word(strategy, 2)) == {"a", "b"}


def test_who_weighs_next_to_nothing_is_still_found():
    strategy, _ = deadlines(1.0, 5e-324)
    assert word(strategy, 5, exclude=("a",)) == "bbbbb"
    assert word(strategy, 20) == "a" * 20


@pytest.mark.parametrize("bias", [-0.1, 10.5, float("nan"), "1"])
def test_a_bias_out_of_range_is_refused(bias):
    with pytest.raises(ConfigurationError, match=r"bias is .*; it must be 0 to 10"):
        WeightedLeastRequest(bias=bias)


def test_it_has_its_text_for_a_name():
    assert WeightedLeastRequest(bias=0.5).__name__ == "weighted_least_request(bias=0.5)"
