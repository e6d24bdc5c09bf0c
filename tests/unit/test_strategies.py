"""Golden figures of each strategy."""

from collections import Counter
from functools import partial
from random import Random

import pytest

from trimtab import ConfigurationError, Instance, Pool
from trimtab.member import Member, Pick
from trimtab.strategies import STRATEGIES, resolve
from trimtab.strategies.drawing import AliasTable, next_allowed
from trimtab.strategies.round_robin import RoundRobin, WeightedRoundRobin
from trimtab.strategies.two_choices import LeastLatency, LeastRequest, TwoChoices


class Scripted(Random):
    """A generator that gives out what it was told, over and over."""

    def __init__(self, *values):
        super().__init__(0)
        self.values, self.drawn = values, 0

    def random(self):
        self.drawn += 1
        return self.values[(self.drawn - 1) % len(self.values)]


def members(*weights):
    return [
        Member(Instance(host="10.0.0.1", port=n + 1, id="abcdefghij"[n], weight=w), 0.0)
        for n, w in enumerate(weights)
    ]


def word(strategy, length, exclude=()):
    return "".join(strategy.choose(0.0, None, exclude).id for _ in range(length))


def pool_of(strategy, *weights, seed=1):
    pool = Pool(strategy=strategy, rng=Random(seed))
    pool.update([member.instance for member in members(*weights)], 0.0)
    return pool


# Round robin


@pytest.mark.parametrize("seed", range(8))
def test_round_robin_is_exact_over_any_window(seed):
    strategy = RoundRobin(Random(seed))
    strategy.update(members(*[1.0] * 7))
    picked = word(strategy, 50)
    assert all(len(set(picked[start : start + 7])) == 7 for start in range(43))


def test_round_robin_starts_anywhere():
    starts = set()
    for seed in range(60):
        strategy = RoundRobin(Random(seed))
        strategy.update(members(1, 1, 1, 1))
        starts.add(word(strategy, 1))
    assert starts == set("abcd")


def test_round_robin_goes_on_after_an_update_and_after_an_empty_one():
    strategy = RoundRobin(Scripted(0.0))
    everyone = members(1, 1, 1)
    strategy.update([])
    strategy.update(everyone)
    assert word(strategy, 2) == "ab"
    strategy.update([*everyone, *members(1, 1, 1, 1)[3:]])
    assert word(strategy, 2) == "cd"


def test_round_robin_passes_over_the_excluded():
    strategy = RoundRobin(Scripted(0.0))
    strategy.update(members(1, 1, 1))
    assert word(strategy, 4, exclude=("b",)) == "acac"


# Weighted round robin


def smooth(weights, length):
    """Pick as nginx does, looking at every member each time."""
    credit, picked = [0.0] * len(weights), []
    for _ in range(length):
        credit = [c + w for c, w in zip(credit, weights, strict=True)]
        best = max(range(len(weights)), key=credit.__getitem__)
        credit[best] -= sum(weights)
        picked.append("abcdefghij"[best])
    return "".join(picked)


@pytest.mark.parametrize(
    ("weights", "cycle"),
    [((5, 1, 1), "aabacaa"), ((1, 1, 1), "abc"), ((2, 1), "aba"), ((4, 2, 1), "abacaba")],
)
def test_weighted_round_robin_is_smooth(weights, cycle):
    strategy = WeightedRoundRobin(Scripted(0.0))
    strategy.update(members(*weights))
    assert smooth(weights, len(cycle)) == cycle
    assert word(strategy, 3 * len(cycle)) == 3 * cycle


def test_weighted_round_robin_starts_anywhere_in_its_cycle():
    cycle, begun = "aabacaa" * 2, set()
    for seed in range(200):
        strategy = WeightedRoundRobin(Random(seed))
        strategy.update(members(5, 1, 1))
        begun.add(word(strategy, 7))
    assert begun == {cycle[start : start + 7] for start in range(7)}


def test_weighted_round_robin_with_frequent_updates_still_reaches_the_light_ones():
    strategy, picked = WeightedRoundRobin(Random(3)), Counter()
    for _ in range(2000):
        strategy.update(members(100, 1, 1))
        picked.update(word(strategy, 5))
    assert 50 < picked["b"] < 200
    assert 50 < picked["c"] < 200


