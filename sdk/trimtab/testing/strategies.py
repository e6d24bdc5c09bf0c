"""The contract of strategies, as tests to inherit: for the built-in ones, and for yours.

    class TestMyStrategy(StrategyContract):
        strategy = staticmethod(MyStrategy)

pytest runs it as it is; for unittest also inherit from `unittest.TestCase`.
"""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import sys
from collections import Counter
from itertools import combinations
from math import sqrt
from random import Random
from typing import TYPE_CHECKING, Any

from trimtab.instance import Instance
from trimtab.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimtab.strategies import StrategyFactory

__all__ = ["StrategyContract"]

_SEEDS = range(20)
_PICKS = 6000
_WARM_UP = 500
_SIGMAS = 6.0
"""The tolerance of a share: chance alone exceeds it about once in 500 million cases."""


class StrategyContract:
    """The contract of a strategy, tested through a pool that uses it.

    Attributes:
        strategy: a name, or a factory `(rng) -> Strategy` (wrap a function in `staticmethod`).
        weighted: whether an idle service is shared by weight; else evenly.
        calls_per_pick: the most function calls of a pick, for any number of instances (with few
            different weights); None if the strategy cannot be O(1).
    """

    strategy: str | StrategyFactory
    weighted = False
    calls_per_pick: int | None = 60

    def pool(self, weights: Iterable[float], seed: int = 1) -> Pool:
        """Make a pool of one instance per weight, with ids "0", "1", ..."""
        pool = Pool(strategy=self.strategy, rng=Random(seed))
        pool.update(_instances(weights), 0.0)
        return pool

    def shares(self, pool: Pool, picks: int = _PICKS) -> Counter[str]:
        """Count the picks per member, for calls of 10 ms in sequence, each with its own key.

        The first 5 s do not count, because a strategy may have to learn about its members.
        """
        counts: Counter[str] = Counter()
        for number in range(_WARM_UP + picks):
            pick = pool.pick(number * 0.01, key=f"key-{number}")
            pick.done((number + 1) * 0.01, "success")
            counts[pick.instance.id] += number >= _WARM_UP
        return counts

    def test_the_only_member_is_always_chosen(self) -> None:
        pool = self.pool([2.0])
        assert self.shares(pool, 50) == {"0": 50}
        assert {pool.pick(1.0, exclude=("0",)).instance.id for _ in range(50)} == {"0"}

    def test_every_member_is_chosen_at_some_time(self) -> None:
        assert set(self.shares(self.pool([1.0, 2.0, 3.0, 1.0, 0.5]))) == set("01234")

    def test_idle_members_are_chosen_by_weight_or_evenly(self) -> None:
        weights = [4.0, 1.0, 2.0, 1.0]
        fair = weights if self.weighted else [1.0] * len(weights)
        for seed in range(3):
            counts = self.shares(self.pool(weights, seed))
            for number, weight in enumerate(fair):
                chance = weight / sum(fair)
                spread = _SIGMAS * sqrt(_PICKS * chance * (1 - chance))
                off = abs(counts[str(number)] - _PICKS * chance)
                assert off <= spread, (seed, number, counts)

    def test_excluded_members_are_avoided_while_others_are_left(self) -> None:
        everyone = "0123"
        for weights in ([1.0] * 4, [1e9, 1.0, 1e-9, 1.0]):
            pool = self.pool(weights)
            for size in range(1, 4):
                for exclude in combinations(everyone, size):
                    picked = {pool.pick(0.0, key=str(n), exclude=exclude) for n in range(40)}
                    assert not {pick.instance.id for pick in picked} & set(exclude)
            assert pool.pick(0.0, exclude=everyone).instance.id in everyone

    def test_a_changed_list_takes_effect_at_once(self) -> None:
        rng = Random(7)
        for seed in _SEEDS:
            pool = self.pool([1.0], seed)
            for _ in range(20):
                present = rng.sample(range(12), rng.randint(1, 12))
                pool.update([_one(n, rng.choice([1.0, 1.0, 3.0])) for n in present], 0.0)
                picked = {pool.pick(0.0, key=str(n)).instance.id for n in range(5)}
                assert picked <= {str(n) for n in present}

    def test_an_empty_list_is_survived(self) -> None:
        pool = self.pool([1.0, 2.0])
        pool.update([], 1.0)
        pool.update(_instances([1.0, 1.0, 1.0]), 2.0)
        assert set(self.shares(pool, 200)) == set("012")

    def test_equal_seeds_choose_equally(self) -> None:
        for seed in _SEEDS:
            one_way, again = (self.pool([1.0, 2.0, 2.0, 5.0], seed) for _ in range(2))
            for number in range(50):
                picks = [pool.pick(number * 0.1, key=str(number)) for pool in (one_way, again)]
                assert picks[0].instance == picks[1].instance

    def test_extreme_weights_are_no_problem(self) -> None:
        for weights in ([5e-324, 1.0], [1.7e308] * 3, [1.7e308, 5e-324, 1.0], [5e-324] * 2):
            assert set(self.shares(self.pool(weights), 100)) <= set("012")

    def test_a_pick_costs_the_same_among_ten_and_ten_thousand(self) -> None:
        if self.calls_per_pick is None:
            return
        for size in (10, 10_000):
            # Equal weights, two different ones, and one that weighs as much as all others.
            for weights in ([1.0] * size, [1.0, 2.0] * (size // 2), [float(size)] + [1.0] * size):
                pool = self.pool(weights)
                for _ in range(20):
                    assert _calls_of_a_pick(pool) <= self.calls_per_pick, (size, weights[:2])
                    again = _calls_of_a_pick(pool, exclude=("0", "1"))
                    assert again <= 4 * self.calls_per_pick, (size, weights[:2])


def _one(number: int, weight: float) -> Instance:
    return Instance(host="10.0.0.1", port=number + 1, id=str(number), weight=weight)


def _instances(weights: Iterable[float]) -> list[Instance]:
    return [_one(number, weight) for number, weight in enumerate(weights)]


def _calls_of_a_pick(pool: Pool, exclude: tuple[str, ...] = ()) -> int:
    """Count the calls of functions, Python's and C's, that a pick and its end make."""
    count = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        pool.pick(0.0, key="key", exclude=exclude).done(0.01, "success")
    finally:
        sys.setprofile(before)
    return count
