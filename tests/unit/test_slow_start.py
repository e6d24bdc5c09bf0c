"""Slow start: the curve, and who starts slowly, in a pool on a clock of plain numbers."""

from random import Random

import pytest

from trimtab import ConfigurationError, HealthSettings, Instance, Pool, SlowStart
from trimtab.health import EnvoyOutliers


def instances(*ids, **fields):
    return [Instance(host="10.0.0.1", port=80, id=id_, **fields) for id_ in ids]


@pytest.mark.parametrize(
    ("age_s", "aggression", "factor"),
    [
        # Envoy's own examples, over a window of 60 s.
        *[(15.0, 1.0, 0.25), (15.0, 2.0, 0.5), (0.0, 1.0, 0.1), (1.0, 1.0, 0.1)],
        *[(6.0, 1.0, 0.1), (6.6, 1.0, 0.11), (30.0, 1.0, 0.5), (59.4, 1.0, 0.99)],
        *[(60.0, 1.0, 1.0), (1e9, 1.0, 1.0), (0.0, 2.0, 60**-0.5), (0.9, 2.0, 60**-0.5)],
        *[(30.0, 0.5, 0.25), (15.0, 0.5, 0.1), (-5.0, 1.0, 0.1)],
    ],
)
def test_the_curve(age_s, aggression, factor):
    """`max(0.10, (max(t, 1)/window)^(1/aggression))`."""
    assert SlowStart(aggression=aggression).factor(age_s) == pytest.approx(factor)


def test_the_least_share():
    assert SlowStart(min_ratio=0.0).factor(0.0) == pytest.approx(1 / 60)
    assert SlowStart(min_ratio=0.3).factor(0.0) == 0.3
    assert SlowStart(min_ratio=1.0).factor(0.0) == 1.0


def test_a_window_below_a_second():
    assert SlowStart(window_s=0.5).factor(0.1) == 1.0
    assert SlowStart(window_s=1.0).factor(0.999) == 1.0


def test_steps_are_sixtieths_of_the_window():
    assert SlowStart().step_s == 1.0
    assert SlowStart(window_s=30.0).step_s == 0.5


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("window_s", (0, -1, float("nan"))),
        ("aggression", (0, -1, float("nan"))),
        ("min_ratio", (-0.1, 1.1, float("nan"))),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ConfigurationError, match=f"{name} is .*; it must be"):
            SlowStart(**{name: value})


# Who starts slowly


def pool_of(*ids, outliers=None, **settings):
    health = HealthSettings(slow_start=SlowStart(**settings), outliers=outliers)
    pool = Pool(strategy="round_robin", rng=Random(1), health=health)
    pool.update(instances(*ids), 0.0)
    return pool


def weights(pool, now):
    return {id_: each.weight for id_, each in pool.statistics(now).members.items()}


def test_the_first_list_is_established():
    assert weights(pool_of("a", "b"), 0.0) == {"a": 1, "b": 1}


def test_after_an_empty_list_all_are_established():
    pool = pool_of()
    pool.update(instances("a"), 5.0)
    assert weights(pool, 5.0) == {"a": 1}


def test_newcomers_grow_within_the_window():
    pool = pool_of("a")
    pool.update(instances("a", "b"), 100.0)
    got = [weights(pool, 100.0 + t)["b"] for t in (0, 6, 15, 30, 59, 60, 61)]
    assert got == pytest.approx([0.1, 0.1, 0.25, 0.5, 59 / 60, 1, 1])
    assert weights(pool, 200.0)["a"] == 1


def test_the_share_is_of_the_weight():
    pool = pool_of("a")
    pool.update([*instances("a"), *instances("b", weight=8.0)], 0.0)
    assert weights(pool, 30.0) == {"a": 1, "b": 4}


def test_picks_see_the_weight_grow():
    health = HealthSettings(slow_start=SlowStart())
    pool = Pool(strategy="weighted_round_robin", rng=Random(1), health=health)
    pool.update(instances("a"), 0.0)
    pool.update(instances("a", "b"), 0.0)
    shares = []
    for now in (0.0, 15.0, 60.0):
        picked = [pool.pick(now).instance.id for _ in range(220)]
        shares.append(picked.count("b") / 220)
    assert shares == pytest.approx([1 / 11, 1 / 5, 1 / 2], abs=0.01)


def test_who_leaves_and_comes_back_starts_again():
    pool = pool_of("a", "b")
    pool.update(instances("a"), 10.0)
    pool.update(instances("a", "b"), 20.0)
    assert weights(pool, 35.0) == {"a": 1, "b": 0.25}
    pool.update(instances("a"), 40.0)
    pool.update(instances("a", "b"), 41.0)
    assert weights(pool, 41.0)["b"] == pytest.approx(0.1)


def test_an_update_does_not_begin_it_again():
    pool = pool_of("a")
    pool.update(instances("a", "b"), 0.0)
    pool.update(instances("a", "b", weight=2.0), 10.0)
    assert weights(pool, 30.0) == {"a": 2, "b": 1}


@pytest.mark.parametrize("fields", [{"status": "critical"}, {"status": "draining"}, {"weight": 0}])
def test_who_becomes_eligible_again_starts_slowly(fields):
    pool = pool_of("a", "b")
    pool.update([*instances("a"), *instances("b", **fields)], 10.0)
    pool.update(instances("a", "b"), 100.0)
    assert weights(pool, 100.0) == {"a": 1, "b": 0.1}
    assert weights(pool, 115.0)["b"] == 0.25
    assert weights(pool, 160.0)["b"] == 1


def test_who_returns_from_an_ejection_starts_slowly():
    pool = pool_of("a", "b", "c", outliers=EnvoyOutliers(max_ejected_ratio=0.5))
    for _ in range(5):
        pick = pool.pick(0.0, exclude=("b", "c"))
        pick.answered(0.0, ok=False, status=500)
        pick.done(0.0, "failure")
    assert pool.statistics(1.0).members["a"].reason == "ejected"
    assert weights(pool, 30.0) == {"a": 0.1, "b": 1, "c": 1}
    assert weights(pool, 45.0)["a"] == 0.25


def test_who_returns_from_a_pause_starts_slowly():
    pool = pool_of("a", "b", "c")
    pool.pause("a", 10.0, 0.0)
    assert pool.statistics(9.0).members["a"].reason == "asked to wait"
    assert weights(pool, 10.0) == {"a": 0.1, "b": 1, "c": 1}
    assert weights(pool, 25.0)["a"] == 0.25
    assert weights(pool, 70.0)["a"] == 1


def test_between_steps_weights_stand():
    pool = pool_of("a", window_s=60.0)
    pool.update(instances("a", "b"), 0.0)
    assert weights(pool, 10.0)["b"] == pytest.approx(10 / 60)
    assert weights(pool, 10.9)["b"] == pytest.approx(10 / 60)
    assert weights(pool, 11.0)["b"] == pytest.approx(11 / 60)


def test_without_it_all_come_at_once():
    pool = Pool(strategy="round_robin", rng=Random(1))
    pool.update(instances("a"), 0.0)
    pool.update(instances("a", "b"), 1.0)
    assert weights(pool, 1.0) == {"a": 1, "b": 1}
