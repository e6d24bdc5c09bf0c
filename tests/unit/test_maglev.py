"""Maglev's table against the plain rule of the paper and of Envoy."""

from collections import Counter
from math import ceil

import pytest

from trimtab.strategies.consistent_hash import hash_of
from trimtab.strategies.maglev import MaglevTable


def keys(count):
    return tuple(sorted(f"10.0.{number // 250}.{number % 250}:80" for number in range(count)))


def plain(names, weights, size):
    """Fill slot by slot, round by round: Envoy's loop, with nothing made faster."""
    at = [hash_of(name) % size for name in names]
    skip = [hash_of(name, 1) % (size - 1) + 1 for name in names]
    target = [0.0] * len(names)
    owners, left, turn = [None] * size, size, 0
    while left:
        turn += 1
        for number, weight in enumerate(weights):
            if not left or turn * weight < target[number]:
                continue
            target[number] += max(weights)
            while owners[at[number]] is not None:
                at[number] = (at[number] + skip[number]) % size
            owners[at[number]] = number
            left -= 1
    return owners


@pytest.mark.parametrize("size", [2, 3, 7, 257, 1009, 2003])
@pytest.mark.parametrize(
    "weights",
    [[1], [1, 1], [1, 2], [3, 1, 2], [1, 4, 8, 2], [1.5, 1, 2.25], [1] * 30, [1, 2, 64] * 9],
)
def test_the_table_is_that_of_the_plain_rule(weights, size):
    names = keys(len(weights))
    assert list(MaglevTable(names, tuple(weights), size).owners) == plain(names, weights, size)


@pytest.mark.parametrize("count", [1, 2, 10, 100, 1000])
def test_equal_weights_own_equally_many_slots_to_within_one(count):
    counts = Counter(MaglevTable(keys(count), (1.0,) * count, 65_537).owners)
    assert len(counts) == count
    assert max(counts.values()) - min(counts.values()) <= 1
    assert max(counts.values()) == ceil(65_537 / count)


def test_more_instances_than_slots_leave_some_without():
    assert len(set(MaglevTable(keys(20), (1.0,) * 20, 7).owners)) == 7


@pytest.mark.parametrize("weights", [[5e-324, 1.0], [1.7e308, 5e-324, 1.0], [1, 1e9, 1e-9]])
def test_extreme_weights_own_what_is_left_of_the_first_round(weights):
    counts = Counter(MaglevTable(keys(len(weights)), tuple(weights), 1009).owners)
    heaviest = weights.index(max(weights))
    assert counts[heaviest] == 1009 - (len(weights) - 1)


def test_the_walk_begins_with_the_owner_and_reaches_everyone():
    table = MaglevTable(keys(5), (1.0,) * 5, 1009)
    for point in (0, 1, 2**64 - 1, hash_of("x")):
        walk = table.walk(point)
        first = [next(walk) for _ in range(200)]
        assert first[0] == table.owner(point)
        assert set(first) == set(range(5))
