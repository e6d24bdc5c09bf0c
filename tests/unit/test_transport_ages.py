"""The age of connections: plus or minus a tenth, and each is over once."""

from __future__ import annotations

from random import Random

import pytest

from trimtab.testing import ManualClock
from trimtab.transports.connections import Ages


def ends(max_age_s, seed, things=1000):
    """When each of these is over, in steps of a thousandth of the age."""
    clock = ManualClock()
    ages = Ages(max_age_s, clock=clock, rng=Random(seed))
    for thing in range(things):
        ages.begin(thing)
    ended = {}
    while clock() < 1.2 * max_age_s:
        clock.advance(max_age_s / 1000)
        due, over = ages.clock() >= ages.next_at, ages.over()
        assert due is bool(over)
        ended.update(dict.fromkeys(over, clock()))
    return ended


@pytest.mark.parametrize("max_age_s", [0.5, 300.0])
def test_ages_lie_within_a_tenth_of_the_maximum_and_are_spread(max_age_s):
    ended = ends(max_age_s, seed=1)
    assert len(ended) == 1000
    ratios = [when / max_age_s for when in ended.values()]
    assert min(ratios) >= 0.9
    assert max(ratios) <= 1.1 + 1e-3
    # Of 1,000 drawn evenly, each fifth gets 200, and hardly less than 150 (P < 1e-4).
    for fifth in range(5):
        low = 0.9 + 0.04 * fifth
        assert sum(low <= ratio < low + 0.04 for ratio in ratios) > 150


def test_the_same_seed_gives_the_same_ages():
    assert ends(10.0, seed=7, things=20) == ends(10.0, seed=7, things=20)
    assert ends(10.0, seed=7, things=20) != ends(10.0, seed=8, things=20)


def test_without_a_maximum_nothing_is_ever_over():
    clock = ManualClock()
    ages = Ages(None, clock=clock, rng=Random(1))
    ages.begin("x")
    clock.advance(1e9)
    assert ages.clock() < ages.next_at
    assert ages.over() == []


def test_things_that_cannot_be_compared_may_end_in_one_moment():
    clock = ManualClock()
    ages = Ages(10.0, clock=clock, rng=_NoChance())
    first, second = object(), object()
    ages.begin(first)
    ages.begin(second)
    clock.advance(10.0)
    assert ages.over() == [first, second]


class _NoChance(Random):
    """Chance that always gives the middle."""

    def uniform(self, a, b):
        return (a + b) / 2
