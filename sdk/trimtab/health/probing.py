"""When to probe an instance, and when to believe what the probes find. No I/O, takes `now`.

A verdict stands once `rise` probes in a row have passed, or `fall` in a row have failed. Probes
start `interval_s` apart, whatever time they take, give or take the jitter; so a fault shows
between `(fall - 1) * interval_s + timeout_s` and `fall * interval_s + timeout_s` after it began
(with intervals lengthened by up to `1 + jitter_ratio`).

Source: the `rise` and `fall` of HAProxy's health checks; Consul's SuccessBeforePassing and
FailuresBeforeCritical mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from trimtab.errors import ConfigurationError
from trimtab.instance import Status

if TYPE_CHECKING:
    from random import Random

    from trimtab.check import Check
    from trimtab.instance import Instance

__all__ = ["ProbeCarrier", "ProbeResult", "ProbeSettings", "ProbeState", "Streak"]


class ProbeResult(NamedTuple):
    """The result of one probe: passing, warning or critical, and a text for people."""

    status: Status
    output: str

    @property
    def ok(self) -> bool:
        """Whether the instance may take traffic: a warning one may."""
        return self.status is not Status.CRITICAL


class ProbeCarrier(Protocol):
    """Carries out one probe; `trimtab.probing.NetworkCarrier` does so over the network.

    An async function of these two arguments is one. What it raises makes the instance critical,
    and it is cancelled after the check's `timeout_s`.
    """

    async def __call__(self, check: Check, instance: Instance, /) -> ProbeResult:
        """Probe the instance once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How a client probes the instances of a service by itself.

    Attributes:
        check: what is asked, how often, and when it is believed.
        jitter_ratio: each interval is drawn within plus or minus this share, 0 up to 1.
        only_ejected: probe the instances that are ejected, to let them back in early; else all.
        max_at_once: how many probes of a service may be under way, at least 1.
        carrier: carries out each probe; None: over the network.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    check: Check
    jitter_ratio: float = 0.1
    only_ejected: bool = False
    max_at_once: int = 64
    carrier: ProbeCarrier | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ratio < 1:
            raise ConfigurationError(
                f"jitter_ratio is {self.jitter_ratio!r}; it must be from 0 to below 1"
            )
        if self.max_at_once < 1:
            raise ConfigurationError(f"max_at_once is {self.max_at_once!r}; it must be 1 or more")
        if self.carrier is not None and not callable(self.carrier):
            raise ConfigurationError(
                f"carrier is {self.carrier!r}; it must be an async function of a check and an "
                "instance, or None"
            )


class Streak:
    """Counts results that agree, in a row.

    Args:
        rise: how many passes in a row it takes to believe that all is well.
        fall: how many failures in a row it takes to believe the opposite.
    """

    __slots__ = ("_count", "_fall", "_ok", "_rise")

    def __init__(self, rise: int, fall: int) -> None:
        self._rise, self._fall = rise, fall
        self._ok, self._count = True, 0

    def add(self, *, ok: bool) -> bool | None:
        """Count a result; return the verdict that it upholds, or None if there is none yet."""
        self._count = self._count + 1 if ok == self._ok else 1
        self._ok = ok
        return ok if self._count >= (self._rise if ok else self._fall) else None


class ProbeState:
    """The probes of one instance: when the next one is due, and what they amount to.

    The first falls anywhere within the interval, so that clients that start together, and
    instances that are listed together, are not probed together ever after.

    Args:
        rng: the source of chance; one draw for the first probe, and one per probe with jitter.
        now: the time, seconds.
        interval_s: from one probe's start to the next one's, above 0.
        rise, fall: see `Streak`.
        jitter_ratio: each interval is drawn within plus or minus this share.

    Attributes:
        next_at: when the next probe is due.
    """

    __slots__ = ("_interval_s", "_jitter_ratio", "_rng", "_streak", "next_at")

    def __init__(
        self,
        rng: Random,
        now: float,
        *,
        interval_s: float,
        rise: int,
        fall: int,
        jitter_ratio: float = 0.0,
    ) -> None:
        self._interval_s = interval_s
        self._jitter_ratio = jitter_ratio
        self._rng = rng
        self._streak = Streak(rise, fall)
        self.next_at = now + rng.random() * interval_s

    @classmethod
    def of(cls, check: Check, rng: Random, now: float, *, jitter_ratio: float = 0.0) -> Self:
        """Make the state for a check."""
        return cls(
            rng,
            now,
            interval_s=check.interval_s,
            rise=check.rise,
            fall=check.fall,
            jitter_ratio=jitter_ratio,
        )

    def begin(self, now: float) -> None:
        """Note that a probe starts; the next one is an interval away."""
        spread = self._jitter_ratio * (2 * self._rng.random() - 1) if self._jitter_ratio else 0.0
        self.next_at = now + self._interval_s * (1 + spread)

    def result(self, now: float, *, ok: bool) -> bool | None:
        """Take in what the probe found; return the verdict that stands, None while none does.

        A standing verdict is returned again at every result that upholds it: what the caller
        does with it must not depend on hearing it once.
        """
        self.next_at = max(self.next_at, now)
        return self._streak.add(ok=ok)
