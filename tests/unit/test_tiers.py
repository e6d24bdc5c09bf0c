"""Priority tiers: the lower one takes what the upper one cannot carry."""

from collections import Counter
from random import Random

import pytest

from trimtab import (
    ConcurrencyLimits,
    ConfigurationError,
    HealthSettings,
    Instance,
    LeastLoad,
    Pool,
    PrioritySettings,
    RandomSubset,
    RingHash,
    SaturatedError,
    Status,
    ZoneAware,
)
from trimtab.member import Member
from trimtab.strategies import LoadReport
from trimtab.strategies.groups import Groups, priority_loads
from trimtab.strategies.round_robin import RoundRobin
from trimtab.strategies.tiers import tier_availabilities


def tier(priority, count, **fields):
    """Make instances called "0-0", "0-1", ... of tier 0."""
    return [
        Instance(host="10.0.0.7", port=1 + n, id=f"{priority}-{n}", priority=priority, **fields)
        for n in range(count)
    ]


def pool_of(*tiers, strategy="round_robin", **settings):
    pool = Pool(strategy=strategy, rng=Random(1), **settings)
    pool.update([each for tier in tiers for each in tier], 0.0)
    return pool


def fail(pool, tier):
    for each in tier:
        pool.probed(each.id, 0.0, is_well=False)


def pick(pool, now=0.0, **arguments):
    return pool.pick(now, **arguments).instance


def shares(pool, picks=4000):
    """Return the share of each priority; six sigma of the shares are 0.05 here."""
    counts = Counter()
    for _ in range(picks):
        one = pool.pick(0.0)
        one.done(0.0, "success")
        counts[one.instance.priority] += 1
    return pytest.approx({priority: count / picks for priority, count in counts.items()}, abs=0.05)


class Spy:
    """Remembers what it is told."""

    made = ()

    def __init__(self, rng):
        self.told = []
        Spy.made = (*Spy.made, self)

    def update(self, members):
        self.members = members
        self.told.append([member.id for member in members])

    def choose(self, now, key, exclude):
        return next(member for member in self.members if member.id not in exclude)


# Shares by health


@pytest.mark.parametrize(
    ("healthy", "loads"),
    [
        ((100, 100), (100, 0)), ((72, 100), (100, 0)), ((71, 100), (99, 0.6)),
        ((50, 100), (70, 30)), ((50, 50), (70, 30)), ((25, 100), (35, 65)), ((0, 100), (0, 100)),
        ((25, 25), (50, 50)), ((5, 0), (100, 0)),
        ((100, 100, 100), (100, 0, 0)), ((20, 20, 100), (28, 28, 44)), ((0, 0, 50), (0, 0, 100)),
        ((20, 20, 10), (40, 40, 20)), ((25, 100, 100), (35, 65, 0)),
    ],
)  # fmt: skip
def test_each_level_takes_what_those_before_it_cannot_carry(healthy, loads):
    """Envoy, "Priority levels": its tables of two and three levels, in percent."""
    found = priority_loads([min(1.0, 1.4 * each / 100) for each in healthy])
    assert [100 * load for load in found] == pytest.approx(loads, abs=0.61)
    assert sum(found) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ill", "wanted"), [(0, {0: 1}), (2, {0: 1}), (5, {0: 0.7, 1: 0.3}), (10, {1: 1})]
)
def test_the_lower_tier_takes_what_the_ill_of_the_upper_one_leave(ill, wanted):
    best, rest = tier(0, 10), tier(1, 10)
    pool = pool_of(best, rest)
    fail(pool, best[:ill])
    assert shares(pool) == wanted


def test_the_factor_says_how_soon_it_spills():
    best, rest = tier(0, 10), tier(1, 10)
    pool = pool_of(best, rest, priorities=PrioritySettings(overprovisioning_factor=1))
    fail(pool, best[:2])
    assert shares(pool) == {0: 0.8, 1: 0.2}


