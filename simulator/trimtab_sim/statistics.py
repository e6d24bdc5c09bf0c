"""Statistics over replications: intervals, paired differences, equivalence, warm-up.

Requests of one run are not independent: an interval over them that claims 95 % covers the true
value in 17 % of cases (measured, load 0.8). So the unit here is the *replication*: one number per
run, each run with its own seed. Differences between two set-ups are taken per replication, on the
same random draws.

Agreement with theory is shown by *equivalence*: the interval lies within the stated tolerance. That
theory lies within a wide interval shows only that the interval is wide.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

__all__ = [
    "Interval",
    "Verdict",
    "Warmup",
    "batch_means",
    "bootstrap_interval",
    "equivalence",
    "mser5",
    "paired_difference",
    "replications_for",
    "student_interval",
]

_MOST_REPLICATIONS = 10_000_000
_MSER_BATCH = 5
_FEW_BATCHES = 4
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and the interval around it.

    Attributes:
        estimate: the mean (or another statistic) over the replications.
        low: lower end; minus infinity with a single replication.
        high: upper end.
        level: the claimed confidence, for example 0.95.
        count: the number of replications.
    """

    estimate: float
    low: float
    high: float
    level: float
    count: int

    @property
    def half_width(self) -> float:
        """Half the distance from end to end."""
        return (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float:
        """The half width as a share of the estimate; infinite around zero."""
        return self.half_width / abs(self.estimate) if self.estimate else math.inf

    def contains(self, value: float) -> bool:
        """Return whether a value lies within, ends included."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.half_width):
            return f"{self.estimate:.4g} (one replication: no interval)"
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Verdict(StrEnum):
    """How an interval compares with an expected value and a tolerance."""

    EQUIVALENT = "equivalent"
    """All of the interval lies within the tolerance."""
    DIFFERENT = "different"
    """All of it lies outside."""
    UNDECIDED = "undecided"
    """It lies across an edge: more replications are needed."""


def student_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return Student's interval for the mean of independent values.

    Source: the t distribution with n - 1 degrees of freedom.
    """
    array = _checked(values, level)
    count, mean = len(array), float(array.mean())
    half = math.inf
    if count > 1:
        half = float(stats.t.ppf((1 + level) / 2, count - 1) * array.std(ddof=1)) / count**0.5
    return Interval(estimate=mean, low=mean - half, high=mean + half, level=level, count=count)


def bootstrap_interval(
    values: Sequence[float],
    *,
    level: float = 0.95,
    statistic: Callable[..., npt.NDArray[np.float64] | np.float64] = np.mean,
    seed: int = 0,
) -> Interval:
    """Return a bootstrap interval for any statistic: skewed figures, medians, ratios.

    Args:
        values: independent values, one per replication.
        level: the claimed confidence.
        statistic: a function of an array with the keyword `axis`.
        seed: of the resampling; the same values and seed give the same interval.

    Source: Efron's BCa, as scipy.stats.bootstrap does it; plain percentiles where BCa is not
    defined (a median that stays the same if any one value is left out).
    """
    array = _checked(values, level)
    estimate, count = float(statistic(array, axis=0)), len(array)
    low, high = -math.inf, math.inf
    if count > 1 and np.ptp(array) == 0:
        low = high = estimate  # nothing to resample
    elif count > 1:
        low, high = _bootstrapped(array, statistic, level, seed)
    return Interval(estimate=estimate, low=low, high=high, level=level, count=count)


def _bootstrapped(
    array: npt.NDArray[np.float64], statistic: Any, level: float, seed: int
) -> tuple[float, float]:
    low = high = math.nan
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # a degenerate BCa is dealt with here
            found = stats.bootstrap(
                (array,),
                statistic,
                confidence_level=level,
                n_resamples=_RESAMPLES,
                vectorized=True,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        low, high = float(found.low), float(found.high)
        if math.isfinite(low) and math.isfinite(high):
            break
    return low, high


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95
) -> Interval:
    """Return the interval of `first - second`, taken replication by replication.

    Both must come from the same replications in the same order, on common random numbers.
    """
    if len(first) != len(second):
        raise ValueError(f"cannot pair {len(first)} replications with {len(second)}")
    return student_interval([a - b for a, b in zip(first, second, strict=True)], level=level)


def replications_for(
    values: Sequence[float], *, relative_half_width: float, level: float = 0.95
) -> int:
    """Return how many replications a wanted precision needs, estimated from a pilot.

    Args:
        values: the pilot, at least two.
        relative_half_width: the wanted one, as a share of the mean: 0.01 for plus or minus 1 %.
        level: the claimed confidence.

    Returns:
        the number in all, those of the pilot included; never fewer than the pilot.

    Raises:
        ValueError: fewer than two values, or a mean of zero.
    """
    array = _checked(values, level)
    if len(array) < 2 or not relative_half_width > 0:  # noqa: PLR2004 - a variance takes two
        raise ValueError("needs at least two values and a half width above 0")
    mean, deviation = abs(float(array.mean())), float(array.std(ddof=1))
    if not mean:
        raise ValueError("the mean is 0, so no half width can be stated relative to it")

    def enough(count: int) -> bool:
        t = float(stats.t.ppf((1 + level) / 2, count - 1))
        return bool(t * deviation / count**0.5 <= relative_half_width * mean)

    low = high = len(array)
    while not enough(high) and high < _MOST_REPLICATIONS:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """The warm-up that MSER-5 finds at the start of a series.

    Attributes:
        discard: how many observations to leave out; a multiple of 5.
        reached: whether there is a steady state. False when the best cut is at half of the
            series: then the series is too short, or the system has no steady state.
    """

    discard: int
    reached: bool


def mser5(series: Sequence[float]) -> Warmup:
    """Find the warm-up that makes the rest of a series most homogeneous.

    A diagnostic: the warm-up of a scenario is fixed and stated, and this checks whether it is
    long enough.

    Source: White 1997, "An effective truncation heuristic for bias reduction"; batches of 5,
    cuts up to half of the series.
    """
    batches = batch_means(series, size=_MSER_BATCH)
    count = len(batches)
    if count < _FEW_BATCHES:
        return Warmup(discard=0, reached=False)
    # Sums over the tail from each batch on, all at once.
    tail = np.arange(count, 0, -1)
    centred = batches - batches.mean()  # else the squares of large means drown the variance
    total, squares = np.cumsum(centred[::-1])[::-1], np.cumsum(centred[::-1] ** 2)[::-1]
    spread = np.maximum(squares - total**2 / tail, 0) / tail.astype(float) ** 2
    best = int(np.argmin(spread[: count // 2 + 1]))
    return Warmup(discard=best * _MSER_BATCH, reached=best < count // 2)


def batch_means(
    series: Sequence[float], *, size: int | None = None, batches: int = 20
) -> npt.NDArray[np.float64]:
    """Cut a series into batches, of `size` each or `batches` in all; return their means.

    The remainder at the start is dropped. Twenty means of one long run are nearly
    independent (an interval that claims 95 % covers 93 %); replications are better.
    """
    array = np.asarray(series, dtype=float)
    length = size if size is not None else max(1, len(array) // batches)
    whole = len(array) // length
    means: npt.NDArray[np.float64] = (
        array[len(array) - whole * length :].reshape(whole, length).mean(axis=1)
    )
    return means


def equivalence(
    interval: Interval, expected: float, *, relative: float = 0.0, absolute: float = 0.0
) -> Verdict:
    """Judge whether an interval shows agreement with an expected value.

    Args:
        interval: the measured one.
        expected: the value of theory.
        relative: the tolerance as a share of `expected`, 0.01 for 1 %.
        absolute: the tolerance in the figure's own unit; the two add up.
    """
    tolerance = relative * abs(expected) + absolute
    low, high = expected - tolerance, expected + tolerance
    if low <= interval.low and interval.high <= high:
        return Verdict.EQUIVALENT
    if interval.high < low or interval.low > high:
        return Verdict.DIFFERENT
    return Verdict.UNDECIDED


def _checked(values: Sequence[float], level: float) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array):
        raise ValueError("an interval needs a flat list of at least one value")
    if not np.isfinite(array).all():
        raise ValueError("an interval needs finite values; leave out NaN and infinity knowingly")
    if not 0 < level < 1:
        raise ValueError(f"the level is {level}; it must lie between 0 and 1")
    return array
