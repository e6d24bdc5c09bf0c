"""Golden rows of selection: what the field's own specifications, papers and tests say.

Each test names its source. Where a figure stands in the source's own tests or documents, it is
taken over as it stands; where only a formula does, the row is that formula worked out by hand.
"""

from collections import Counter
from itertools import count
from random import Random

import pytest

from trimtab import Instance, NoEligibleInstanceError, Pool
from trimtab.member import Member
from trimtab.pool import Pick
from trimtab.strategies import (
    ClientSideWeightedRoundRobin,
    LoadReport,
    Maglev,
    RingHash,
    WeightedLeastRequest,
)
from trimtab.strategies.client_side_weighted_round_robin import StaticStride, weight_of
from trimtab.strategies.groups import availability, priority_loads
from trimtab.strategies.maglev import MaglevTable
from trimtab.strategies.ring_hash import Ring
from trimtab.strategies.two_choices import LeastLatency
from trimtab.strategies.zone_aware import locality_weight
from trimtab.subsetting import DeterministicAperture, DeterministicSubset, RandomSubset


class Zero(Random):
    """Starts everything at its beginning."""

    def random(self):
        return 0.0


def instances(*weights):
    return [
        Instance(host="10.0.0.1", port=n + 1, id="abcdefghijkl"[n], weight=w)
        for n, w in enumerate(weights)
    ]


def pool_of(strategy, *weights, rng=None):
    pool = Pool(strategy=strategy, rng=rng or Random(1))
    pool.update(instances(*weights), 0.0)
    return pool


def word(pool, length):
    picked = []
    for _ in range(length):
        pick = pool.pick(0.0)
        pick.done(0.0, "cancelled")
        picked.append(pick.instance.id)
    return "".join(picked)


def addresses(*ports):
    return tuple(f"127.0.0.1:{port}" for port in ports)


def fleet(size):
    return [Instance(host=f"10.0.{n // 250}.{n % 250}", port=80) for n in range(size)]


# The power of two choices


def test_the_busier_of_two_gets_nothing():
    """Envoy issue #11004: drawing with replacement sends it 25 %."""
    pool = pool_of("least_request", 1, 1)
    busy = pool.pick(0.0)
    assert busy.instance.id not in word(pool, 1000)


def test_two_distinct_are_drawn_however_the_dice_fall():
    """`b = rand(n-1); b += b >= a`: equal draws give neighbours, never one twice."""

    class Dice(Random):
        draws = iter([0.5, 0.5, 0.0, 0.0, 0.99, 0.99] * 2)

        def random(self):
            return next(self.draws)

    seen = []
    pool = pool_of("least_request", 1, 1, 1, rng=Dice())
    pool._strategy.cost = lambda member, now: seen.append(member.id) or 0.0
    for _ in range(3):
        pool.pick(0.0)
    assert [set(seen[place : place + 2]) for place in (0, 2, 4)] == [
        {"b", "c"}, {"a", "b"}, {"b", "c"}
    ]  # fmt: skip


# Least latency


def answers(member, rtt, now, count=1):
    for _ in range(count):
        pick = Pick(member, now - rtt)
        member.in_flight -= 1
        member.answer(pick, now, ok=True)


def test_the_time_constant_is_ten_seconds():
    """Finagle `PeakEwma`: tau 10 s."""
    (instance,) = instances(1)
    member = Member(instance, 0.0)
    answers(member, 0.2, 1.0, count=3)
    assert member.latency.mean_s == pytest.approx(0.2)
    answers(member, 0.1, 11.0)
    assert member.latency.mean_s == pytest.approx(0.2 * 0.36787944 + 0.1 * 0.63212056)


def test_a_slower_one_is_chosen_only_when_the_faster_ones_queue_is_longer():
    """Finagle `PeakEwma`: the latency, here squared, times the queue."""
    slow, fast = (Member(instance, 0.0) for instance in instances(1, 1))
    answers(slow, 0.3, 1.0, count=3)
    answers(fast, 0.1, 1.0, count=3)
    slow.picked_at = slow.fleet.picks
    strategy = LeastLatency(Random(1))
    strategy.update([slow, fast])
    for in_flight, chosen in ((0, fast), (1, fast), (7, fast), (9, slow)):
        fast.in_flight = in_flight
        assert strategy.choose(1.0, None, ()) is chosen


