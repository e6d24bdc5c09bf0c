"""How requests to a service are balanced, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trimtab.calls import HedgePolicy, RetryPolicy
from trimtab.errors import ConfigurationError
from trimtab.health import HealthSettings
from trimtab.health.probing import ProbeSettings, ReconnectSettings
from trimtab.pool import ConcurrencyLimits
from trimtab.strategies import PrioritySettings, resolve
from trimtab.strategies.settings import check_function, check_settings

if TYPE_CHECKING:
    from trimtab.events import Listener
    from trimtab.pool import Subset
    from trimtab.strategies import StrategyFactory

__all__ = ["Policies", "check_deadline", "check_range", "reconnect_settings"]

_KINDS: dict[str, type[object]] = {
    "retry": RetryPolicy,
    "hedge": HedgePolicy,
    "health": HealthSettings,
    "concurrency": ConcurrencyLimits,
    "priorities": PrioritySettings,
    "probe": ProbeSettings,
    "reconnect": ReconnectSettings,
}
_OPTIONAL = ("hedge", "probe", "reconnect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """All settings that decide where a request is sent, and what happens when it fails.

    Attributes:
        strategy: how to pick: a name, or a factory `(rng) -> Strategy`.
        retry: which failures are tried again.
        hedge: when a second attempt is sent beside a slow first one; None: never.
        health: how instances are judged besides their status in the registry.
        concurrency: how many requests one instance may have in flight.
        subset: chooses the instances that this client uses; None: all.
        priorities: how instances of several priorities share the requests.
        probe: the active checks of instances by this client; None: no probes.
        reconnect: how instances that cannot be reached are found to be back; None: by requests.
        deadline_s: how long a request may take, attempts and body included; None: no limit.
        listener: called with each event; see `trimtab.events`.

    Raises:
        ConfigurationError: a value is of the wrong kind, or there is no such strategy.
    """

    strategy: str | StrategyFactory = "least_latency"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    hedge: HedgePolicy | None = None
    health: HealthSettings = field(default_factory=HealthSettings)
    concurrency: ConcurrencyLimits = field(default_factory=ConcurrencyLimits)
    subset: Subset | None = None
    priorities: PrioritySettings = field(default_factory=PrioritySettings)
    probe: ProbeSettings | None = None
    reconnect: ReconnectSettings | None = None
    deadline_s: float | None = None
    listener: Listener | None = None

    def __post_init__(self) -> None:
        resolve(self.strategy)
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not (name in _OPTIONAL and value is None):
                check_settings(name, value, kind)
        check_function("subset", self.subset, "a function of the instances, or RandomSubset(...)")
        check_function("listener", self.listener, "a function of an event")
        check_deadline(self.deadline_s)


def reconnect_settings(
    given: ReconnectSettings | bool | None,  # noqa: FBT001 - three plain values of one setting
    *,
    by_default: bool,
) -> ReconnectSettings | None:
    """Return the settings that a user means: True and False switch it on and off.

    Raises:
        ConfigurationError: it is neither settings, nor True, False or None.
    """
    if isinstance(given, ReconnectSettings):
        return given
    if given is not None and not isinstance(given, bool):
        raise ConfigurationError(
            f"reconnect is {given!r}; write True, False or reconnect=ReconnectSettings(...)"
        )
    is_on = by_default if given is None else given
    return ReconnectSettings() if is_on else None


def check_deadline(deadline_s: object) -> None:
    """Check a deadline.

    Raises:
        ConfigurationError: it is neither None nor a number above 0.
    """
    if deadline_s is None:
        return
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, (int, float)):
        raise ConfigurationError(f"deadline_s is {deadline_s!r}; it must be a number of seconds")
    if not deadline_s > 0:
        raise ConfigurationError(f"deadline_s is {deadline_s!r}; it must be above 0")


def check_range(name: str, value: object) -> None:
    """Check that a value is a number of at least 0.

    Raises:
        ConfigurationError: with the setting's name.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be 0 or more")
