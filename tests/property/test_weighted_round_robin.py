"""The grouped rule equals nginx's plain one, whatever the weights."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import Instance
from trimtab.member import Member
from trimtab.strategies.round_robin import WeightedRoundRobin


class Zero(Random):
    def random(self):
        return 0.0


def members(weights):
    return [
        Member(Instance(host="a", port=number + 1, id=str(number), weight=weight), 0.0)
        for number, weight in enumerate(weights)
    ]


def smooth(weights, length):
    credit, picked = [0] * len(weights), []
    for _ in range(length):
        credit = [c + w for c, w in zip(credit, weights, strict=True)]
        best = max(range(len(weights)), key=credit.__getitem__)
        credit[best] -= sum(weights)
        picked.append(best)
    return picked


def picks(weights, length, rng):
    strategy = WeightedRoundRobin(rng)
    strategy.update(members(weights))
    return [int(strategy.choose(0.0, None, ()).id) for _ in range(length)]


weights_lists = st.lists(st.integers(1, 12), min_size=1, max_size=9)


@given(weights_lists)
@settings(deadline=None)
def test_it_is_nginxs_order(weights):
    length = 2 * sum(weights) + 5
    assert picks(weights, length, Zero()) == smooth(weights, length)


@given(weights_lists, st.integers(0, 2**32))
@settings(deadline=None)
def test_each_cycle_is_exact_from_any_start(weights, seed):
    cycle = sum(weights)
    picked = picks(weights, 3 * cycle, Random(seed))
    for start in range(0, 2 * cycle, max(1, cycle // 7)):
        assert Counter(picked[start : start + cycle]) == Counter(dict(enumerate(weights)))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6))
@settings(deadline=None)
def test_no_one_is_ever_far_from_its_share(weights):
    picked, counts = picks(weights, 500, Zero()), Counter()
    for number, place in enumerate(picked, 1):
        counts[place] += 1
        for which, weight in enumerate(weights):
            assert abs(counts[which] - number * weight / sum(weights)) < len(weights)
