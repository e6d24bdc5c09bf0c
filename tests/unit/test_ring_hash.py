"""The ring, and what both hashing strategies do with keys, exclusions and bounds."""

from collections import Counter
from math import ceil
from random import Random

import pytest

from trimtab import ConfigurationError, Instance, Pool
from trimtab.member import Member
from trimtab.strategies import Maglev, RingHash
from trimtab.strategies.consistent_hash import ConsistentHash, InFlightTotal, hash_keys, hash_of
from trimtab.strategies.ring_hash import Ring

BOTH = [RingHash(points=160), Maglev(table_size=1009)]
BOUNDED = [RingHash(load_factor=1.25), Maglev(load_factor=1.25, table_size=1009)]


def members(*weights):
    return [
        Member(Instance(host="10.0.0.1", port=n + 1, id=str(n), weight=w), 0.0)
        for n, w in enumerate(weights)
    ]


def strategy_of(factory, *weights, seed=1):
    strategy = factory(Random(seed))
    strategy.update(members(*weights))
    return strategy


def ring(weights, min_size=1024, max_size=65_536):
    keys = tuple(f"10.0.0.{number}:80" for number in range(len(weights)))
    return Ring.of(keys, tuple(map(float, weights)), min_size=min_size, max_size=max_size)


class Fixed:
    """A table that walks as it is told."""

    def __init__(self, *order):
        self.order = order

    def owner(self, point):
        return self.order[0]

    def walk(self, point):
        while True:
            yield from self.order


# The ring


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 11, 49, 1000])
def test_equal_weights_have_equally_many_points(count):
    counts = Counter(ring([1] * count).owners)
    assert set(counts.values()) == {ceil(1024 / count)}
    assert len(counts) == count


def test_the_lightest_gets_a_whole_number_and_the_others_in_proportion():
    assert Counter(ring([1, 2, 3], min_size=7).owners) == {0: 2, 1: 4, 2: 6}
    assert Counter(ring([0.1, 1, 1], min_size=5).owners) == {0: 1, 1: 10, 2: 10}


def test_the_ring_ends_at_its_greatest_size():
    assert len(ring([1, 1e6], max_size=100).points) == 100
    assert len(ring([5e-324, 1.7e308, 1], max_size=100).points) == 100


def test_with_points_nobody_minds_the_others():
    def counts(*weights, max_size=65_536):
        keys = tuple(f"10.0.0.{number}:80" for number in range(len(weights)))
        return Counter(Ring.of(keys, weights, points=100, min_size=1, max_size=max_size).owners)

    assert counts(1.0, 2.0, 0.25, 1e-9) == {0: 100, 1: 200, 2: 25, 3: 1}
    assert counts(1.0, 2.0) == {0: 100, 1: 200}
    assert counts(1.0, 2.0, max_size=30) == {0: 10, 1: 20}


def test_points_ascend_and_the_walk_goes_around_from_the_first_that_is_not_before():
    made = ring([1, 2, 3], min_size=6)
    assert list(made.points) == sorted(made.points)
    for place, point in enumerate(made.points):
        walk = made.walk(point)
        around = [made.owners[(place + step) % 6] for step in range(13)]
        assert [next(walk) for _ in range(13)] == around
        assert made.owner(point) == around[0]
        assert made.owner(point + 1) == around[1]


def test_equal_rings_are_made_once_and_great_ones_not_kept():
    assert ring([1, 2]) is ring([2, 4])
    great = [ring([1, 100_000], max_size=100_000) for _ in range(2)]
    assert great[0] is not great[1]


def test_who_shares_an_address_is_hashed_with_the_id():
    twins = [
        Member(Instance(host="a", port=port, id=id_), 0.0)
        for port, id_ in ((1, "x"), (1, "y"), (2, "z"))
    ]
    assert hash_keys(twins, "address") == ["a:1 x", "a:1 y", "a:2"]
    assert hash_keys(twins) == hash_keys(twins, "id") == ["x", "y", "z"]
    pool = Pool(strategy="ring_hash(hash_by=address)", rng=Random(1))
    pool.update([member.instance for member in twins], 0.0)
    assert {pool.pick(0.0, key=str(n)).instance.id for n in range(50)} == {"x", "y", "z"}


# Keys


@pytest.mark.parametrize("factory", BOTH)
def test_a_key_stays_whatever_the_seed_and_the_order_of_the_list(factory):
    everyone = members(1, 2, 1, 3, 1)
    one, other = factory(Random(1)), factory(Random(2))
    one.update(everyone)
    other.update(everyone[::-1])
    for number in range(200):
        assert one.choose(0.0, f"k{number}", ()) is other.choose(0.0, f"k{number}", ())


@pytest.mark.parametrize("factory", BOTH)
def test_any_text_is_a_key(factory):
    strategy = strategy_of(factory, 1, 1, 1)
    for key in ("", "ä", "\ud800", "x" * 10_000):
        assert strategy.choose(0.0, key, ()) is strategy.choose(1.0, key, ())


