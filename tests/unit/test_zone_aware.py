"""The zone-aware strategy: where traffic goes, by what of each zone is eligible."""

from collections import Counter
from random import Random

import pytest

from trimtab import ConfigurationError, Instance, Pool, Status
from trimtab.member import Member
from trimtab.strategies import LoadReport, RingHash, ZoneAware, resolve
from trimtab.strategies.groups import availability, priority_loads
from trimtab.strategies.round_robin import RoundRobin
from trimtab.strategies.zone_aware import locality_weight


def zone(name, count):
    """Make members called a0, a1, ... of zone a."""
    return [
        Member(Instance(host=name, port=n + 1, id=f"{name}{n}", zone=name), 0.0)
        for n in range(count)
    ]


class Points(Random):
    """Draws the zones where it is told."""

    def __init__(self, *points):
        super().__init__(0)
        self.points = list(points)

    def random(self):
        return self.points.pop(0)


class Spy:
    """Remembers what it is told."""

    def __init__(self, rng):
        self.told = []

    def update(self, members):
        self.members = members
        self.told.append(("update", [member.id for member in members]))

    def choose(self, now, key, exclude):
        return next(member for member in self.members if member.id not in exclude)

    def begun(self, member):
        self.told.append(("begun", member.id))

    def ended(self, member):
        self.told.append(("ended", member.id))

    def report(self, member_id, report, now):
        self.told.append(("report", member_id, report, now))


def zoned(*groups, eligible=None, rng=None, inside="round_robin"):
    strategy = ZoneAware("a", inside)(rng or Random(1))
    members = [member for group in groups for member in group]
    strategy.update_all(members, members if eligible is None else eligible)
    return strategy


def shares(strategy, draws=10_000):
    """Return the share of each zone, over an even grid of points."""
    strategy._rng = Points(*((place + 0.5) / draws for place in range(draws)))
    counts = Counter(strategy.choose(0.0, None, ()).instance.zone for _ in range(draws))
    return {name: count / draws for name, count in counts.items()}


# Shares


def test_all_stays_while_the_own_zone_is_well_enough():
    for available in (10, 9, 8):  # 72 % is the least
        own, other = zone("a", 10), zone("b", 10)
        assert shares(zoned(own, other, eligible=[*own[:available], *other])) == {"a": 1}


@pytest.mark.parametrize(("available", "stays"), [(7, 0.98), (5, 0.7), (2, 0.28), (0, 0.0)])
def test_what_the_own_zone_cannot_carry_goes_elsewhere(available, stays):
    own, b, c = zone("a", 10), zone("b", 10), zone("c", 30)
    found = shares(zoned(own, b, c, eligible=[*own[:available], *b, *c]))
    assert found.get("a", 0) == pytest.approx(stays)
    assert found["b"] == pytest.approx((1 - stays) / 4, abs=1e-3)
    assert found["c"] == pytest.approx((1 - stays) * 3 / 4, abs=1e-3)


def test_other_zones_count_as_far_as_they_are_available():
    own, b, c = zone("a", 2), zone("b", 10), zone("c", 10)
    found = shares(zoned(own, b, c, eligible=[*b[:5], *c]))  # b carries 0.7 of what c does
    assert found == pytest.approx({"b": 7 / 17, "c": 10 / 17}, abs=1e-3)


def test_when_nobody_can_carry_it_all_get_more_than_they_should():
    own, b = zone("a", 4), zone("b", 4)
    found = shares(zoned(own, b, eligible=[own[0], *b[:2]]))  # 0.35 and 0.7
    assert found == pytest.approx({"a": 0.35, "b": 0.65})
    found = shares(zoned(own, b, eligible=[own[0], b[0]]))
    assert found == {"a": 0.5, "b": 0.5}


def test_nobody_is_ever_without():
    own, b = zone("a", 4), zone("b", 4)
    assert shares(zoned(own, b, eligible=[own[3]])) == {"a": 1}
    assert shares(zoned(own, b, eligible=[b[3]])) == {"b": 1}
    assert shares(zoned(b)) == {"b": 1}
    strategy = zoned(own)
    strategy.update([])
    strategy.update(b)
    assert shares(strategy) == {"b": 1}


def test_without_word_of_the_others_every_zone_is_whole():
    own, b = zone("a", 10), zone("b", 10)
    strategy = ZoneAware("a")(Random(1))
    strategy.update([own[0], *b])
    assert shares(strategy) == {"a": 1}


