"""How discovery behaves, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DiscoverySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """Settings of discovery; transports and directories with equal ones share supervisors.

    Attributes:
        startup_timeout_s: how long the first request of a service waits for its first list.
        poll_interval_s: seconds between two polls of a registry that cannot push.
        jitter_ratio: each interval is drawn within plus or minus this share, 0 to 1.
        fetch_timeout_s: how long one poll may take.
        backoff_first_s, backoff_max_s: bounds of the waits after failures in a row.
        grace_s: how long an empty or more than halved list is held back until a fresh read may
            confirm it; longer than the heartbeat interval of the instances. 0 believes at once.
        max_services: how many services are kept at a time; the least recently used goes first.
        idle_s: a service not called for so long is let go.
        last_known_good: the folder for lists that survive a restart; None keeps none.
        max_age_s: a list on disk that was last confirmed longer ago than this is not used.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    startup_timeout_s: float = 10.0
    poll_interval_s: float = 5.0
    jitter_ratio: float = 0.1
    fetch_timeout_s: float = 10.0
    backoff_first_s: float = 0.1
    backoff_max_s: float = 5.0
    grace_s: float = 5.0
    max_services: int = 1024
    idle_s: float = 600.0
    last_known_good: str | Path | None = None
    max_age_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "last_known_good":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigurationError(f"{field.name} is {value!r}; it must be a number")
            # Written so that a NaN fails.
            if field.name in {"grace_s", "jitter_ratio"}:
                if not value >= 0:
                    raise ConfigurationError(f"{field.name} is {value!r}; it must be 0 or more")
            elif not value > 0:
                raise ConfigurationError(f"{field.name} is {value!r}; it must be above 0")
        if self.jitter_ratio > 1:
            raise ConfigurationError(f"jitter_ratio is {self.jitter_ratio!r}; it must be 0 to 1")
