"""Two frozen values: the settings of discovery, and its state for one service."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from trimtab.errors import ConfigurationError
from trimtab.networks import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["DiscoverySettings", "DiscoveryState"]

_MODES = ("auto", "push", "poll")
_NO_NUMBERS = ("mode", "last_known_good", "allow_networks")
_MAY_BE_ZERO = ("doubt_max_s", "grace_s", "jitter_ratio", "resync_interval_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """Settings of discovery; transports and directories with equal ones share supervisors.

    Attributes:
        mode: "push" requires a registry that pushes its changes; "poll" asks in intervals; "auto"
            follows the changes if the registry pushes them.
        startup_timeout_s: how long the first request of a service waits for its first list.
        poll_interval_s: seconds between two polls.
        resync_interval_s: seconds between two full reads beside a watch, which notice a watch that
            has stopped without an error; 0: no such reads.
        jitter_ratio: each interval is drawn within plus or minus this share, 0 to 1.
        fetch_timeout_s: how long one full read may take, and how far a watch may lag behind one.
        backoff_first_s, backoff_max_s: bounds of the waits after failures in a row.
        grace_s: how long an instance stays in use that vanishes right after trouble with the
            registry, or together with more than half of the others; then a new read may confirm
            it. Longer than the heartbeat interval of the instances. 0: a loss counts at once.
        doubt_max_s: how long, after trouble with the registry, an instance that was lost stays in
            use while its own requests or probes succeed.
        max_services: how many services are kept at a time; the least recently used is dropped
            first.
        idle_s: a service that is not used for so long is dropped.
        max_instances: a longer list is refused, and the one before stays in use.
        allow_networks: networks that instances may be in, like "10.0.0.0/8"; others are skipped.
            None allows all but link-local, metadata, multicast and unspecified addresses; name
            such a range itself to allow it. See `trimtab.networks`.
        last_known_good: the folder for lists that survive a restart; None: no lists on disk.
        max_age_s: a list on disk that was last confirmed longer ago than this is not used.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    mode: Literal["auto", "push", "poll"] = "auto"
    startup_timeout_s: float = 10.0
    poll_interval_s: float = 5.0
    resync_interval_s: float = 60.0
    jitter_ratio: float = 0.1
    fetch_timeout_s: float = 10.0
    backoff_first_s: float = 0.1
    backoff_max_s: float = 5.0
    grace_s: float = 5.0
    doubt_max_s: float = 60.0
    max_services: int = 1024
    idle_s: float = 600.0
    max_instances: int = 100_000
    allow_networks: Sequence[str] | None = None
    last_known_good: str | Path | None = None
    max_age_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ConfigurationError(f"mode is {self.mode!r}; it must be one of {_MODES}")
        for field in fields(self):
            if field.name not in _NO_NUMBERS:
                _check_number(field.name, getattr(self, field.name))
        if self.jitter_ratio > 1:
            raise ConfigurationError(f"jitter_ratio is {self.jitter_ratio!r}; it must be 0 to 1")
        if self.allow_networks is not None:
            object.__setattr__(self, "allow_networks", NetworkPolicy(self.allow_networks).allow)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryState:
    """How fresh a service's list is, and the last error.

    Attributes:
        service: its name.
        registry: the registry's URL, without secrets.
        instances: the length of the list; None before the first.
        age_s: seconds since the registry last confirmed the list; None before the first.
        source: "registry" or "disk"; "" before the first list.
        failures: failed attempts in a row.
        last_error: the latest failure's message while `failures` is above 0.
        held: how many instances the registry lists while the loss of others is doubted and they
            stay in use; None while no loss is doubted.
    """

    service: str
    registry: str
    instances: int | None = None
    age_s: float | None = None
    source: str = ""
    failures: int = 0
    last_error: str = ""
    held: int | None = None


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{name} is {value!r}; it must be a number")
    # Written so that NaN is refused.
    if name in _MAY_BE_ZERO:
        if not value >= 0:
            raise ConfigurationError(f"{name} is {value!r}; it must be 0 or more")
    elif not value > 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be above 0")
