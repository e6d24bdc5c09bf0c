import subprocess
import sys

import numpy as np
import pytest

from trimtab_sim.streams import KeyedUniforms, child_seed, stream


def test_a_stream_is_a_function_of_its_names():
    assert stream(7, "client 3", "arrivals").random() == stream(7, "client 3", "arrivals").random()
    others = [(8, "client 3", "arrivals"), (7, "client 4", "arrivals"), (7, "client 3", "faults")]
    for other in others:
        assert stream(*other).random() != stream(7, "client 3", "arrivals").random()


def test_the_hash_seed_changes_nothing():
    program = (
        "from trimtab_sim.streams import *;"
        "print(stream(1, 'a', 'b').random(), child_seed(1, 2, 'c'), KeyedUniforms(1, 'a').at(5))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] != b""


def test_child_seeds_differ_and_are_golden():
    seeds = [child_seed(1, replication, "world") for replication in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert child_seed(1, 0) != child_seed("1", 0, "x")
    assert child_seed(42, 0, "world") == 5471835911697845273


def test_the_three_ways_to_the_same_number():
    keyed = KeyedUniforms(3, "server", "service")
    block = keyed.block(0, 3000).tolist()
    assert [keyed.at(index) for index in range(3000)] == block
    assert [keyed.draw(index, 0) for index in range(3000)] == block
    assert keyed.at(0) == block[0]


def test_the_order_of_asking_does_not_matter_and_memory_stays_bounded():
    keyed, again = KeyedUniforms(3, "server"), KeyedUniforms(3, "server")
    order = [900_000, 5, 400_000, 5, 70_000]
    for index in range(0, 1_000_000, 997):
        keyed.at(index)
    assert [keyed.at(index) for index in order] == [again.at(index) for index in order]
    assert len(keyed._blocks) <= 16


def test_further_numbers_of_an_index_are_unrelated():
    keyed = KeyedUniforms(3, "server")
    first = keyed.block(0, 20_000)
    second = np.array([keyed.draw(index, 1) for index in range(20_000)])
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(second.mean() - 0.5) < 0.01


def test_the_numbers_are_uniform_and_inside_the_open_interval():
    numbers = KeyedUniforms(5, "x", "y").block(0, 1_000_000)
    assert 0 < numbers.min() < 1e-5
    assert 1 - 1e-5 < numbers.max() < 1
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    chi2 = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi2 < 172  # the 0.999995 quantile at 99 degrees of freedom
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.005


def test_the_extremes_of_the_mixer_stay_inside():
    assert (0 + 0.5) * 2.0**-52 > 0
    assert ((2**52 - 1) + 0.5) * 2.0**-52 < 1


@pytest.mark.parametrize("index", [2**40, 2**62])
def test_large_indices(index):
    keyed = KeyedUniforms(5, "x")
    assert keyed.at(index) == keyed.draw(index, 0)
