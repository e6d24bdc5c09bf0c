"""When a client sends its requests: open loops that do not wait for answers, or a closed loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from trimtab_sim.durations import Duration, Rate, Share  # noqa: TC001 - msgspec reads them
from trimtab_sim.laws import Constant, Law, read_durations

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Arrivals", "Bursty", "Closed", "Diurnal", "Poisson", "Steady", "Trace"]


class _Arrivals(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """Base of all arrivals."""

    @property
    def mean_rate(self) -> float | None:
        """Requests per second of one client in the long run; None for a closed loop."""
        return None


class Poisson(_Arrivals, frozen=True, kw_only=True, tag="poisson"):
    """At random moments, `rate` per second in the mean."""

    rate: Rate

    @property
    def mean_rate(self) -> float:
        """Requests per second of one client in the long run."""
        return float(self.rate)


class Steady(_Arrivals, frozen=True, kw_only=True, tag="constant"):
    """At equal intervals, `rate` per second, with a random phase."""

    rate: Rate

    @property
    def mean_rate(self) -> float:
        """Requests per second of one client in the long run."""
        return float(self.rate)


class Bursty(_Arrivals, frozen=True, kw_only=True, tag="bursty"):
    """Poisson at `rate`, and at `burst_rate` in bursts.

    Calm and burst last `calm` and `burst` in the mean, exponentially (a Markov-modulated
    Poisson process).
    """

    rate: Rate
    burst_rate: Rate
    calm: Duration
    burst: Duration

    def __post_init__(self) -> None:
        for name in ("calm", "burst"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is 0; it must be above 0")

    @property
    def mean_rate(self) -> float:
        """Requests per second of one client in the long run."""
        whole = self.calm + self.burst
        return (self.rate * self.calm + self.burst_rate * self.burst) / whole


class Diurnal(_Arrivals, frozen=True, kw_only=True, tag="diurnal"):
    """Poisson at a rate that follows a sine: mean `rate`, up and down by the share `swing`."""

    rate: Rate
    swing: Share = 0.5
    period: Duration = 86400.0
    peak: Duration = 0.0

    def __post_init__(self) -> None:
        if not self.period > 0:
            raise ValueError("period is 0; it must be above 0")

    @property
    def mean_rate(self) -> float:
        """Requests per second of one client in the long run."""
        return float(self.rate)

    def rate_at(self, now: float) -> float:
        """Return the rate at a moment, per second; highest at `peak` and every period after."""
        phase = 2 * math.pi * (now - self.peak) / self.period
        return self.rate * (1 + self.swing * math.cos(phase))


class Trace(_Arrivals, frozen=True, kw_only=True, tag="trace"):
    """At recorded moments: a file with one per line, in seconds from the start, rising."""

    file: str = ""
    times: tuple[Duration, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.file) == bool(self.times):
            raise ValueError("a trace has either a file or times")
        if any(later < sooner for sooner, later in zip(self.times, self.times[1:], strict=False)):
            raise ValueError("times must rise; sort them")

    @property
    def mean_rate(self) -> float | None:
        """Requests per second of one client in the long run."""
        last = self.times[-1] if self.times else 0.0
        return len(self.times) / last if last else None

    def bind(self, folder: Path) -> Trace:
        """Read the file, relative to a folder, and return the trace with its times.

        Raises:
            ScenarioError: the file cannot be read, or a line of it is not a time.
            ValueError: the times do not rise.
        """
        return Trace(times=read_durations(folder / self.file)) if self.file else self


class Closed(_Arrivals, frozen=True, kw_only=True, tag="closed"):
    """A fixed number of users: each sends the next request after an answer and a think time."""

    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    think: Law = Constant(mean=0.0)


Arrivals: TypeAlias = Poisson | Steady | Bursty | Diurnal | Trace | Closed