def test_fast_failures_do_not_attract_traffic():
    """linkerd2 issues #5017, #11493."""
    pool = pool_of("least_latency", 1, 1)
    for number in range(20):
        pool.pick(number * 0.1).done(number * 0.1 + 0.1, "success")
    pool.pick(2.0, exclude=["b"]).done(2.001, "failure")
    for number in range(15):
        now = 2.001 + number * 0.02
        pick = pool.pick(now)
        assert pick.instance.id == "b"
        pick.done(now + 0.02, "success")


# Least request


@pytest.mark.parametrize(
    ("bias", "in_flight", "weight"), [(1.0, 1, 0.5), (1.0, 3, 0.25), (2.0, 1, 0.25), (0.0, 9, 1.0)]
)
def test_a_busy_instance_is_lighter(bias, in_flight, weight):
    """Envoy: `weight / (active + 1)^bias`; a turn comes every 1 / weight."""
    member = Member(instances(1)[0], 0.0)
    member.in_flight = in_flight
    assert WeightedLeastRequest(bias=bias)(Random(1))._period(member) == 1 / weight


# Round robin


def test_any_n_consecutive_picks_are_all_n():
    picked = word(pool_of("round_robin", 9, 1, 1, 1), 30)
    assert all(set(picked[place : place + 4]) == set("abcd") for place in range(27))


def test_five_one_one_is_smooth():
    """nginx `ngx_http_upstream_get_peer`."""
    assert word(pool_of("weighted_round_robin", 5, 1, 1, rng=Zero()), 14) == "aabacaa" * 2


@pytest.mark.parametrize("strategy", ["least_latency", "random", "ring_hash", "maglev"])
def test_weight_0_means_no_traffic(strategy):
    """kratos PR #3831 and kitex issue #1393 show the opposite surprising people."""
    assert "b" not in word(pool_of(strategy, 1, 0, 1), 200)
    with pytest.raises(NoEligibleInstanceError, match="weight 0"):
        pool_of(strategy, 0, 0).pick(0.0)


# gRPC A58


@pytest.mark.parametrize(
    ("qps", "eps", "utilization", "weight"),
    [(100, 0, 0.5, 200), (100, 0, 1.25, 80), (100, 25, 0.75, 100), (0, 9, 0.5, 0), (9, 9, 0, 0)],
)
def test_a_weight_is_qps_by_utilization_and_errors(qps, eps, utilization, weight):
    assert weight_of(LoadReport(qps=qps, eps=eps, utilization=utilization), 1.0) == weight


def test_blackout_expiration_and_update_have_the_defaults_of_a58():
    settings = ClientSideWeightedRoundRobin()
    assert (settings.blackout_s, settings.expiration_s, settings.update_s) == (10.0, 180.0, 1.0)
    assert settings.error_penalty == 1.0


@pytest.mark.parametrize(
    ("weights", "length", "picks"),
    [
        ([1, 2, 3], 6, [1, 2, 3]),  # PicksAreWeightedExactly
        ([3, 0, 1], 6, [3, 2, 1]),  # ZeroWeightUsesMean
        ([300, 300, 0], 3, [1, 1, 1]),  # AllWeightsEqualIsRoundRobin
        ([81, *[1] * 19], 69, [50, *[1] * 19]),  # MaxIsClampedForHighRatio
        ([100, 1e-10], 201, [200, 1]),  # MinIsClampedForHighRatio
        ([0, 7, 0, 0], 8, [2, 2, 2, 2]),  # fewer than two usable: plain round robin
    ],
)
def test_static_stride_deals_as_grpc_tests_it(weights, length, picks):
    """gRPC `static_stride_scheduler_test.cc`."""
    turns, number = StaticStride(weights), count().__next__
    dealt = Counter(turns.pick(number) for _ in range(length))
    assert [dealt[place] for place in range(len(weights))] == picks


def test_the_greatest_weight_has_every_generation():
    """gRPC `LargestIsPickedEveryGeneration`."""
    turns, number = StaticStride([1, 2, 3]), count().__next__
    dealt = Counter(turns.pick(number) for _ in range(2 * 65_535))
    assert dealt[2] == 65_535


