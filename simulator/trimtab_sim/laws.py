"""Laws (distributions) of service times and latencies.

A file names one by a table, `{ law = "exponential", mean = "10ms" }`. Every law turns *one* uniform
number into one duration (`draw`), by the inverse of its distribution function, so that a number
keyed by request gives each strategy the same draw. `sampler()` returns the same as a plain function
with all constants computed, for the inner loop.

| law | fields | cv2, the squared coefficient of variation |
|---|---|---|
| `constant` | mean | 0 |
| `exponential` | mean | 1 |
| `lognormal` | mean, cv2 | as given |
| `hyperexponential` | mean, cv2 | as given, 1 or more; balanced means |
| `two_modes` | short, long, long_ratio | of the two exponentials mixed |
| `pareto` | mean, shape (more than 1) | `1 / (shape * (shape - 2))`, infinite up to shape 2 |
| `empirical` | file, or values and maybe ratios | of the values |
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

from trimtab_sim.durations import Duration, Share, decode, parse_duration
from trimtab_sim.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Sampler: TypeAlias = "Callable[[float], float]"

__all__ = [
    "Constant",
    "Empirical",
    "Exponential",
    "Hyperexponential",
    "Law",
    "Lognormal",
    "Pareto",
    "TwoModes",
    "parse_law",
]

_INVERSE_NORMAL = NormalDist().inv_cdf


class _Law(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="law"):
    """Base of all laws. Subclasses define `mean`, `cv2` and `sampler`."""

    def sampler(self) -> Sampler:
        """Return the function from a uniform number in (0, 1) to seconds."""
        raise NotImplementedError

    def draw(self, u: float) -> float:
        """Turn a uniform number in (0, 1) into seconds."""
        return self.sampler()(u)


class Constant(_Law, frozen=True, tag="constant"):
    """Always the same duration."""

    mean: Duration

    @property
    def cv2(self) -> float:
        """The squared coefficient of variation."""
        return 0.0

    def sampler(self) -> Sampler:
        """Return the function from a uniform number to seconds."""
        mean = float(self.mean)
        return lambda _u: mean


class Exponential(_Law, frozen=True, tag="exponential"):
    """Without memory: the law that most closed forms of queueing theory assume."""

    mean: Duration

    def __post_init__(self) -> None:
        _positive("mean", self.mean)

    @property
    def cv2(self) -> float:
        """The squared coefficient of variation."""
        return 1.0

    def sampler(self) -> Sampler:
        """Return the function from a uniform number to seconds."""
        mean, log1p = float(self.mean), math.log1p
        return lambda u: -mean * log1p(-u)


class Lognormal(_Law, frozen=True, tag="lognormal"):
    """The shape of most measured latencies: a body and a moderate tail."""

    mean: Duration
    cv2: float = 1.0

    def __post_init__(self) -> None:
        _positive("mean", self.mean)
        _positive("cv2", self.cv2)

    def sampler(self) -> Sampler:
        """Return the function from a uniform number to seconds."""
        variance = math.log1p(self.cv2)
        mu, sigma = math.log(self.mean) - variance / 2, math.sqrt(variance)
        exp, inverse = math.exp, _INVERSE_NORMAL
        return lambda u: exp(mu + sigma * inverse(u))


class Hyperexponential(_Law, frozen=True, tag="hyperexponential"):
    """Two exponentials mixed: mostly short, sometimes long, each bringing half of the load.

    One uniform number serves for both the choice of the branch and the draw within it.
    """

    mean: Duration
    cv2: float

    def __post_init__(self) -> None:
        _positive("mean", self.mean)
        if not 1 <= self.cv2 < math.inf:
            raise ValueError(f"cv2 is {self.cv2}; a hyperexponential law has 1 or more")

    @property
    def branches(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The (probability, mean in seconds) of both branches, the short one first.

        Source: "balanced means", Whitt 1982: p = (1 + sqrt((cv2 - 1) / (cv2 + 1))) / 2.
        """
        p = (1 + math.sqrt((self.cv2 - 1) / (self.cv2 + 1))) / 2
        return (p, self.mean / (2 * p)), (1 - p, self.mean / (2 * (1 - p)))

    def sampler(self) -> Sampler:
        """Return the function from a uniform number to seconds."""
        (p, short), (q, long) = self.branches
        log = math.log
        return lambda u: -short * log(1 - u / p) if u < p else -long * log((1 - u) / q)


