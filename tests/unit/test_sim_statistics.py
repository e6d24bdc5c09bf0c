import math
import random
import re

import numpy as np
import pytest
from scipy import stats

from trimtab_sim.statistics import (
    Interval,
    Verdict,
    batch_means,
    bootstrap_interval,
    equivalence,
    mser5,
    paired_difference,
    replications_for,
    student_interval,
)


def interval(low, high):
    return Interval(estimate=(low + high) / 2, low=low, high=high, level=0.95, count=10)


def test_students_interval_by_hand():
    # mean 3, standard deviation 1.5811, t(4, 0.975) = 2.7764
    found = student_interval([1, 2, 3, 4, 5])
    assert found.estimate == 3
    assert found.half_width == pytest.approx(2.7764 * 1.58114 / math.sqrt(5), rel=1e-4)
    assert found.relative_half_width == pytest.approx(found.half_width / 3)
    assert found.contains(3)
    assert not found.contains(5)
    assert str(found) == "3 [1.037, 4.963]"


def test_one_replication_has_no_interval():
    for found in (student_interval([4.0]), bootstrap_interval([4.0])):
        assert (found.low, found.high) == (-math.inf, math.inf)
        assert "no interval" in str(found)


def test_around_zero_no_relative_width():
    assert student_interval([-1, 1]).relative_half_width == math.inf


def test_students_interval_has_its_claimed_coverage():
    rng = np.random.default_rng(1)
    covered = sum(
        student_interval(sample, level=0.9).contains(0) for sample in rng.normal(size=(1000, 8))
    )
    assert 855 <= covered <= 945  # mean 900, standard deviation 9.5: less than 1 in 100,000


def test_bootstrap_is_close_to_student_where_both_hold_and_repeats_itself():
    values = list(np.random.default_rng(3).normal(10, 2, size=60))
    student, bootstrap = student_interval(values), bootstrap_interval(values)
    assert bootstrap.low == pytest.approx(student.low, rel=0.02)
    assert bootstrap.high == pytest.approx(student.high, rel=0.02)
    assert bootstrap == bootstrap_interval(values)
    assert bootstrap != bootstrap_interval(values, seed=1)


def test_bootstrap_of_the_median_and_of_equal_values():
    median = bootstrap_interval([1, 2, 3, 4, 100] * 4, statistic=np.median)
    assert median.low < median.estimate == 3 < median.high < 100
    same = bootstrap_interval([2.0, 2.0, 2.0])
    assert (same.low, same.high) == (2, 2)


def test_pairing_removes_the_shared_variance():
    rng = random.Random(5)
    shared = [rng.gauss(100, 20) for _ in range(10)]
    first = [value + 1 + rng.gauss(0, 0.1) for value in shared]
    paired = paired_difference(first, shared)
    assert paired.low > 0.8
    assert paired.high < 1.2
    with pytest.raises(ValueError, match="cannot pair 2 replications with 1"):
        paired_difference([1, 2], [1])


def test_the_number_of_replications_for_a_precision():
    rng = np.random.default_rng(2)
    pilot = rng.normal(100, 10, size=10)
    needed = replications_for(pilot, relative_half_width=0.01)
    scale = pilot.std(ddof=1) / pilot.mean()
    assert needed == pytest.approx((1.96 * scale / 0.01) ** 2, rel=0.02)
    assert replications_for(pilot, relative_half_width=10) == 10
    assert replications_for([5, 5, 5], relative_half_width=1e-9) == 3


def test_the_number_is_the_smallest_that_suffices():
    pilot = [9.0, 10.0, 11.0, 10.5]
    needed = replications_for(pilot, relative_half_width=0.03)
    deviation, mean = np.std(pilot, ddof=1), np.mean(pilot)

    def half(count):
        return stats.t.ppf(0.975, count - 1) * deviation / math.sqrt(count)

    assert half(needed) <= 0.03 * mean < half(needed - 1)


@pytest.mark.parametrize(
    ("values", "half", "message"),
    [([1], 0.1, "at least two"), ([1, 2], 0, "above 0"), ([-1, 1], 0.1, "mean is 0")],
)
def test_no_number_can_be_given(values, half, message):
    with pytest.raises(ValueError, match=message):
        replications_for(values, relative_half_width=half)


def test_mser_finds_a_transient():
    rng = np.random.default_rng(4)
    series = rng.normal(5, 1, size=2000)
    series[:200] += np.linspace(20, 0, 200)
    found = mser5(series)
    assert found.reached
    assert 120 <= found.discard <= 260
    assert found.discard % 5 == 0


def test_mser_reports_a_series_without_steady_state():
    assert not mser5(np.arange(1000.0)).reached
    assert not mser5([1.0, 2.0]).reached


def test_mser_of_a_settled_series_discards_little():
    found = mser5(np.random.default_rng(6).normal(1e6, 1, size=3000))
    assert found.reached
    assert found.discard < 600


def test_batch_means():
    assert batch_means(list(range(10)), size=5).tolist() == [2, 7]
    assert batch_means([99, *range(10)], size=5).tolist() == [2, 7]
    assert len(batch_means(range(1000))) == 20
    assert batch_means([1, 2]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (9.95, 10.05, Verdict.EQUIVALENT),
        (9.9, 10.1, Verdict.EQUIVALENT),
        (9.85, 10.05, Verdict.UNDECIDED),
        (0, 20, Verdict.UNDECIDED),
        (10.2, 10.3, Verdict.DIFFERENT),
        (9.0, 9.8, Verdict.DIFFERENT),
    ],
)
def test_equivalence(low, high, verdict):
    assert equivalence(interval(low, high), 10, relative=0.01) is verdict
    assert equivalence(interval(low, high), 10, absolute=0.1) is verdict


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ([], 0.95, "at least one value"),
        ([[1, 2]], 0.95, "flat list"),
        ([1, math.nan], 0.95, "finite"),
        ([1, 2], 95, "between 0 and 1"),
    ],
)
def test_wrong_input(values, level, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        student_interval(values, level=level)