def test_who_is_passed_over_is_worked_out_from_65535():
    """`mod = (w * gen + i * 32767) % 65535`; passed over while `mod < 65535 - w`."""
    turns = StaticStride([1, 2])
    assert turns.weights == [32_768, 65_535]
    passed = [
        (32_768 * generation + 0 * 32_767) % 65_535 < 65_535 - 32_768 for generation in range(5)
    ]
    assert passed == [True, False, True, False, True]
    number = count().__next__
    assert [turns.pick(number) for _ in range(7)] == [1, 0, 1, 1, 0, 1, 1]


# Ring hash


SIX = addresses(90, 91, 92, 93, 94, 95)


def test_the_ring_is_envoys():
    """Envoy `RingHashLoadBalancerTest.Basic`: XXH64 of `address_i`, two points each."""
    ring = Ring.of(SIX, (1.0,) * 6, min_size=12, max_size=12)
    assert list(zip(ring.owners, ring.points, strict=True)) == [
        (4, 833437586790550860), (2, 928266305478181108), (0, 1033482794131418490),
        (5, 3551244743356806947), (3, 3851675632748031481), (1, 5583722120771150861),
        (1, 6311230543546372928), (3, 7700377290971790572), (5, 13144177310400110813),
        (2, 13444792449719432967), (4, 15516499411664133160), (0, 16117243373044804889),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("point", "owner"),
    [
        (0, 4),
        (2**64 - 1, 4),  # beyond the last: around
        (3551244743356806947, 5),  # the first with hash >= h
        (3551244743356806948, 3),
        (16117243373044804880, 0),
    ],
)
def test_a_hash_belongs_to_the_first_point_not_before_it(point, owner):
    ring = Ring.of(SIX, (1.0,) * 6, min_size=12, max_size=12)
    assert ring.owner(point) == owner


def test_the_walk_goes_on_to_the_next_on_the_ring():
    """Envoy `BasicWithRetryHostPredicate`: 94, then 92, then 90; the 13th retry is 92 again."""
    walk = Ring.of(SIX, (1.0,) * 6, min_size=12, max_size=12).walk(0)
    steps = [next(walk) for _ in range(14)]
    assert steps[:3] == [4, 2, 0]
    assert steps[13] == 2


def test_a_minimum_of_three_for_two_is_four():
    """Envoy `UnevenHosts`."""
    ring = Ring.of(addresses(80, 81), (1.0, 1.0), min_size=3, max_size=8)
    assert list(zip(ring.owners, ring.points, strict=True)) == [
        (0, 5454692015285649509), (1, 7859399908942313493),
        (0, 13838424394637650569), (1, 16064866803292627174),
    ]  # fmt: skip


def test_weights_one_two_three_have_one_two_three_of_six_points():
    """Envoy `HostWeightedTinyRing`."""
    ring = Ring.of(SIX[:3], (1.0, 2.0, 3.0), min_size=6, max_size=6)
    assert dict(zip(ring.points, ring.owners, strict=True)) == {
        928266305478181108: 2, 4443673547860492590: 2, 5583722120771150861: 1,
        6311230543546372928: 1, 13444792449719432967: 2, 16117243373044804889: 0,
    }  # fmt: skip


def test_the_ring_has_1024_points_at_least_and_8_mi_at_most():
    assert RingHash().min_size == 1024
    assert RingHash(max_size=8 * 2**20).max_size == 8_388_608


# Maglev


def test_the_maglev_table_is_envoys():
    """Envoy `MaglevLoadBalancerTest.Basic`; and its stability: keys are sorted first."""
    assert list(MaglevTable(SIX, (1.0,) * 6, 7).owners) == [2, 4, 0, 1, 5, 0, 3]
    hostnames = ("90", "91", "92", "93", "94", "95")
    assert list(MaglevTable(hostnames, (1.0,) * 6, 7).owners) == [2, 5, 0, 3, 4, 1, 0]


def test_a_weighted_maglev_table_is_envoys():
    """Envoy `MaglevLoadBalancerTest.Weighted`."""
    owners = MaglevTable(SIX[:2], (1.0, 2.0), 17).owners
    assert list(owners) == [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]


def test_weights_one_and_two_own_a_third_and_two_of_65537_slots():
    assert Maglev().table_size == 65_537
    counts = Counter(MaglevTable(SIX[:2], (1.0, 2.0), 65_537).owners)
    assert counts == {0: 21_846, 1: 43_691}