def test_a_start_among_many_weights_costs_little():
    rng = Scripted(0.999)
    strategy = WeightedRoundRobin(rng)
    drawn = 0

    def draw():
        nonlocal drawn
        drawn += 1

    strategy._draw = draw
    strategy.update(
        [Member(Instance(host="a", port=1 + n, weight=1 + n), 0.0) for n in range(5000)]
    )
    assert drawn <= 2


def test_weighted_round_robin_survives_weights_beyond_the_floats():
    strategy = WeightedRoundRobin(Scripted(0.5))
    strategy.update(members(1.7e308, 1.7e308, 1e-300))
    assert Counter(word(strategy, 100)) == {"a": 50, "b": 50}


# The alias method


@pytest.mark.parametrize(
    "weights",
    [[1], [1, 1], [1, 2, 3], [5, 1, 1], [0.1, 0.2, 0.7], [1e308, 1e308, 1e308], [1, 1e-300]],
)
def test_the_columns_of_an_alias_table_add_up_to_the_weights(weights):
    table = AliasTable(weights)
    share = [0.0] * len(weights)
    for column, kept in enumerate(table._keep):
        share[column] += kept / len(weights)
        share[table._alias[column]] += (1 - kept) / len(weights)
    top = max(weights)
    total = sum(weight / top for weight in weights)
    assert share == pytest.approx([weight / top / total for weight in weights], abs=1e-12)


def test_one_random_number_draws_column_and_owner():
    table = AliasTable([3, 1])
    rng = Scripted(0.1, 0.6, 0.9)
    assert [table.draw(rng) for _ in range(3)] == [0, 1, 0]
    assert rng.drawn == 3


# Two choices


class ByOrder(TwoChoices):
    """The alphabet decides."""

    def cost(self, member, now):
        return ord(member.id)


def test_the_pair_is_distinct_and_every_pair_as_likely():
    pairs = Counter()

    class Noting(TwoChoices):
        def cost(self, member, now):
            seen.append(member.id)
            return 0.0

    strategy = Noting(Random(5))
    strategy.update(members(1, 1, 1, 1))
    for _ in range(12_000):
        seen = []
        strategy.choose(0.0, None, ())
        pairs["".join(seen)] += 1
    assert len(pairs) == 12
    assert not any(one == other for one, other in pairs)
    assert all(abs(count - 1000) < 6 * 31 for count in pairs.values())


def test_of_two_the_busier_is_never_chosen():
    for strategy in ("least_request", "least_latency"):
        pool = pool_of(strategy, 1, 1)
        for member in pool.members.values():
            pool.pick(0.0, exclude=[i for i in "ab" if i != member.id]).done(0.1, "success")
        busy = pool.pick(0.1)
        for _ in range(200):
            idle = pool.pick(0.1)
            assert idle.instance.id != busy.instance.id
            idle.done(0.1, "cancelled")


def test_ties_are_broken_by_chance():
    pool = pool_of("least_request", 1, 1)
    picked = Counter()
    for _ in range(4000):
        pick = pool.pick(0.0)
        pick.done(0.0, "success")
        picked[pick.instance.id] += 1
    assert abs(picked["a"] - 2000) < 6 * 32


def test_a_subclass_must_say_what_a_member_costs():
    strategy = TwoChoices(Random(1))
    strategy.update(members(1, 1))
    with pytest.raises(NotImplementedError):
        strategy.choose(0.0, None, ())


def test_with_exclusions_the_cheaper_of_the_allowed_is_chosen():
    strategy = ByOrder(Random(2))
    strategy.update(members(1, 1, 1))
    assert set(word(strategy, 50, exclude=("a",))) == {"b"}
    assert set(word(strategy, 50, exclude=("a", "b"))) == {"c"}
    strategy.update(members(1, 2, 3, 4))
    assert "a" not in word(strategy, 50, exclude=("a",))


def test_with_unequal_weights_the_second_must_be_cheaper_by_the_margin():
    class Dear(TwoChoices):
        margin = 0.75

        def cost(self, member, now):
            return self.prices[member.id]

    for costs, chosen in (({"a": 1.0, "b": 0.8}, "a"), ({"a": 1.0, "b": 0.7}, "b")):
        Dear.prices = costs
        strategy = Dear(Scripted(0.0, 0.9))  # first a, then b
        strategy.update(members(3, 1))
        assert word(strategy, 1) == chosen


