"""Prequal's probe pool: who is chosen, how long a probe lasts, who is thrown out."""

from collections import Counter
from math import inf
from random import Random

import pytest

from trimtab import ConfigurationError
from trimtab.strategies.prequal import Prequal, ProbePool, reuse_budget

KEEP = {"removals_per_query": 0.0}


def pool(*probes, now=0.0, **settings):
    """Make a pool of (id, requests in flight, latency), of a thousand instances."""
    made = ProbePool(Random(1), Prequal(**settings))
    for id_, in_flight, latency_s in probes:
        made.add(id_, now, in_flight=in_flight, latency_s=latency_s, instances=1000)
    return made


def held(made):
    return [probe.id for probe in made._probes]


def test_of_the_cold_the_fastest_is_chosen():
    # The 0.84 quantile of 0, 1, 2, 9 is 9 by rank; of these only more than that is hot.
    made = pool(("a", 0, 0.3), ("b", 1, 0.1), ("c", 2, 0.2), ("d", 9, 0.01), hot_quantile=0.75)
    assert made.hot_above == 2
    assert made.choose(0.0) == "b"


def test_of_the_hot_the_least_busy_is_chosen():
    made = pool(("a", 5, 0.1), ("b", 3, 0.9), ("c", 4, 0.01), hot_quantile=0)
    assert made.hot_above == -1
    assert made.choose(0.0) == "b"


def test_with_a_quantile_of_one_latency_decides_alone():
    made = pool(("a", 0, 0.3), ("b", 99, 0.1), hot_quantile=1)
    assert made.hot_above == inf
    assert made.choose(0.0) == "b"


def test_what_it_is_chosen_for_counts_in_flight():
    made = pool(("a", 1, 0.1), ("b", 2, 0.2), **KEEP)
    made._in_flight.extend([1] * 50)  # most have one
    for _ in range(2):
        made._probes[0].uses_left = 9
        made.choose(0.0)
    assert [(probe.id, probe.in_flight) for probe in made._probes] == [("a", 3), ("b", 2)]


def test_with_fewer_than_two_probes_the_caller_draws():
    assert pool().choose(0.0) is None
    assert pool(("a", 0, 0.1)).choose(0.0) is None
    made = pool(("a", 0, 0.1), ("b", 0, 0.2))
    assert made.choose(0.0, exclude=("a",)) is None
    assert held(made) == ["a", "b"]


def test_the_excluded_are_not_chosen():
    made = pool(("a", 0, 0.1), ("b", 0, 0.2), ("c", 0, 0.3))
    assert made.choose(0.0, exclude=("a",)) == "b"


def test_probes_age():
    made = pool(("a", 0, 0.1), ("b", 0, 0.2))
    made.add("c", 0.5, in_flight=0, latency_s=0.3, instances=1000)
    made.add("d", 0.6, in_flight=0, latency_s=0.4, instances=1000)
    assert made.choose(1.0) == "a"
    made.choose(1.01)
    assert set(held(made)) <= {"c", "d"}


def test_the_pool_holds_sixteen_and_lets_the_oldest_go():
    made = pool(*((str(number), 0, 0.1) for number in range(20)))
    assert held(made) == [str(number) for number in range(4, 20)]
    assert len(made) == 16


def test_a_newer_probe_replaces_the_older_of_its_instance():
    made = pool(("a", 0, 0.1), ("b", 0, 0.2), ("a", 7, 0.5))
    assert [(probe.id, probe.in_flight) for probe in made._probes] == [("b", 0), ("a", 7)]


def test_the_oldest_and_the_worst_are_removed_in_turn():
    # c is used up at once: with a thousand instances a probe is used once.
    made = pool(("a", 0, 0.2), ("b", 0, 0.9), ("c", 0, 0.1), ("d", 0, 0.3), ("e", 0, 0.4), delta=0)
    assert made.choose(0.0) == "c"
    assert held(made) == ["b", "d", "e"]  # a was the oldest
    assert made.choose(0.0) == "d"
    assert held(made) == ["e"]  # b was the slowest


def test_a_hot_probe_is_worse_than_any_slow_one():
    made = pool(("a", 0, 0.9), ("b", 5, 0.1), ("c", 0, 0.2), hot_quantile=0.5)
    made._removes_worst = True
    made._remove_one()
    assert held(made) == ["a", "c"]


def test_nothing_is_removed_from_nothing():
    made = pool()
    made._remove_one()
    assert len(made) == 0


def test_a_probe_is_used_as_often_as_its_budget_says():
    made = pool(("a", 0, 0.1), ("b", 0, 0.2), pool_size=2, **KEEP, probes_per_query=0.5, delta=1)
    assert reuse_budget(1000, made.settings) == pytest.approx(4.008, abs=0.001)
    made._in_flight.extend([9] * 50)
    assert Counter(made.choose(0.0) for _ in range(5))["a"] in {4, 5}


def test_fractions_are_kept_on_average():
    made = ProbePool(Random(5), Prequal(probes_per_query=1.3))
    ids = [str(number) for number in range(10)]
    asked = [made.targets(ids) for _ in range(5000)]
    assert {len(targets) for targets in asked} == {1, 2}
    assert abs(sum(map(len, asked)) - 6500) < 6 * 33
    assert all(len(set(targets)) == len(targets) for targets in asked)
    assert ProbePool(Random(1)).targets(["a"]) == ["a"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pool_size": 1}, "pool_size is 1; it must be 2 or more"),
        ({"probes_per_query": -1}, "probes_per_query is -1; it must be 0 or more"),
        ({"max_age_s": inf}, "max_age_s is inf"),
        ({"hot_quantile": 1.1}, "hot_quantile is 1.1; it must be 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        Prequal(**settings)
