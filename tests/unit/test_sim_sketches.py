import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_sim.sketches import Moments, Quantiles

NUMBERS = st.lists(st.floats(min_value=0, max_value=1e5), min_size=2, max_size=60)


def moments(values):
    result = Moments()
    for value in values:
        result.add(value)
    return result


def quantiles(values, **kwargs):
    result = Quantiles(**kwargs)
    for value in values:
        result.add(value)
    return result


@given(NUMBERS)
def test_moments_are_those_of_the_list(values):
    found = moments(values)
    assert found.count == len(values)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.variance == pytest.approx(statistics.variance(values), rel=1e-6, abs=1e-6)
    assert found.stdev == pytest.approx(math.sqrt(found.variance))


@given(NUMBERS, NUMBERS)
def test_merged_moments_are_those_of_both(first, second):
    merged = moments(first)
    merged.merge(moments(second))
    whole = moments(first + second)
    assert merged.mean == pytest.approx(whole.mean)
    assert merged.variance == pytest.approx(whole.variance, rel=1e-6, abs=1e-6)


def test_moments_of_nothing_and_of_one():
    empty = Moments()
    empty.merge(Moments())
    assert empty.count == 0
    empty.add(3)
    assert empty.mean == 3
    assert math.isnan(empty.variance)


@given(NUMBERS, st.floats(min_value=0, max_value=1))
def test_quantiles_are_within_one_per_cent(values, q):
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    assert quantiles(values).quantile(q) == pytest.approx(exact, rel=0.010001, abs=1e-9)


@given(NUMBERS, NUMBERS)
def test_merging_equals_adding_and_does_not_mind_the_order(first, second):
    one, two = quantiles(first), quantiles(second)
    one.merge(quantiles(second))
    two.merge(quantiles(first))
    assert list(one.buckets()) == list(two.buckets()) == list(quantiles(first + second).buckets())
    assert one.count == len(first + second)
    assert one.mean == pytest.approx(statistics.fmean(first + second))


def test_a_large_sample():
    rng = random.Random(1)
    values = [rng.lognormvariate(-3, 1.5) for _ in range(50_000)]
    found = quantiles(values)
    for q in (0.5, 0.9, 0.99, 0.999):
        exact = float(np.quantile(values, q, method="lower"))
        assert found.quantile(q) == pytest.approx(exact, rel=0.01)
    assert found.quantile(0) == pytest.approx(min(values), rel=0.01)
    assert found.quantile(1) == pytest.approx(max(values), rel=0.01)
    assert len(found._counts) < 2000


def test_beyond_the_range():
    found = quantiles([0.0, 1e-12, 5.0, 1e9], most=1e3)
    assert found.quantile(0) == 0
    assert found.quantile(0.7) == pytest.approx(5, rel=0.01)
    assert found.quantile(1) == 1e9


def test_the_error_can_be_chosen():
    assert quantiles([7.0, 9.0], relative_error=0.001).quantile(0) == pytest.approx(7, rel=0.001)


def test_an_empty_one_and_wrong_questions():
    empty = Quantiles()
    assert math.isnan(empty.quantile(0.5))
    assert math.isnan(empty.mean)
    with pytest.raises(ValueError, match="q is 99; a quantile needs a share from 0 to 1"):
        empty.quantile(99)
    with pytest.raises(ValueError, match="cannot merge"):
        empty.merge(Quantiles(relative_error=0.02))
    with pytest.raises(ValueError, match="needs 0 <"):
        Quantiles(relative_error=0)