def test_the_factor_says_how_soon_it_spills():
    own, b = zone("a", 10), zone("b", 10)
    strategy = ZoneAware("a", overprovisioning_factor=1)(Random(1))
    strategy.update_all([*own, *b], [*own[:9], *b])
    assert shares(strategy) == pytest.approx({"a": 0.9, "b": 0.1})


# Within the zones


def test_each_zone_takes_turns_of_its_own_and_keeps_them():
    own, b = zone("a", 3), zone("b", 2)
    everyone = [*own, *b]
    strategy = ZoneAware("a", RoundRobin)(Random(4))
    strategy.update_all(everyone, everyone)
    first = [strategy.choose(0.0, None, ()).id for _ in range(2)]
    strategy.update_all(everyone, [*own, b[0]])  # nothing that zone a should notice
    third = strategy.choose(0.0, None, ()).id
    assert {*first, third} == {"a0", "a1", "a2"}


def test_only_what_changed_is_told():
    own, b = zone("a", 2), zone("b", 1)
    strategy = zoned(own, b, inside=Spy)
    inner = strategy._groups["a"].strategy
    strategy.update_all([*own, *b], [*own, *b])
    assert inner.told == [("update", ["a0", "a1"])]
    own[0].weight = 0.5
    strategy.update_all([*own, *b], [*own, *b])
    assert inner.told == [("update", ["a0", "a1"])] * 2


def test_begins_ends_and_reports_reach_the_zone():
    own, b = zone("a", 1), zone("b", 1)
    strategy = zoned(own, b, inside=Spy)
    report = LoadReport(qps=1.0, utilization=0.5)
    for member in (*own, *b, *zone("c", 1)):
        strategy.begun(member)
        strategy.ended(member)
        strategy.report(member.id, report, 3.0)
    for name in "ab":
        id_ = f"{name}0"
        assert strategy._groups[name].strategy.told[1:] == [
            ("begun", id_), ("ended", id_), ("report", id_, report, 3.0)
        ]  # fmt: skip


def test_strategies_that_want_no_news_get_none():
    strategy = zoned(zone("a", 1))
    (member,) = strategy._groups["a"].members
    strategy.begun(member)
    strategy.ended(member)
    strategy.report("a0", LoadReport(qps=1.0, utilization=0.5), 0.0)
    assert strategy.choose(0.0, None, ()) is member