def test_a_second_try_is_where_envoys_is():
    """Envoy `BasicWithRetryHostPredicate`: hash 10 gives 91, then 90, then 95."""
    walk = MaglevTable(SIX, (1.0,) * 6, 7).walk(10)
    assert [next(walk) for _ in range(3)] == [1, 0, 5]


# Bounded loads


def test_of_ten_in_flight_nobody_has_more_than_a_quarter_over_the_mean():
    """Mirrokni et al.: at most `ceil(factor * total / n)` each, whatever the keys."""
    pool = pool_of(RingHash(load_factor=1.25), 1, 1, 1, 1, 1)
    for total in range(1, 11):
        pool.pick(0.0, key="hot")
        most = max(member.in_flight for member in pool.members.values())
        assert most <= {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 2, 9: 3, 10: 3}[total]


# Subsets


def test_three_hundred_clients_of_ten_among_three_hundred_have_ten_each():
    """The SRE book's figure 20-5."""
    everyone = fleet(300)
    counts = Counter()
    for client in range(300):
        chosen = DeterministicSubset(client_id=client, size=10)(everyone)
        counts.update(each.id for each in chosen)
    assert set(counts.values()) == {10}
    assert len(counts) == 300


def test_clients_zero_to_three_share_twelve_out_by_three():
    """The SRE book's example: clients 0, 4 and 8 are number 0 of their rounds."""
    everyone = fleet(12)
    chosen = [
        {each.id for each in DeterministicSubset(client_id=client, size=3)(everyone)}
        for client in range(10)
    ]
    for round_ in (chosen[:4], chosen[4:8]):
        assert set().union(*round_) == {each.id for each in everyone}
        assert sum(map(len, round_)) == 12


def test_one_more_instance_changes_one_member_at_most():
    """gRPC A68 `random_subsetting`."""
    everyone = fleet(101)
    for seed in range(50):
        subset = RandomSubset(size=20, seed=seed)
        before = {each.id for each in subset(everyone[:100])}
        after = {each.id for each in subset(everyone)}
        assert len(before) == len(after) == 20
        assert len(after - before) <= 1


@pytest.mark.parametrize(
    ("clients", "count", "size", "width"),
    [
        (1, 100, 12, 100),
        (10, 100, 12, 20),
        (100, 100, 12, 12),
        (3, 12, 12, 12),
        (7, 100, 12, 100 / 7),
    ],
)
def test_an_aperture_is_as_many_client_parts_as_cover_twelve(clients, count, size, width):
    """Finagle `dApertureWidth`: `ceil(size / count * clients) / clients` of the ring."""
    aperture = DeterministicAperture(client_id=clients - 1, clients=clients)
    assert aperture.size == size
    assert sum(aperture.shares(count)) == pytest.approx(width)


# Zones


@pytest.mark.parametrize(
    ("healthy", "to_x", "to_y"),
    [(100, 33, 67), (70, 33, 67), (69, 32, 68), (50, 26, 74), (25, 15, 85), (0, 0, 100)],
)
def test_locality_weights_are_envoys(healthy, to_x, to_y):
    """Envoy, "Locality weighted load balancing": X of weight 1, Y of weight 2 and whole."""
    # The document's effective weights are whole percents.
    x = int(100 * locality_weight(1.0, healthy, 100) + 1e-9)
    y = int(100 * locality_weight(2.0, 100, 100))
    assert (round(100 * x / (x + y)), round(100 * y / (x + y))) == (to_x, to_y)


@pytest.mark.parametrize(
    ("healthy", "others", "own"),
    [
        (100, 100, 100), (72, 100, 100), (71, 100, 99), (50, 100, 70), (25, 100, 35), (0, 100, 0),
        (72, 72, 100), (71, 71, 99), (50, 50, 70), (25, 25, 50),
    ],
)  # fmt: skip
def test_what_stays_in_the_own_zone_is_what_stays_in_a_priority(healthy, others, own):
    """Envoy, "Priority levels": P=0 and P=1, in whole percents as there."""
    loads = priority_loads((availability(healthy, 100), availability(others, 100)))
    assert int(100 * loads[0] + 1e-9) == own
    assert sum(loads) == pytest.approx(1.0)
