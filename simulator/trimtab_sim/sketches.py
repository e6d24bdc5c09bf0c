"""Figures of a stream of numbers, in memory that does not grow with it; all can be merged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Moments", "Quantiles", "Sketch"]


class Moments:
    """Count, mean and variance of a stream of numbers.

    Source: Welford 1962; merging after Chan, Golub, LeVeque 1979.
    """

    __slots__ = ("_m2", "count", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._m2 = 0.0

    def add(self, value: float) -> None:
        """Add one number."""
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self._m2 += before * (value - self.mean)

    def merge(self, other: Moments) -> None:
        """Add all numbers of another one."""
        count = self.count + other.count
        if not count:
            return
        apart = other.mean - self.mean
        self.mean += apart * other.count / count
        self._m2 += other._m2 + apart**2 * self.count * other.count / count
        self.count = count

    @property
    def variance(self) -> float:
        """The unbiased variance; NaN for fewer than two numbers."""
        return self._m2 / (self.count - 1) if self.count > 1 else math.nan

    @property
    def stdev(self) -> float:
        """The standard deviation; NaN for fewer than two numbers."""
        return math.sqrt(self.variance)


class Quantiles:
    """A histogram with logarithmic buckets: any quantile, within a stated relative error.

    Numbers from `least` to `most` (seconds, for example) are kept to `relative_error`; a number
    below `least` counts as zero, one above `most` as the largest number added. Some 1,700
    buckets at 1 %, whatever the number of entries. Two of the same shape can be merged, and the
    order of merging does not matter.

    Source: the buckets of DDSketch (Masson, Rim, Lee 2019), in a fixed range.
    """

    __slots__ = (
        "_counts",
        "_gamma",
        "_offset",
        "_per_log",
        "_shape",
        "_zeros",
        "count",
        "largest",
        "smallest",
        "total",
    )

    def __init__(
        self, *, relative_error: float = 0.01, least: float = 1e-9, most: float = 1e6
    ) -> None:
        if not (0 < relative_error < 1 and 0 < least < most < math.inf):
            raise ValueError("needs 0 < relative_error < 1 and 0 < least < most")
        self._shape = (relative_error, least, most)
        self._gamma = (1 + relative_error) / (1 - relative_error)
        self._per_log = 1 / math.log(self._gamma)
        self._offset = math.log(least) * self._per_log
        self._counts = [0] * (int(math.log(most) * self._per_log - self._offset) + 2)
        self._zeros = 0
        self.count = 0
        self.total = 0.0
        self.smallest = math.inf
        self.largest = -math.inf

    def add(self, value: float) -> None:
        """Add one number, 0 or more. O(1)."""
        self.count += 1
        self.total += value
        # Comparisons, not min() and max(): this is called for every simulated request.
        if value > self.largest:  # noqa: PLR1730
            self.largest = value
        if value < self.smallest:  # noqa: PLR1730
            self.smallest = value
        if value < self._shape[1]:
            self._zeros += 1
            return
        bucket = int(math.log(value) * self._per_log - self._offset)
        counts = self._counts
        counts[bucket if bucket < len(counts) else -1] += 1

    def merge(self, other: Quantiles) -> None:
        """Add all numbers of another one of the same shape."""
        if self._shape != other._shape:
            raise ValueError(f"cannot merge shapes {self._shape} and {other._shape}")
        self._counts = [mine + its for mine, its in zip(self._counts, other._counts, strict=True)]
        self._zeros += other._zeros
        self.count += other.count
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    @property
    def mean(self) -> float:
        """The mean, exact up to rounding; NaN when empty."""
        return self.total / self.count if self.count else math.nan

    def quantile(self, q: float) -> float:
        """Return the number below which a share `q` (0 to 1) of all lies; NaN when empty."""
        if not 0 <= q <= 1:
            raise ValueError(f"q is {q}; a quantile needs a share from 0 to 1")
        if not self.count:
            return math.nan
        left = math.floor(q * (self.count - 1))
        for value, count in self.buckets():
            left -= count
            if left < 0:
                return value
        return self.largest

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield (number, count) of all buckets that are not empty, in rising order.

        The number stands for all of its bucket, within the relative error.
        """
        if self._zeros:
            yield max(self.smallest, 0.0), self._zeros
        last = len(self._counts) - 1
        for bucket, count in enumerate(self._counts):
            if count:
                middle = 2 * self._gamma ** (bucket + 1 + self._offset) / (self._gamma + 1)
                value = self.largest if bucket == last else middle
                yield min(max(value, self.smallest), self.largest), count

    def freeze(self) -> Sketch:
        """Return the histogram as a plain value, which can be sent and stored."""
        counts = {bucket: count for bucket, count in enumerate(self._counts) if count}
        return Sketch(
            shape=self._shape,
            counts=counts,
            zeros=self._zeros,
            total=self.total,
            smallest=self.smallest if self.count else None,
            largest=self.largest if self.count else None,
        )


class Sketch(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram as a plain value; `thaw` makes `Quantiles` of it again.

    Attributes:
        shape: relative error, least and most.
        counts: by bucket, those that are not empty.
        zeros: how many numbers below the least.
        total: the sum of all numbers.
        smallest, largest: of the numbers; None when empty.
    """

    shape: tuple[float, float, float]
    counts: dict[int, int]
    zeros: int
    total: float
    smallest: float | None
    largest: float | None

    def thaw(self) -> Quantiles:
        """Return a histogram with quantiles that can be merged."""
        error, least, most = self.shape
        found = Quantiles(relative_error=error, least=least, most=most)
        for bucket, count in self.counts.items():
            found._counts[bucket] = count  # noqa: SLF001 - two forms of one thing
        found._zeros = self.zeros  # noqa: SLF001
        found.count = sum(self.counts.values()) + self.zeros
        found.total = self.total
        if self.smallest is not None and self.largest is not None:
            found.smallest, found.largest = self.smallest, self.largest
        return found

    @staticmethod
    def pool(sketches: Iterable[Sketch]) -> Quantiles:
        """Merge several of the same shape."""
        pooled = Quantiles()
        for sketch in sketches:
            pooled.merge(sketch.thaw())
        return pooled