@pytest.mark.parametrize("factory", BOTH)
def test_a_retry_goes_where_the_key_would_go_without_the_excluded(factory):
    # Exactly so on the ring. Maglev's table changes, so there only the determinism is sure.
    everyone = members(1, 1, 1, 1)
    strategy = factory(Random(1))
    strategy.update(everyone)
    for number in range(100):
        key = f"key-{number}"
        first = strategy.choose(0.0, key, ())
        second = {strategy.choose(0.0, key, (first.id,)) for _ in range(3)}
        assert len(second) == 1
        assert first not in second
        if isinstance(factory, RingHash):
            without = factory(Random(1))
            without.update([member for member in everyone if member is not first])
            assert second == {without.choose(0.0, key, ())}


@pytest.mark.parametrize("factory", BOTH)
def test_who_owns_nothing_is_still_found_when_all_others_are_excluded(factory):
    strategy = strategy_of(factory, 1e12, 1e12, 1e-300, 1e-300)
    picked = {strategy.choose(0.0, str(n), ("0", "1")).id for n in range(50)}
    assert picked == {"2", "3"}


# Bounds


@pytest.mark.parametrize("factory", BOUNDED)
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("keys", [1, 5, 1000])
@pytest.mark.parametrize("weights", [[1] * 7, [1, 2, 3, 4], [1]])
def test_nobody_is_given_more_than_its_bounded_share(factory, told, keys, weights):
    rng, strategy, everyone = Random(keys), factory(Random(3)), members(*weights)
    strategy.update(everyone)
    for number in range(400):
        busy = [member for member in everyone if member.in_flight]
        if busy and number > 100 and rng.random() < 0.5:
            member = rng.choice(busy)
            member.in_flight -= 1
            if told:
                strategy.ended(member)
            continue
        member = strategy.choose(0.0, f"key-{rng.randrange(keys)}", ())
        member.in_flight += 1
        if told:
            strategy.begun(member)
        total = sum(each.in_flight for each in everyone)
        share = member.weight / sum(weights)
        assert member.in_flight <= ceil(1.25 * total * share - 1e-9)


@pytest.mark.parametrize("factory", BOUNDED)
def test_a_key_keeps_its_instance_while_there_is_room(factory):
    strategy, free = strategy_of(factory, 1, 1, 1), strategy_of(factory, 1, 1, 1)
    for number in range(50):
        assert strategy.choose(0.0, str(number), ()).id == free.choose(0.0, str(number), ()).id


def test_the_next_in_line_takes_what_the_first_has_no_room_for():
    strategy = ConsistentHash(Random(1), lambda *_: Fixed(0, 1, 2), load_factor=1.5)
    everyone = members(1, 1, 1)
    strategy.update(everyone)
    order = []
    for _ in range(6):
        member = strategy.choose(0.0, "hot", ())
        member.in_flight += 1
        order.append(member.id)
    # Of 6, a share is 2 and the bound 3: 1, 1, 2, 2, 3, 3 as they come.
    assert order == ["0", "1", "0", "1", "0", "1"]


def test_when_those_next_in_line_are_full_chance_decides_and_then_each_is_asked():
    class Somewhere(Fixed):
        def owner(self, point):
            return 2

    everyone = members(1, 1, 1, 1)
    for member in everyone[:2]:
        member.in_flight = 10
    by_chance = ConsistentHash(Random(1), lambda *_: Somewhere(0, 1), load_factor=1.25)
    by_chance.update(everyone)
    assert by_chance.choose(0.0, "k", ()).id == "2"
    in_vain = ConsistentHash(Random(1), lambda *_: Fixed(0, 1), load_factor=1.25)
    in_vain.update(everyone)
    assert {in_vain.choose(0.0, str(n), ()).id for n in range(20)} == {"2", "3"}


def test_a_bound_gives_way_when_only_the_full_are_left():
    strategy = ConsistentHash(Random(1), lambda *_: Fixed(0, 1, 2), load_factor=1.25)
    everyone = members(1, 1, 1)
    everyone[1].in_flight = everyone[2].in_flight = 9
    strategy.update(everyone)
    assert {strategy.choose(0.0, str(n), ("0",)).id for n in range(20)} == {"1", "2"}


def test_who_is_told_does_not_count_again(monkeypatch):
    strategy = strategy_of(RingHash(load_factor=1.25), *[1] * 1000)
    strategy.begun(strategy.choose(0.0, "k", ()))
    monkeypatch.setattr(InFlightTotal, "_sum", None)
    strategy.begun(strategy.choose(0.0, "k", ()))


def test_without_a_bound_nothing_is_counted():
    strategy = strategy_of(RingHash(), 1, 1)
    member = strategy.choose(0.0, "k", ())
    strategy.begun(member)
    strategy.ended(member)
    assert strategy._in_flight.now() == 0


def test_the_total_in_flight_is_counted_when_nobody_tells():
    everyone, total = members(1, 1), InFlightTotal()
    everyone[0].in_flight = 3
    total.update(everyone)
    assert total.now() == 3
    everyone[0].in_flight = 4
    assert total.now() == 4
    everyone[0].in_flight = 2
    assert total.now() == 2


