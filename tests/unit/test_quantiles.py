"""Quantiles of recent latencies: exact where they can be, else within their 5 %."""

from math import ceil
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.calls import LatencyQuantile


def fed(samples, quantile=0.95, *, now=0.0, **settings):
    made = LatencyQuantile(quantile, **({"min_samples": 1} | settings))
    for sample in samples:
        made.add(sample, now)
    return made


LAWS = {
    "exponential": lambda rng: rng.expovariate(10.0),
    "lognormal": lambda rng: rng.lognormvariate(-3.0, 1.5),
    "two modes": lambda rng: (
        rng.uniform(0.9, 1.1) if rng.random() < 0.02 else rng.uniform(1e-3, 9e-3)
    ),
    "uniform": lambda rng: rng.uniform(0.001, 2.0),
    "pareto": lambda rng: 0.002 * rng.paretovariate(1.5),
}


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("law", LAWS)
def test_within_five_percent_above_numpys(law, quantile):
    """Against the same rank of the samples: exact but for the bucket's width."""
    rng = Random(law)
    samples = [LAWS[law](rng) for _ in range(80 * 64)]  # reviewed after the last of them
    true = float(np.quantile(samples, quantile, method="inverted_cdf"))
    got = fed(samples, quantile).value_s()
    assert true <= got * (1 + 1e-9)
    assert got <= true * 1.05 * (1 + 1e-9)


@given(
    st.lists(st.floats(1e-5, 2900), min_size=1, max_size=63),
    st.floats(0.001, 0.999),
)
def test_it_is_the_upper_bound_of_the_bucket_of_its_rank(samples, quantile):
    true = sorted(samples)[ceil(quantile * len(samples)) - 1]
    got = fed(samples, quantile).value_s()
    assert true <= got * (1 + 1e-9)
    assert got <= true * 1.05 * (1 + 1e-9)


def test_there_is_none_before_there_are_enough():
    made = fed([0.1] * 99, min_samples=100)
    assert made.value_s() is None
    made.add(0.1, 0.0)
    assert 0.1 <= made.value_s() <= 0.105
    assert LatencyQuantile(0.5).value_s() is None
    plain = LatencyQuantile(0.5)
    for _ in range(99):
        plain.add(0.1, 0.0)
    assert plain.value_s() is None
    plain.add(0.1, 0.0)
    assert plain.value_s() is not None
    assert fed([0.1] * 99, min_samples=100).value_s() is None
    assert LatencyQuantile(0.5, min_samples=1).value_s() is None


def test_the_estimate_stands_until_the_next_review():
    """O(1) per sample, amortised: it is worked out anew after every 64."""
    made = fed([0.1])
    first = made.value_s()
    for _ in range(63):
        made.add(10.0, 0.0)
        assert made.value_s() == first
    made.add(10.0, 0.0)
    assert 10.0 <= made.value_s() <= 10.5


def test_it_remembers_between_one_and_two_windows():
    made = fed([1.0] * 64, now=0.0)
    for _ in range(64):
        made.add(0.01, 29.9)
    assert 1.0 <= made.value_s() <= 1.05
    for _ in range(64):  # the second window: both are remembered
        made.add(0.01, 30.0)
    assert 1.0 <= made.value_s() <= 1.05
    for _ in range(64):  # the third: the first is forgotten
        made.add(0.01, 60.0)
    assert 0.01 <= made.value_s() <= 0.0105


def test_windows_begin_at_their_first_sample_and_are_half_open():
    made = fed([1.0] * 64, now=0.0)
    for now in (30.0, 45.0, 59.9):
        made.add(0.01, now)
    assert made.value_s() > 0.5
    for _ in range(61):
        made.add(0.01, 60.0)  # the window of 30 to 60 is the old one now
    assert 0.01 <= made.value_s() <= 0.0105


def test_it_does_not_matter_where_the_clock_stands():
    made = fed([1.0] * 64, now=1000.0)
    for _ in range(64):
        made.add(0.01, 1030.0)
    assert made.value_s() > 0.5


def test_the_counts_of_both_windows_add_up():
    made = fed([1.0] * 64, quantile=0.5, now=0.0)
    for _ in range(128):
        made.add(0.01, 30.0)
    assert 0.01 <= made.value_s() <= 0.0105
    half = fed([1.0] * 128, quantile=0.5, now=0.0)
    for _ in range(64):
        half.add(0.01, 30.0)
    assert 1.0 <= half.value_s() <= 1.05


@pytest.mark.parametrize(("at", "remembered"), [(59.9, True), (60.0, False), (1e6, False)])
def test_after_a_silence_of_two_windows_all_is_forgotten(at, remembered):
    made = fed([1.0] * 64, now=0.0)
    for _ in range(64):
        made.add(0.01, at)
    assert (made.value_s() > 0.5) is remembered


def test_nothing_is_left_of_what_came_before_a_silence():
    made = fed([0.01] * 64, min_samples=64, now=0.0)
    for _ in range(63):
        made.add(1.0, 60.0)
    assert 0.01 <= made.value_s() <= 0.0105  # as of the last review
    made.add(1.0, 60.0)
    assert 1.0 <= made.value_s() <= 1.05
    few = fed([0.01] * 64, min_samples=65, now=0.0)
    for _ in range(64):
        few.add(1.0, 60.0)
    assert few.value_s() is None
    few.add(1.0, 60.0)
    assert few.value_s() is not None


def test_too_few_again_after_a_silence():
    made = fed([1.0] * 100, min_samples=100, now=0.0)
    assert made.value_s() is not None
    for _ in range(64):
        made.add(1.0, 1000.0)
    assert made.value_s() is None


def test_a_window_of_its_own():
    made = fed([1.0] * 64, now=100.0, window_s=5.0)
    for now in (105.0, 110.0):
        for _ in range(64):
            made.add(0.01, now)
    assert made.value_s() < 0.02


@pytest.mark.parametrize(
    ("sample", "least", "most"),
    [(0.0, 1e-5, 1.06e-5), (1e-9, 1e-5, 1.06e-5), (-1.0, 1e-5, 1.06e-5), (1e9, 2900, 3100)],
)
def test_what_is_out_of_range_goes_to_the_ends(sample, least, most):
    assert least <= fed([sample]).value_s() <= most
