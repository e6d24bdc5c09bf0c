"""Shares of picks against their closed forms, by chi-square.

Every test rejects a right strategy once in a million runs (p = 1e-6), were its seed not fixed;
the seed is part of each failure message.
"""

from collections import Counter
from itertools import permutations
from random import Random

import pytest
from scipy.stats import chi2

from trimtab import Instance, Pool
from trimtab.member import Member
from trimtab.strategies import ZoneAware

ERROR_PROBABILITY = 1e-6
SEEDS = (1, 2, 3)


def pool_of(strategy, weights, seed):
    pool = Pool(strategy=strategy, rng=Random(f"{seed}/{strategy}"))
    pool.update(
        [Instance(host="a", port=1 + n, id=str(n), weight=w) for n, w in enumerate(weights)], 0.0
    )
    return pool


def assert_fits(counts, chances, seed):
    """Reject if the counts are further from the chances than one case in a million."""
    total = sum(counts.values())
    assert set(counts) <= set(chances)
    distance = sum((counts[what] - total * p) ** 2 / (total * p) for what, p in chances.items())
    limit = chi2.isf(ERROR_PROBABILITY, len(chances) - 1)
    assert distance <= limit, f"seed {seed}: chi2 {distance:.1f} > {limit:.1f}: {counts}"


def idle_picks(pool, picks):
    """Count picks of calls that follow one another and each take 10 ms of no time."""
    for id_ in pool.members:  # everyone is known before it counts
        pool.pick(0.0, exclude=[other for other in pool.members if other != id_]).done(
            0.01, "success"
        )
    counts = Counter()
    for _ in range(picks):
        pick = pool.pick(0.01)
        pick.done(0.01, "cancelled")
        counts[pick.instance.id] += 1
    return counts


def shares(weights):
    return {str(number): weight / sum(weights) for number, weight in enumerate(weights)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "strategy", ["random", "least_request", "least_request_full_scan", "least_latency"]
)
def test_equal_and_idle_members_share_evenly(strategy, seed):
    pool = pool_of(strategy, [1.0] * 10, seed)
    assert_fits(idle_picks(pool, 20_000), shares([1] * 10), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "strategy", ["weighted_random", "least_request", "least_request_full_scan", "least_latency"]
)
@pytest.mark.parametrize("weights", [[1, 2, 3, 4], [10, 1, 1], [0.3, 0.3, 0.4], [1000, 1, 1, 1]])
def test_idle_members_share_by_weight(strategy, weights, seed):
    pool = pool_of(strategy, weights, seed)
    assert_fits(idle_picks(pool, 20_000), shares(weights), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_ignores_weights(seed):
    assert_fits(idle_picks(pool_of("random", [9, 1, 1], seed), 20_000), shares([1, 1, 1]), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_consecutive_random_picks_are_independent(seed):
    pool, pairs = pool_of("random", [1] * 4, seed), Counter()
    for _ in range(20_000):
        pairs[pool.pick(0.0).instance.id + pool.pick(0.0).instance.id] += 1
    assert_fits(pairs, {a + b: 1 / 16 for a in "0123" for b in "0123"}, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_n_members_the_busiest_is_never_and_the_others_are_as_pairs_have_it(seed):
    """With in-flight 0, 1, 2, 3: member k wins all pairs with busier ones, 2(n-1-k)/(n(n-1))."""
    pool = pool_of("least_request", [1] * 4, seed)
    for number in range(4):
        for _ in range(number):
            pool.pick(0.0, exclude=[str(other) for other in range(4) if other != number])
    counts = Counter()
    for _ in range(20_000):
        pick = pool.pick(0.0)
        pick.done(0.0, "cancelled")
        counts[pick.instance.id] += 1
    assert counts["3"] == 0
    assert_fits(counts, {str(k): 2 * (3 - k) / (4 * 3) for k in range(3)}, seed)


@pytest.mark.parametrize(
    "strategy", ["random", "weighted_random", "least_request", "least_request_full_scan"]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_retries_share_among_the_rest_by_the_same_rule(strategy, seed):
    weights = [5.0, 1.0, 2.0, 3.0] if strategy != "random" else [1.0] * 4
    pool, counts = pool_of(strategy, weights, seed), Counter()
    for _ in range(20_000):
        pick = pool.pick(0.0, exclude=["0"])
        pick.done(0.0, "cancelled")
        counts[pick.instance.id] += 1
    rest = sum(weights[1:])
    assert_fits(counts, {str(n): weights[n] / rest for n in (1, 2, 3)}, seed)


@pytest.mark.parametrize(
    "strategy",
    [
        "round_robin",
        "weighted_round_robin",
        "weighted_least_request",
        "client_side_weighted_round_robin",
    ],
)
def test_a_fleet_of_clients_starts_everywhere_alike(strategy):
    counts = Counter(
        pool_of(strategy, [1] * 6, seed).pick(0.0).instance.id for seed in range(6_000)
    )
    assert_fits(counts, shares([1] * 6), "0 to 5999")


@pytest.mark.parametrize("seed", SEEDS)
def test_first_requests_of_many_clients_come_in_every_order(seed):
    """Three new members, three requests held open: P2C makes all six orders alike."""
    counts = Counter()
    for number in range(6_000):
        pool = pool_of("least_request", [1, 1, 1], f"{seed}/{number}")
        counts["".join(pool.pick(0.0).instance.id for _ in range(3))] += 1
    whole = {"".join(order) for order in permutations("012")}
    # The third finds the idle one only if it is in the pair: 2 of 3 times; else a tie of busy ones.
    orders = {order: count for order, count in counts.items() if order in whole}
    assert_fits(Counter(orders), dict.fromkeys(whole, 1 / 6), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("well", "shares_of_zones"),
    [
        (5, {"a": 0.7, "b": 0.1, "c": 0.2}),
        (1, {"a": 0.14, "b": 0.86 / 3, "c": 1.72 / 3}),
    ],
)
def test_requests_spill_over_in_proportion(well, shares_of_zones, seed):
    """Zone a of 10 instances, b of 10 and c of 20: 1.4 times the share of a that is well stays."""
    members = [
        Member(Instance(host=zone, port=1 + n, zone=zone), 0.0)
        for zone, size in (("a", 10), ("b", 10), ("c", 20))
        for n in range(size)
    ]
    strategy = ZoneAware("a", inside="random")(Random(seed))
    strategy.update_all(members, members[:well] + members[10:])
    counts = Counter(strategy.choose(0.0, None, ()).instance.zone for _ in range(20_000))
    assert_fits(counts, shares_of_zones, seed)
