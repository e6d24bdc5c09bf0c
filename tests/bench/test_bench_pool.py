"""What a pick costs, and an update, by number of instances."""

import random

import pytest

from trimtab import STRATEGIES, Instance, Pool

_PICKS = 1000


def _instances(count):
    return [
        Instance(host=f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", port=80, weight=1 + i % 3)
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [10, 100, 1_000, 10_000])
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_pick_and_done(benchmark, strategy, count):
    pool = Pool(strategy=strategy, rng=random.Random(1))
    pool.update(_instances(count), 0.0)
    now = 0.0

    def picks():
        nonlocal now
        for _ in range(_PICKS):
            now += 0.001
            pool.pick(now).done(now + 0.01, "success")

    benchmark.group = f"pick + done, {count:6,} instances"
    benchmark.extra_info.update(baseline=strategy == "random", units=_PICKS)
    benchmark(picks)


@pytest.mark.parametrize("count", [10, 100, 1_000, 10_000])
def test_random_choice(benchmark, count):
    """The floor: the standard library's choice from a list, with nothing learned."""
    instances, rng = _instances(count), random.Random(1)

    def picks():
        for _ in range(_PICKS):
            rng.choice(instances)

    benchmark.group = f"pick + done, {count:6,} instances"
    benchmark.extra_info.update(units=_PICKS)
    benchmark(picks)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_update_of_10_000(benchmark, strategy):
    """One instance of 10,000 is replaced; the others keep their statistics."""
    instances = _instances(10_000)
    others = [*instances[1:], Instance(host="10.9.9.9", port=80)]
    pool = Pool(strategy=strategy, rng=random.Random(1))
    pool.update(instances, 0.0)

    def update():
        pool.update(others, 1.0)
        pool.update(instances, 2.0)

    benchmark.group = "two updates of 10,000 instances"
    benchmark.extra_info.update(baseline=strategy == "random")
    benchmark(update)