def test_instances_count_by_their_weights():
    best, rest = [*tier(0, 1, weight=3), *tier(0, 4)[1:]], tier(1, 4)
    pool = pool_of(best, rest)
    fail(pool, best[:1])
    assert shares(pool) == {0: 0.7, 1: 0.3}


def test_what_the_registry_says_counts_as_what_the_client_finds():
    best, rest = tier(0, 10), tier(1, 10)
    ill = [each.with_(status=Status.CRITICAL) for each in best[:3]]
    ill += [each.with_(status=Status.DRAINING) for each in best[3:5]]
    assert shares(pool_of(ill, best[5:], rest)) == {0: 0.7, 1: 0.3}


def test_instances_of_weight_zero_carry_nothing_and_are_not_missed():
    best, rest = tier(0, 4), tier(1, 4)
    idle = [each.with_(weight=0) for each in best[:3]]
    assert shares(pool_of(idle, best[3:], rest)) == {0: 1}
    assert shares(pool_of([each.with_(weight=0) for each in best], rest)) == {1: 1}


def test_huge_weights_are_no_problem():
    members = [
        Member(Instance(host="h", port=n + 1, weight=weight, priority=priority), 0.0)
        for n, (weight, priority) in enumerate([(1.7e308, 0), (1.7e308, 0), (5e-324, 3)])
    ]
    assert tier_availabilities(members, {"h:1"}) == {0: 0.7, 3: 1.0}
    assert tier_availabilities(members, {"h:3"}) == {0: 1.0, 3: 0.0}


def test_priorities_may_have_gaps_and_come_in_any_order():
    pool = pool_of(tier(7, 2), tier(3, 2), tier(127, 2))
    assert shares(pool) == {3: 1}
    fail(pool, tier(3, 2))
    assert shares(pool) == {7: 1}
    pool.update([*tier(127, 2), *tier(7, 2)], 1.0)
    assert shares(pool) == {7: 1}


# Panic


def test_a_smaller_lower_tier_takes_over_without_panic():
    best, rest = tier(0, 10), tier(1, 3)
    pool = pool_of(best, rest)
    fail(pool, best)
    assert not pool.is_panicking
    assert shares(pool) == {1: 1}


def test_panic_begins_when_the_tiers_cannot_carry_everything():
    best, rest = tier(0, 10), tier(1, 10)
    pool = pool_of(best, rest)
    fail(pool, [*best[:8], *rest[:5]])  # 0.28 and 0.7
    assert pool.is_panicking
    assert len(pool.eligible) == 20
    assert shares(pool) == {0: 0.28 / 0.98, 1: 0.7 / 0.98}


def test_without_any_healthy_instance_tiers_share_by_their_numbers():
    best, rest = tier(0, 3), tier(1, 1)
    pool = pool_of(best, rest)
    fail(pool, [*best, *rest])
    assert pool.is_panicking
    assert shares(pool) == {0: 0.75, 1: 0.25}


def test_with_one_tier_panic_is_as_it_was():
    pool = pool_of(tier(5, 4), health=HealthSettings(panic_ratio=0.8))
    fail(pool, tier(5, 1))
    assert pool.is_panicking


# Retries and keys


def test_a_retry_stays_in_its_tier_while_that_has_another_instance():
    best, rest = tier(0, 2), tier(1, 2)
    pool = pool_of(best, rest)
    for _ in range(20):
        assert pick(pool, exclude=("0-0",)).id == "0-1"
        assert pick(pool, exclude=("0-0", "0-1")).priority == 1
        assert pick(pool, exclude=("0-0", "0-1", "1-0")).id == "1-1"
        assert pick(pool, exclude=("1-0", "1-1")).priority == 0
        assert pick(pool, exclude=("gone",)).priority == 0


def test_a_retry_in_the_lower_tier_stays_there():
    best, rest = tier(0, 10), tier(1, 2)
    pool = pool_of(best, rest)
    fail(pool, best[:5])
    assert {pick(pool, exclude=("1-0",)).id for _ in range(20)} == {"1-1"}
    assert {pick(pool, exclude=("1-0", "1-1")).priority for _ in range(20)} == {0}