def test_the_total_in_flight_is_kept_when_told_of_everything():
    everyone, total = members(1, 1), InFlightTotal()
    total.update(everyone)
    for number in range(3):
        assert total.now() == number
        everyone[0].in_flight += 1
        total.begun(everyone[0])
    everyone[0].in_flight += 2.5
    total.begun(everyone[0])
    assert total.now() == 5.5
    everyone[0].in_flight -= 2.5
    total.ended(everyone[0])
    (stranger,) = members(1)
    total.begun(stranger)
    total.ended(stranger)
    everyone[0].in_flight -= 1
    total.ended(everyone[0])
    assert total.now() == 2
    everyone[1].in_flight = 7
    total.update(everyone[1:])
    total.begun(everyone[0])  # it has left
    total.ended(everyone[0])
    assert total.now() == 7


# Settings


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RingHash(load_factor=1), "load_factor is 1; it must be above 1"),
        (lambda: RingHash(load_factor=float("nan")), "load_factor is nan"),
        (lambda: Maglev(load_factor="2"), "load_factor is '2'"),
        (lambda: RingHash(load_factor=True), "load_factor is True"),
        (lambda: RingHash(min_size=0), "min_size is 0; it must be a whole number from 1 to"),
        (lambda: RingHash(min_size=2.5), "min_size is 2.5"),
        (lambda: RingHash(min_size=100, max_size=99), "max_size is 99; it must be .* from 100"),
        (lambda: RingHash(points=0), "points is 0; it must be a whole number from 1 to"),
        (lambda: RingHash(max_size=8 * 2**20 + 1), "max_size is 8388609"),
        (lambda: Maglev(table_size=1), "table_size is 1; it must be a prime"),
        (lambda: Maglev(table_size=65_536), "table_size is 65536"),
        (lambda: Maglev(table_size=7.0), "table_size is 7.0"),
        (lambda: Maglev(table_size=5_000_077), "of at most 5000011"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(make, said):
    with pytest.raises(ConfigurationError, match=said):
        make()


def test_the_greatest_settings_are_allowed():
    assert RingHash(min_size=8 * 2**20, max_size=8 * 2**20).max_size == 8_388_608
    assert Maglev(table_size=5_000_011).table_size == 5_000_011
    assert Maglev(table_size=2).table_size == 2


def test_the_hash_is_that_of_the_reference_implementation():
    assert hash_of("") == 0xEF46DB3751D8E999
    assert hash_of("a") == 0xD24EC4F1A98C6E5B


# -- what stands for an instance -----------------------------------------------------------------

NAMED = ("ring_hash", "ring_hash(points=160)", "ring_hash(load_factor=1.5)", "maglev")


def owners(pool, count=2000):
    found = {}
    for number in range(count):
        pick = pool.pick(0.0, key=f"customer-{number}")
        found[number] = pick.instance.id
        pick.done(0.0, "success")
    return found


def moved(strategy, before, after):
    """The share of the keys whose instance is another one after a list has replaced another."""
    pool = Pool(strategy=strategy, rng=Random(1))
    pool.update(before, 0.0)
    first = owners(pool)
    pool.update(after, 1.0)
    second = owners(pool)
    return sum(first[number] != second[number] for number in first) / len(first)


def named(*hosts):
    return [Instance(host=host, port=80, id=f"orders-{n}") for n, host in enumerate(hosts)]


@pytest.mark.parametrize("strategy", NAMED)
def test_the_same_ids_at_new_addresses_keep_their_keys(strategy):
    before = named(*(f"10.0.0.{n}" for n in range(1, 9)))
    for after in (
        named(*(f"10.9.7.{n}" for n in range(21, 29))),
        [*before[:4], *named(*(f"10.9.7.{n}" for n in range(8)))[4:]],
        before[::-1],
    ):
        assert moved(strategy, before, after) == 0.0
    by_address = f"{strategy.removesuffix(')')}{', ' if '(' in strategy else '('}hash_by=address)"
    assert moved(by_address, before, named(*(f"10.9.7.{n}" for n in range(21, 29)))) > 0.5


@pytest.mark.parametrize("strategy", NAMED)
def test_without_ids_of_its_own_an_instance_is_hashed_by_its_address(strategy):
    hosts = [f"10.0.0.{n}" for n in range(1, 7)]
    plain = [Instance(host=host, port=80) for host in hosts]
    found = []
    for by in ("id", "address"):
        pool = Pool(
            strategy=f"{strategy.removesuffix(')')}{', ' if '(' in strategy else '('}hash_by={by})"
        )
        pool.update(plain, 0.0)
        found.append(owners(pool))
    assert found[0] == found[1]


@pytest.mark.parametrize("factory", [RingHash, Maglev])
def test_nothing_else_can_stand_for_an_instance(factory):
    with pytest.raises(ConfigurationError, match="hash_by is 'zone'; it must be 'id' or 'address'"):
        factory(hash_by="zone")
