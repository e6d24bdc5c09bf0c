"""How evenly keys are shared, and how many move when an instance leaves, by binomial bounds.

Each bound is wrong once in a million runs, were the hashes not fixed: XXH64 of distinct keys is
taken for uniform and independent.
"""

from itertools import pairwise

import pytest
from scipy.stats import binom

from trimtab.strategies.consistent_hash import hash_of
from trimtab.strategies.maglev import MaglevTable
from trimtab.strategies.ring_hash import Ring

ERROR_PROBABILITY = 1e-6
KEYS = [hash_of(f"customer-{number}") for number in range(20_000)]
COUNTS = [2, 5, 10, 100]


def names(count):
    return tuple(sorted(f"10.0.{number // 250}.{number % 250}:80" for number in range(count)))


def ring(keys, **settings):
    return Ring.of(keys, (1.0,) * len(keys), **{"min_size": 1024, "max_size": 65_536} | settings)


def maglev(keys):
    return MaglevTable(keys, (1.0,) * len(keys), 65_537)


def owners(table, keys):
    return [keys[table.owner(point)] for point in KEYS]


def assert_within(count, ratio):
    """Reject a count of keys that a binomial of this ratio has once in a million times."""
    low, high = binom.interval(1 - ERROR_PROBABILITY, len(KEYS), ratio)
    assert low <= count <= high, f"{count} of {len(KEYS)} is not {ratio:.2%}"


def arcs(made):
    """Return the exact share of the hashes that each owner of the ring has."""
    shares = dict.fromkeys(made.owners, 0.0)
    ends = [made.points[-1] - 2**64, *made.points]
    for (before, point), owner in zip(pairwise(ends), made.owners, strict=True):
        shares[owner] += (point - before) / 2**64
    return shares


@pytest.mark.parametrize("count", COUNTS)
def test_keys_fall_in_proportion_to_what_is_owned(count):
    keys = names(count)
    for made, shares in (
        (ring(keys), arcs(ring(keys))),
        (maglev(keys), dict.fromkeys(range(count), 1 / count)),
    ):
        found = owners(made, keys)
        for number, name in enumerate(keys):
            assert_within(found.count(name), shares[number])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("leaving", [0, 1])
def test_with_points_of_their_own_only_the_keys_of_the_one_who_left_move(count, leaving):
    keys = names(count)
    rest = keys[:leaving] + keys[leaving + 1 :]
    before = ring(keys, points=160)
    old, new = owners(before, keys), owners(ring(rest, points=160), rest)
    moved = [was for was, is_ in zip(old, new, strict=True) if was != is_]
    assert set(moved) <= {keys[leaving]}
    assert_within(len(moved), arcs(before)[leaving])


@pytest.mark.parametrize("count", COUNTS)
def test_a_filled_ring_also_moves_what_the_new_points_of_the_others_take(count):
    # Points double-counted by both rings stay; of p new points among q, p / q take a key each,
    # and all but one in n - 1 of these from another owner.
    keys = names(count)
    rest = keys[1:]
    before, after = ring(keys), ring(rest)
    fresh = 1 - len(set(after.points) & set(before.points)) / len(after.points)
    old, new = owners(before, keys), owners(after, rest)
    own = sum(was == keys[0] for was in old)
    others = [(was, is_) for was, is_ in zip(old, new, strict=True) if was != keys[0]]
    taken = sum(was != is_ for was, is_ in others)
    assert_within(own, arcs(before)[0])
    expected = fresh * (1 - 1 / (count - 1)) if count > 2 else 0.0
    # The points are few: their places are chance too.
    low, high = binom.interval(1 - ERROR_PROBABILITY, len(after.points), expected)
    assert low <= taken / len(others) * len(after.points) <= high


@pytest.mark.parametrize("count", COUNTS)
def test_maglev_moves_few_keys_more_than_it_must(count):
    keys = names(count)
    rest = keys[1:]
    before, after = maglev(keys), maglev(rest)
    slots = [(keys[was], rest[is_]) for was, is_ in zip(before.owners, after.owners, strict=True)]
    too_many = sum(was not in {keys[0], is_} for was, is_ in slots) / len(slots)
    assert too_many < 0.01  # a fact of these tables, not an estimate
    old, new = owners(before, keys), owners(after, rest)
    moved = sum(was != is_ for was, is_ in zip(old, new, strict=True))
    assert_within(moved, 1 / count + too_many)