def test_a_bound_within_a_zone_counts_that_zone():
    own, b = zone("a", 2), zone("b", 2)
    strategy = zoned(own, b, inside=RingHash(load_factor=1.25))
    for number in range(8):
        member = strategy.choose(0.0, "hot", ())
        member.in_flight += 1
        strategy.begun(member)
        assert member.instance.zone == "a"
        assert member.in_flight <= -(-5 * (number + 1) // 8)


# Keys and retries


def test_a_key_keeps_its_zone_and_returns_to_it():
    own, b = zone("a", 10), zone("b", 10)
    everyone = [*own, *b]
    keys = [f"key-{number}" for number in range(500)]

    def zones(available):
        strategy = ZoneAware("a", RingHash(points=100))(Random(available))
        strategy.update_all(everyone, [*own[:available], *b])
        return [strategy.choose(0.0, key, ()).instance.zone for key in keys]

    before = zones(5)
    assert zones(5) == before
    fewer = zones(3)
    assert all(now == "b" for was, now in zip(before, fewer, strict=True) if was == "b")
    assert Counter(before)["a"] > Counter(fewer)["a"] > 0


def test_a_retry_stays_in_the_zone_while_someone_is_left_there():
    own, b, c = zone("a", 2), zone("b", 2), zone("c", 2)
    strategy = zoned(own, b, c)
    for _ in range(50):
        assert strategy.choose(0.0, None, ("a0",)).id == "a1"
    elsewhere = Counter(strategy.choose(0.0, None, ("a0", "a1")).instance.zone for _ in range(400))
    assert min(elsewhere["b"], elsewhere["c"]) > 100
    assert strategy.choose(0.0, None, ("a0", "a1", "b0", "b1", "c1")).id == "c0"


def test_a_retry_of_what_was_spilt_comes_home():
    own, b = zone("a", 4), zone("b", 1)
    strategy = zoned(own, b, eligible=[own[0], *b], rng=Points(0.9, 0.99))
    assert strategy.choose(0.0, None, ()).id == "b0"
    assert strategy.choose(0.0, None, ("b0",)).id == "a0"


def test_without_an_own_zone_a_retry_finds_another():
    b, c = zone("b", 1), zone("c", 1)
    strategy = zoned(b, c)
    for _ in range(20):
        assert strategy.choose(0.0, None, ("b0",)).id == "c0"
        assert strategy.choose(0.0, None, ("c0",)).id == "b0"


# In a pool, and as settings


def test_in_a_pool_the_own_zone_is_preferred():
    pool = Pool(strategy="zone_aware(a)", rng=Random(1))
    members = [*zone("a", 2), *zone("b", 6)]
    pool.update([member.instance for member in members], 0.0)
    assert {pool.pick(0.0).instance.zone for _ in range(50)} == {"a"}
    pool.update(
        [member.instance.with_(status=Status.CRITICAL) for member in members[:2]]
        + [member.instance for member in members[2:]],
        1.0,
    )
    assert {pool.pick(1.0).instance.zone for _ in range(50)} == {"b"}


def test_a_pool_tells_how_much_of_a_zone_is_missing():
    pool = Pool(strategy="zone_aware(a)", rng=Random(1))
    own, b = zone("a", 10), zone("b", 10)
    ill = [member.instance.with_(status=Status.CRITICAL) for member in own[:5]]
    pool.update([*ill, *(member.instance for member in (*own[5:], *b))], 0.0)
    assert shares_of(pool) == pytest.approx({"a": 0.7, "b": 0.3}, abs=0.07)


def test_what_a_subset_leaves_out_is_not_missing():
    own, b, c = zone("a", 10), zone("b", 10), zone("c", 10)
    everyone = [*own, *b, *c]
    strategy = ZoneAware("a", "random")(Random(1))
    strategy.update_all(everyone, [own[0], b[0], *c[:3]], everyone)
    assert shares(strategy) == {"a": 1.0}
    # Half of the zone is ill; what is left goes to the others by what the subset has of them.
    strategy.update_all(everyone, [own[0], b[0], *c[:3]], [*own[:5], *b, *c])
    assert shares(strategy) == pytest.approx({"a": 0.7, "b": 0.075, "c": 0.225}, abs=1e-3)


def test_a_subset_may_leave_a_zone_out():
    own, b = zone("a", 10), zone("b", 10)
    strategy = ZoneAware("a", "random")(Random(1))
    strategy.update_all([*own, *b], b[:3], [*own, *b])
    assert shares(strategy) == {"b": 1.0}
    strategy.update_all([*own, *b], own[:3], [*own[:5], *b])
    assert shares(strategy) == {"a": 1.0}


def shares_of(pool, picks=2000):
    """Return the share of each zone in a pool; six sigma of 0.3 are 0.06 here."""
    counts = Counter()
    for _ in range(picks):
        pick = pool.pick(1.0)
        pick.done(1.0, "success")
        counts[pick.instance.zone] += 1
    return {name: count / picks for name, count in counts.items()}


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("zone_aware(eu-1)", ZoneAware("eu-1")),
        ("zone_aware(1)", ZoneAware("1")),
        ("zone_aware('eu, 1', inside=random)", ZoneAware("eu, 1", "random")),
        ("zone_aware(eu-1, ring_hash(points=160, load_factor=1.25), overprovisioning_factor=2)",
         ZoneAware("eu-1", "ring_hash(points=160, load_factor=1.25)", 2)),
    ],
)  # fmt: skip
def test_the_zone_is_given_in_text(text, settings):
    assert resolve(text) == settings
    assert resolve(settings.__name__) == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zone_aware", r"zone is missing; write zone_aware\(zone=\.\.\.\)"),
        ("zone_aware('')", "zone is ''; name the zone that this client runs in"),
        ("zone_aware(a, inside=nearest)", "no strategy is called 'nearest'"),
        ("zone_aware(a, random, 0.9)", "overprovisioning_factor is 0.9; it must be 1 or more"),
    ],
)
def test_wrong_settings_are_refused(text, said):
    with pytest.raises(ConfigurationError, match=said):
        resolve(text)


def test_a_zone_is_text():
    with pytest.raises(ConfigurationError, match="zone is None"):
        ZoneAware(None)


# Formulas


def test_an_empty_zone_is_not_available():
    assert availability(0, 0) == 0.0
    assert locality_weight(5.0, 0, 0) == 0.0


def test_shares_are_those_of_priorities():
    assert priority_loads((1.0, 0.0)) == [1.0, 0.0]
    assert priority_loads((0.7, 0.9)) == [0.7, pytest.approx(0.3)]
    assert priority_loads((0.35, 0.35)) == [0.5, 0.5]
    assert priority_loads((0.0, 0.1)) == [0.0, 1.0]
