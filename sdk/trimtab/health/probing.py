"""When to probe an instance, and when to believe the results. No I/O; the caller passes `now`.

Probes are a setting. Reconnecting is on by default: an instance that has failed to answer is
connected to in the background, and gets no requests while no connection to it opens.

After `fall` failed probes in a row an instance is not picked; after `rise` successful ones it is
again. Probes start `interval_s` apart, plus or minus the jitter, however long they take. So a fault
is found between `(fall - 1) * interval_s + timeout_s` and `fall * interval_s + timeout_s` after it
began (with intervals up to `1 + jitter_ratio` times as long).

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

__all__ = [
    "ProbeCarrier",
    "ProbeResult",
    "ProbeSettings",
    "ProbeState",
    "ReconnectSettings",
    "ReconnectState",
    "Streak",
]

_SOON_S = 60.0
"""How long an instance that went away is expected back soon."""
_MAX_SOON_S = 0.8
_GROWTH, _LATE_GROWTH = 2.0, 1.5
_SPREAD = 0.2


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
        check: the check to run, how often, and how many results in a row count.
        jitter_ratio: each interval is drawn within plus or minus this share, 0 up to 1.
        only_ejected: probe only ejected instances, to take them back early; else all.
        max_at_once: how many probes of a service may run at the same time, at least 1.
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
        rise: how many passes in a row make the verdict "healthy".
        fall: how many failures in a row make the verdict "unhealthy".
    """

    __slots__ = ("_count", "_fall", "_ok", "_rise")

    def __init__(self, rise: int, fall: int) -> None:
        self._rise, self._fall = rise, fall
        self._ok, self._count = True, 0

    def add(self, *, ok: bool) -> bool | None:
        """Count a result; return the verdict that it confirms, or None if there is none yet."""
        self._count = self._count + 1 if ok == self._ok else 1
        self._ok = ok
        return ok if self._count >= (self._rise if ok else self._fall) else None


class ProbeState:
    """The probes of one instance: when the next one is due, and their verdict.

    The first one is at a random time within the interval. So clients that start together, or
    instances that are listed together, do not cause probes at the same time.

    Args:
        rng: the random generator; one draw for the first probe, and one per probe with jitter.
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
        """Note that a probe starts; the next one is due one interval later."""
        spread = self._jitter_ratio * (2 * self._rng.random() - 1) if self._jitter_ratio else 0.0
        self.next_at = now + self._interval_s * (1 + spread)

    def result(self, now: float, *, ok: bool) -> bool | None:
        """Take a probe's result; return the verdict that it confirms, or None if there is none yet.

        A verdict is returned again at each result that confirms it, so the caller may miss one.
        """
        self.next_at = max(self.next_at, now)
        return self._streak.add(ok=ok)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectSettings:
    """How a client finds out that an instance that cannot be reached is back, without a request.

    After a failure without an answer (a refused connection, one that broke, a time-out), the client
    connects to the instance in the background. If that fails, the instance is out of reach: it gets
    no requests until a connection opens, unless no instance is left in reach. Connections are
    opened `first_s` apart, then twice as long each time, up to 0.8 s in the first minute and up to
    `max_s` later; each wait is shortened by up to a fifth, at random.

    Source: the subchannels of gRPC, which wait 1 s at first and up to 120 s.

    Attributes:
        first_s: seconds to the second connection, above 0.
        max_s: the longest wait, seconds; at least `first_s`.
        timeout_s: how long a connection may take to open, seconds, above 0.
        max_at_once: how many connections of a service may be opening at the same time.
        carrier: carries out the check `tcp`; None: over the network.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    first_s: float = 0.1
    max_s: float = 10.0
    timeout_s: float = 1.0
    max_at_once: int = 64
    carrier: ProbeCarrier | None = None

    def __post_init__(self) -> None:
        for name in ("first_s", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be above 0")
        if not self.max_s >= self.first_s:
            raise ConfigurationError(f"max_s is {self.max_s!r}; it must be first_s or more")
        if self.max_at_once < 1:
            raise ConfigurationError(f"max_at_once is {self.max_at_once!r}; it must be 1 or more")


class ReconnectState:
    """When to connect again to one instance.

    Args:
        settings: the waits.
        rng: the source of chance; one draw per connection.
        now: the time, seconds.

    Attributes:
        next_at: when the next connection is due.
    """

    __slots__ = ("_rng", "_settings", "_since", "_wait_s", "next_at")

    def __init__(self, settings: ReconnectSettings, rng: Random, now: float) -> None:
        self._settings = settings
        self._rng = rng
        self._since = self.next_at = now
        self._wait_s = settings.first_s

    def begin(self, now: float) -> None:
        """Note that a connection begins to open."""
        is_soon = now - self._since < _SOON_S
        self.next_at = now + self._wait_s * (1.0 - _SPREAD * self._rng.random())
        most = self._settings.max_s
        if is_soon:
            self._wait_s = min(self._wait_s * _GROWTH, _MAX_SOON_S, most)
        else:
            self._wait_s = min(self._wait_s * _LATE_GROWTH, most)