class TwoModes(_Law, frozen=True, tag="two_modes"):
    """Two exponentials mixed: usually `short`, for a few requests `long`.

    The law of a service whose requests sometimes meet a pause: the case for hedging.
    """

    short: Duration
    long: Duration
    long_ratio: float

    def __post_init__(self) -> None:
        _positive("short", self.short)
        _positive("long", self.long)
        if not 0 < self.long_ratio < 1:
            raise ValueError(f"long_ratio is {self.long_ratio}; it is a share between 0 and 1")

    @property
    def mean(self) -> float:
        """Seconds."""
        return (1 - self.long_ratio) * self.short + self.long_ratio * self.long

    @property
    def cv2(self) -> float:
        """The squared coefficient of variation."""
        second = 2 * ((1 - self.long_ratio) * self.short**2 + self.long_ratio * self.long**2)
        return second / self.mean**2 - 1

    def sampler(self) -> Sampler:
        """Return the function from a uniform number to seconds."""
        q, short, long, log = self.long_ratio, self.short, self.long, math.log
        p = 1 - q
        return lambda u: -short * log(1 - u / p) if u < p else -long * log((1 - u) / q)


class Pareto(_Law, frozen=True, tag="pareto"):
    """A heavy tail: the rare request that takes a thousand times as long."""

    mean: Duration
    shape: float = 2.5

    def __post_init__(self) -> None:
        _positive("mean", self.mean)
        if not 1 < self.shape < math.inf:
            raise ValueError(f"shape is {self.shape}; it must be above 1, or there is no mean")

    @property
    def cv2(self) -> float:
        """The squared coefficient of variation."""
        return 1 / (self.shape * (self.shape - 2)) if self.shape > 2 else math.inf  # noqa: PLR2004 - the moment's own bound

    def sampler(self) -> Sampler:
        """Return the function from a uniform number to seconds."""
        least, power = self.mean * (self.shape - 1) / self.shape, -1 / self.shape
        return lambda u: least * (1 - u) ** power


class Empirical(_Law, frozen=True, tag="empirical"):
    """Measured values, each equally likely, or as often as `ratios` say.

    Args:
        file: a text file with one duration per line; blank lines and lines with # are skipped.
        values: the durations themselves, instead of a file.
        ratios: the share of each of the values; together 1.
    """

    file: str = ""
    values: tuple[Duration, ...] = ()
    ratios: tuple[Share, ...] | None = None

    def __post_init__(self) -> None:
        if bool(self.file) == bool(self.values):
            raise ValueError("an empirical law has either a file or values")
        ratios = self.ratios
        if ratios is not None and (
            len(ratios) != len(self.values) or not math.isclose(math.fsum(ratios), 1.0)
        ):
            raise ValueError("ratios need a share for each of the values, and add up to 1")

    @property
    def mean(self) -> float:
        """The mean of the values, in seconds."""
        return self._moment(1)

    @property
    def cv2(self) -> float:
        """The squared coefficient of variation."""
        mean = self.mean
        return max(0.0, self._moment(2) / mean**2 - 1) if mean else 0.0

    def _moment(self, power: int) -> float:
        values = self._loaded()
        ratios = self.ratios or (1 / len(values),) * len(values)
        return math.fsum(q * value**power for q, value in zip(ratios, values, strict=True))

    def sampler(self) -> Sampler:
        """Return the function from a uniform number to seconds."""
        if self.ratios is not None:
            pairs = sorted(zip(map(float, self.values), self.ratios, strict=True))
            upto = list(accumulate(q for _, q in pairs))[:-1]
            return lambda u: pairs[bisect(upto, u)][0]
        values = sorted(map(float, self._loaded()))
        count = len(values)
        return lambda u: values[int(u * count)]

    def bind(self, folder: Path) -> Empirical:
        """Read the file, relative to a folder, and return the law with its values.

        Raises:
            ScenarioError: the file cannot be read, or a line of it is not a duration.
        """
        return Empirical(values=read_durations(folder / self.file)) if self.file else self

    def _loaded(self) -> tuple[float, ...]:
        return self.values or self.bind(Path()).values


Law: TypeAlias = (
    Constant | Exponential | Lognormal | Hyperexponential | TwoModes | Pareto | Empirical
)


def parse_law(table: Mapping[str, Any]) -> Law:
    """Make a law from a table such as `{"law": "exponential", "mean": "10ms"}`.

    Raises:
        ScenarioError: the law is unknown, or a field of it is wrong.
    """
    try:
        return cast("Law", msgspec.convert(table, Law, dec_hook=decode))
    except msgspec.ValidationError as error:
        raise ScenarioError(f"law {dict(table)!r}: {error}") from None


def read_durations(path: Path) -> tuple[float, ...]:
    """Read a file with one duration per line.

    Raises:
        ScenarioError: naming the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScenarioError(f"{path}: cannot be read: {reason}") from None
    values = [_line(path, at, text) for at, text in enumerate(lines, 1) if _has_content(text)]
    if not values:
        raise ScenarioError(f"{path}: holds no durations; write one per line")
    return tuple(values)


def _has_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _line(path: Path, number: int, text: str) -> float:
    value: object = text
    with contextlib.suppress(ValueError):
        value = float(text)
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ScenarioError(f"{path}:{number}: {error}") from None


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value:g}; it must be above 0")