def test_a_key_stays_in_its_tier_while_the_shares_do():
    best, rest = tier(0, 10), tier(1, 10)
    pool = pool_of(best, rest, strategy=RingHash(points=100))
    before = {key: pick(pool, key=key).id for key in map(str, range(300))}
    fail(pool, best[:5])
    after = {key: pick(pool, key=key) for key in before}
    assert after == {key: pick(pool, key=key) for key in before}
    moved = sum(each.priority for each in after.values()) / 300
    assert moved == pytest.approx(0.3, abs=0.16)
    ill = {each.id for each in best[:5]}
    stays = [key for key, each in after.items() if not each.priority and before[key] not in ill]
    assert all(after[key].id == before[key] for key in stays)


# What exceeds a tier's capacity, by requests in flight


def test_what_a_full_tier_cannot_take_goes_to_the_next():
    spilling = PrioritySettings(spill_above_in_flight=3)
    pool = pool_of(tier(0, 2), tier(1, 1), tier(2, 1), priorities=spilling)
    picks = [pool.pick(0.0) for _ in range(13)]
    assert [each.instance.priority for each in picks] == [0] * 6 + [1] * 3 + [2] * 3 + [0]
    picks[0].done(0.0, "success")
    assert pick(pool).priority == 0  # all are full, and it is the first
    picks[7].done(0.0, "success")
    assert pick(pool).priority == 1


def test_a_lower_tier_that_is_full_gives_back_to_an_upper_one():
    best, rest = tier(0, 10), tier(1, 1)
    pool = pool_of(best, rest, priorities=PrioritySettings(spill_above_in_flight=50))
    fail(pool, best[:5])
    counts = Counter(pick(pool).priority for _ in range(300))
    assert counts == {0: 250, 1: 50}


def test_requests_in_flight_are_counted_through_all_changes():
    best, rest = tier(0, 2), tier(1, 2)
    pool = pool_of(best, rest, priorities=PrioritySettings(spill_above_in_flight=2))
    held = [pool.pick(0.0) for _ in range(4)]
    fail(pool, best[:1])
    assert [pick(pool).priority] == [1]
    pool.update([*best[1:], *rest], 1.0)
    pool.update([*best, *rest], 2.0)  # a new member of the same id
    for each in held:
        each.done(3.0, "success")
    assert [pick(pool, now=3.0).priority for _ in range(5)] == [0, 0, 0, 0, 1]


def test_they_are_counted_before_there_are_tiers():
    best, rest = tier(0, 1), tier(1, 1)
    pool = pool_of(best, priorities=PrioritySettings(spill_above_in_flight=2))
    held = [pool.pick(0.0) for _ in range(2)]
    pool.update([*best, *rest], 1.0)
    assert pick(pool).priority == 1
    held[0].done(1.0, "success")
    assert [pick(pool).priority for _ in range(2)] == [0, 1]


def test_a_retry_prefers_a_tier_with_room():
    spilling = PrioritySettings(spill_above_in_flight=1)
    pool = pool_of(tier(0, 2), tier(1, 2), priorities=spilling)
    held = [pool.pick(0.0) for _ in range(2)]
    assert pick(pool, exclude=("0-0",)).priority == 1
    held[0].done(0.0, "success")
    assert pick(pool, exclude=("0-0",)).id == "0-1"


def test_a_bound_per_instance_fills_tier_after_tier():
    pool = pool_of(tier(0, 2), tier(1, 1), concurrency=ConcurrencyLimits(max_in_flight=2))
    assert [pick(pool).priority for _ in range(6)] == [0, 0, 0, 0, 1, 1]
    with pytest.raises(SaturatedError):
        pool.pick(0.0)


# What exceeds a tier's capacity, by the load that is reported


