"""How calls to a service are balanced, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trimtab.calls import HedgePolicy, RetryPolicy
from trimtab.errors import ConfigurationError
from trimtab.health import HealthSettings
from trimtab.health.probing import ProbeSettings
from trimtab.pool import ConcurrencyLimits
from trimtab.strategies import resolve

if TYPE_CHECKING:
    from trimtab.events import Listener
    from trimtab.pool import Subset
    from trimtab.strategies import StrategyFactory

__all__ = ["Policies", "check_deadline", "check_range"]

_KINDS: dict[str, type[object]] = {
    "retry": RetryPolicy,
    "hedge": HedgePolicy,
    "health": HealthSettings,
    "concurrency": ConcurrencyLimits,
    "probe": ProbeSettings,
}
_OPTIONAL = ("hedge", "probe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Everything that decides where a request goes, and what follows when that goes wrong.

    Attributes:
        strategy: how to pick: a name, or a factory `(rng) -> Strategy`.
        retry: what is tried again.
        hedge: when a second attempt is sent beside a slow first one; None: never.
        health: what is judged beyond the registry's word.
        concurrency: how much one instance may have in flight.
        subset: chooses the instances that this client talks to, of those that it may; None: all.
        probe: what this client asks instances by itself, to find out whether they are well.
        deadline_s: how long a request may take, attempts and body included; None: no bound.
        listener: told of what happens; see `trimtab.events`.

    Raises:
        ConfigurationError: a value is of the wrong kind, or there is no such strategy.
    """

    strategy: str | StrategyFactory = "least_latency"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    hedge: HedgePolicy | None = None
    health: HealthSettings = field(default_factory=HealthSettings)
    concurrency: ConcurrencyLimits = field(default_factory=ConcurrencyLimits)
    subset: Subset | None = None
    probe: ProbeSettings | None = None
    deadline_s: float | None = None
    listener: Listener | None = None

    def __post_init__(self) -> None:
        resolve(self.strategy)
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) and not (name in _OPTIONAL and value is None):
                raise ConfigurationError(f"{name} is {value!r}; write {name}={kind.__name__}(...)")
        check_deadline(self.deadline_s)


def check_deadline(deadline_s: object) -> None:
    """Refuse a deadline that is none.

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
    """Refuse what is not a number of at least 0.

    Raises:
        ConfigurationError: with the setting's name.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be 0 or more")