def test_least_request_counts_per_weight():
    heavy, light = members(4, 1)
    heavy.in_flight, light.in_flight = 4, 2
    strategy = LeastRequest(Random(1))
    strategy.update([heavy, light])
    assert (strategy.cost(heavy, 0.0), strategy.cost(light, 0.0)) == (1.0, 2.0)
    assert word(strategy, 30) == "a" * 30


def test_a_newcomer_among_fast_peers_gets_its_share():
    pool = pool_of("least_latency", 1, 1)
    for number in range(100):
        pool.pick(number * 0.01).done(number * 0.01 + 0.002, "success")
    pool.update([member.instance for member in members(1, 1, 1)], 1.0)
    picked = Counter()
    for number in range(500):
        now = 1.0 + number * 0.01
        pick = pool.pick(now)
        pick.done(now + 0.002, "success")
        picked[pick.instance.id] += 1
    assert picked["c"] > 0.6 * 500 / 3


# Exclusion


def test_exclusion_gives_up_drawing_and_looks_from_a_random_place():
    a, b, c, d = members(1, 1, 1, 1)
    drawn = []

    def draw():
        drawn.append(a)
        return a

    for value, wanted in ((0.0, c), (0.5, c), (0.75, d)):
        assert next_allowed(draw, [a, b, c, d], ("a", "b"), Scripted(value)) is wanted
    assert len(drawn) == 3 * 10
    assert next_allowed(draw, [a, b], ("a",), Scripted(0.99)) is b


def test_exclusion_costs_no_more_than_the_excluded():
    class Counted(list):
        looked = 0

        def __getitem__(self, place):
            self.looked += 1
            return super().__getitem__(place)

    everyone = Counted(members(*[1.0] * 10) * 1000)
    member = everyone[0]
    next_allowed(lambda: member, everyone, ("a", "b", "c"), Scripted(0.5))
    assert everyone.looked <= 6


# Names


def test_names_resolve():
    assert sorted(STRATEGIES) == [
        "client_side_weighted_round_robin",
        "least_latency", "least_load", "least_request", "least_request_full_scan", "maglev",
        "random", "ring_hash", "round_robin", "weighted_least_request", "weighted_random",
        "weighted_round_robin",
    ]  # fmt: skip
    assert resolve("random") is STRATEGIES["random"]
    assert resolve(RoundRobin) is RoundRobin


@pytest.mark.parametrize(("wrong", "said"), [("nearest", "'nearest'"), (7, "7"), (None, "None")])
def test_what_is_no_strategy_is_refused_by_name(wrong, said):
    with pytest.raises(ConfigurationError, match=said):
        Pool(strategy=wrong)


def test_a_strategy_comes_from_an_entry_point(monkeypatch):
    class Entry:
        @staticmethod
        def load():
            return RoundRobin

    def entry_points(*, group, name):
        return [Entry] if (group, name) == ("trimtab.strategies", "mine") else []

    monkeypatch.setattr("trimtab.strategies.settings.entry_points", entry_points)
    assert resolve("mine") is RoundRobin
    assert pool_of("mine", 1).strategy_name == "mine"


def test_a_factory_has_a_name_for_people():
    assert pool_of(RoundRobin, 1).strategy_name == "RoundRobin"
    assert pool_of(partial(RoundRobin), 1).strategy_name == "partial"


@pytest.mark.parametrize("place", [0, 1])
def test_a_slow_one_is_passed_over_until_it_is_due(place):
    pair = members(1, 1)
    slow = pair[place]
    for member in pair:
        for _ in range(3):
            pick = Pick(member, 0.0)
            pick.done(0.5 if member is slow else 0.01, "success")
    strategy = LeastLatency(Random(1))
    strategy.update(pair)
    assert {strategy.choose(1.0, None, ()) is slow for _ in range(30)} == {False}
    slow.fleet.picks += 300
    assert {strategy.choose(9.0, None, ()) is slow for _ in range(30)} == {True}