def driven(pool, capacity, per_s, seconds):
    """Send requests evenly; instances of tier 0 report the load of the second before."""
    counts, before, since = Counter(), Counter(), 0
    for n in range(per_s * seconds):
        now = n / per_s
        one = pool.pick(now)
        one.done(now, "success")
        counts[one.instance.id] += 1
        load = min(1.0, before[one.instance.id] / capacity)
        pool.report(one.instance.id, LoadReport(qps=0.0, utilization=load), now)
        if now - since >= 1.0:
            before, counts, since = counts, Counter(), now
    return before


@pytest.mark.parametrize(
    ("per_s", "spilled"), [(200, 0.0), (320, 0.0), (400, 0.2), (520, 0.385), (800, 0.6)]
)
def test_what_would_exceed_the_utilization_goes_to_the_next_tier(per_s, spilled):
    """Four instances carry 100 per second each, of which 80 % are to be used."""
    spilling = PrioritySettings(spill_above_utilization=0.8)
    pool = pool_of(tier(0, 4), tier(1, 40), priorities=spilling)
    assert pool.takes_reports
    last = driven(pool, 100, per_s, 40)
    lower = sum(count for id_, count in last.items() if id_.startswith("1"))
    assert lower / sum(last.values()) == pytest.approx(spilled, abs=0.08)


def test_a_tier_without_reports_keeps_its_requests_and_old_ones_are_forgotten():
    spilling = PrioritySettings(spill_above_utilization=0.5)
    pool = pool_of(tier(0, 2), tier(1, 2), priorities=spilling)
    assert {pick(pool).priority for _ in range(50)} == {0}
    for n in range(60):
        pool.report("0-0", LoadReport(qps=0.0, utilization=9.0), float(n))
        pool.report("unknown", LoadReport(qps=0.0, utilization=9.0), float(n))
    pool.update([*tier(0, 2), *tier(1, 2)], 59.0)
    assert Counter(pick(pool, now=59.0).priority for _ in range(500))[1] > 470
    assert {pick(pool, now=120.0).priority for _ in range(50)} == {0}
    for n in range(130, 170):
        pool.report("0-0", LoadReport(qps=0.0, utilization=0.0), float(n))
    assert {pick(pool, now=169.0).priority for _ in range(50)} == {0}


def test_when_all_tiers_report_too_much_the_upper_one_keeps_it():
    spilling = PrioritySettings(spill_above_utilization=0.5)
    pool = pool_of(tier(0, 1), tier(1, 1), priorities=spilling)
    for n in range(60):
        for id_ in ("0-0", "1-0"):
            pool.report(id_, LoadReport(qps=0.0, utilization=9.0), float(n))
    assert Counter(pick(pool, now=59.0).priority for _ in range(500))[0] > 470


# Strategies, subsets, changes


@pytest.mark.parametrize("strategy", ["maglev", "least_latency", "weighted_round_robin"])
def test_any_strategy_works_inside_a_tier(strategy):
    best, rest = tier(0, 6), tier(1, 6)
    pool = pool_of(best, rest, strategy=strategy)
    fail(pool, best[:3])
    found = Counter()
    for n in range(3000):
        one = pool.pick(n * 0.01, key=str(n))
        one.done(n * 0.01 + 0.005, "success")
        found[one.instance.id] += 1
    assert set(found) == {each.id for each in (*best[3:], *rest)}
    # A consistent hash spreads 2,100 keys over 3 instances less evenly than turns do.
    assert all(found[each.id] > 400 for each in best[3:])


def test_zones_work_inside_a_tier():
    best = [*tier(0, 4, zone="a")[:2], *tier(0, 4, zone="b")[2:]]
    rest = [*tier(1, 4, zone="a")[:2], *tier(1, 4, zone="b")[2:]]
    pool = pool_of(best, rest, strategy=ZoneAware("a"))
    assert {pick(pool).id for _ in range(50)} == {"0-0", "0-1"}
    fail(pool, best[:1])  # half of the own zone is missing
    counts = Counter(pick(pool).zone for _ in range(2000))
    assert counts["a"] / 2000 == pytest.approx(0.7, abs=0.07)


