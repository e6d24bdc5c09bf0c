"""What happens to instances, services and registries: one frozen value per event.

Whoever notices something emits an event to its listeners: discovery (what a registry says), the
pool (ejection, return, panic), probes. Alerts, telemetry and the command line listen. An event
says what changed, never the whole state; `at` is on the clock of whoever emits it (the loop's, or
the pool's `now`), so that events in a simulation carry simulated time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = [
    "Event",
    "InstanceChange",
    "InstanceChanged",
    "Listener",
    "RegistryChanged",
    "ServiceChanged",
]

InstanceChange = Literal[
    "added",
    "removed",
    "status",
    "changed",
    "ejected",
    "returned",
    "probe_failed",
    "probe_passed",
]
"""What can happen to an instance.

`added`, `removed`, `status` (its health) and `changed` (anything else) are the registry's word;
`ejected` and `returned` the outlier detector's; `probe_failed` and `probe_passed` are the turns
of this client's own probes, after `fall` or `rise` in a row.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceChanged:
    """Something happened to an instance.

    Attributes:
        service: the service's name.
        instance: as it is now; as it was last, if it was removed.
        kind: what happened.
        before, after: what it was and is, in a word: "passing" and "critical", "eligible" and
            "ejected"; "" where there is nothing to say.
        reason: why, for people: "5 failures in a row", "HTTP 503 of http:/health".
        at: seconds on the clock of whoever emits it.
    """

    service: str
    instance: Instance
    kind: InstanceChange
    before: str = ""
    after: str = ""
    reason: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceChanged:
    """Something happened to a service as a whole.

    Attributes:
        service: its name.
        kind: `starved`: no instance is eligible; `fed`: some are again; `panic_on`, `panic_off`:
            so few are healthy that all are used, and no longer so.
        eligible, total: how many instances may be picked, of how many.
        reason: why, for people.
        at: seconds on the clock of whoever emits it.
    """

    service: str
    kind: Literal["starved", "fed", "panic_on", "panic_off"]
    eligible: int = 0
    total: int = 0
    reason: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryChanged:
    """A registry stopped answering about a service, or answers again.

    Attributes:
        service: the service whose list is concerned.
        registry: the registry's URL, without secrets.
        kind: `unavailable` or `available`.
        reason: its error, for people.
        at: seconds on the clock of whoever emits it.
    """

    service: str
    registry: str
    kind: Literal["unavailable", "available"]
    reason: str = ""
    at: float = 0.0


Event = InstanceChanged | ServiceChanged | RegistryChanged

Listener = Callable[[Event], None]
"""Told of every event, on the thread (and loop) where it was noticed. Must neither block nor raise;
whoever calls it logs what it raises and goes on."""