def test_those_that_are_asked_for_their_load_are_of_one_tier():
    best, rest = tier(0, 3), tier(1, 3)
    pool = pool_of(best, rest, strategy=LeastLoad(ask_after_s=0.1))
    members, asked = pool.to_ask(0.0)
    assert {member.instance.priority for member in (*members, *asked)} == {0}
    pool.silent(asked[0].id, 0.1)
    assert pool.pick(0.1, among=members).instance.id == asked[1].id


def test_a_subset_is_chosen_in_each_tier():
    best, rest = tier(0, 8), tier(1, 8)
    pool = pool_of(best, rest, subset=RandomSubset(size=2, seed=3))
    assert Counter(member.instance.priority for member in pool.eligible) == {0: 2, 1: 2}
    assert shares(pool) == {0: 1}
    inside = [member.instance for member in pool.eligible if not member.instance.priority]
    fail(pool, inside)
    # The tier has six that are well; the other tier keeps its subset.
    assert Counter(member.instance.priority for member in pool.eligible) == {0: 6, 1: 2}


def test_while_there_is_one_tier_the_strategy_is_called_directly():
    pool = pool_of(tier(4, 3))
    plain = pool._strategy
    assert isinstance(plain, RoundRobin)
    first = [pick(pool).id for _ in range(2)]
    pool.update([*tier(4, 3), *tier(9, 3)], 1.0)
    assert {*first, pick(pool).id} == {each.id for each in tier(4, 3)}
    pool.update(tier(4, 3), 2.0)
    assert pool._strategy is plain
    assert {pick(pool).priority for _ in range(9)} == {4}


def test_only_what_changed_is_told():
    Spy.made = ()
    best, rest = tier(0, 2), tier(1, 1)
    pool = pool_of(best, rest, strategy=Spy)
    _, _, second = Spy.made  # the second one is made only to look at
    assert Spy.made[0].told == [["0-0", "0-1"]]
    assert second.told == [["1-0"]]
    pool.update([*best, *rest], 1.0)
    assert len(Spy.made[0].told) == len(second.told) == 1
    pool.update([best[0].with_(port=99), best[1], *rest], 2.0)
    assert (len(Spy.made[0].told), len(second.told)) == (2, 1)


def test_all_may_leave_and_others_come():
    pool = pool_of(tier(0, 1), tier(1, 1))
    gone = [each.with_(status=Status.CRITICAL) for each in (*tier(0, 1), *tier(1, 1))]
    pool.update(gone, 1.0)
    pool.update(gone[:1], 2.0)  # none was eligible when the tiers went
    pool.update(tier(1, 2), 3.0)
    assert {pick(pool).id for _ in range(4)} == {"1-0", "1-1"}


def test_an_instance_may_change_its_tier_and_keeps_its_figures():
    best, rest = tier(0, 1), tier(1, 1)
    pool = pool_of(best, rest)
    assert pick(pool).id == "0-0"
    pool.update([best[0].with_(priority=3), *rest], 1.0)
    assert pick(pool).id == "1-0"
    figures = pool.statistics(1.0).members
    assert (figures["0-0"].picks, figures["0-0"].priority, figures["1-0"].priority) == (1, 3, 1)


def test_groups_are_for_others_to_finish():
    groups = Groups(Random(1), RoundRobin)
    with pytest.raises(NotImplementedError):
        groups.update([Member(each, 0.0) for each in tier(0, 1)])
    with pytest.raises(NotImplementedError):
        groups.choose(0.0, None, ())


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overprovisioning_factor": 0.9}, "overprovisioning_factor is 0.9; it must be 1 or more"),
        ({"spill_above_in_flight": 0}, "spill_above_in_flight is 0; it must be a whole number"),
        ({"spill_above_in_flight": 1.5}, "spill_above_in_flight is 1.5"),
        ({"spill_above_utilization": 0}, "spill_above_utilization is 0; it must be above 0"),
        ({"spill_above_utilization": "0.8"}, "spill_above_utilization is '0.8'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        PrioritySettings(**settings)
