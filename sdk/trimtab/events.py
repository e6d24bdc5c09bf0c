"""Events: what happened to an instance, a service or a registry, one frozen value each.

Discovery emits what a registry reports; a pool emits ejection, return and panic; probes emit their
verdicts. Alerts, telemetry and the command line listen. An event holds the change, not the whole
state. Its time `at` is on the emitter's clock (the loop's, or the pool's `now`), so events in a
simulation carry simulated time.
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
    "unreachable",
    "reachable",
]
"""What can happen to an instance.

| kind | meaning |
|---|---|
| `added`, `removed` | the registry lists it, or no longer does |
| `status` | the registry reports another health |
| `changed` | another field that the registry gives has changed |
| `ejected`, `returned` | outlier ejection began or ended |
| `probe_failed`, `probe_passed` | `fall` probes failed, or `rise` probes passed, in a row |
| `unreachable`, `reachable` | no connection to it opened in the background, or one opened again |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceChanged:
    """Something happened to an instance.

    Attributes:
        service: the service's name.
        instance: its present value; its last value if it was removed.
        kind: what happened.
        before, after: the state before and after in one word: "passing" and "critical",
            "eligible" and "ejected"; "" where there is no such state.
        reason: why, in words for people: "5 failures in a row", "HTTP 503 of http:/health".
        at: seconds on the emitter's clock.
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
        kind: `unavailable`: no instance is eligible. `recovered`: at least one is again.
            `panic_began`: so few are healthy that all are used. `panic_ended`: enough are again.
        eligible, total: the number of eligible instances, and of all.
        reason: why, in words for people.
        at: seconds on the emitter's clock.
    """

    service: str
    kind: Literal["unavailable", "recovered", "panic_began", "panic_ended"]
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
        reason: its error, in words for people.
        at: seconds on the emitter's clock.
    """

    service: str
    registry: str
    kind: Literal["unavailable", "available"]
    reason: str = ""
    at: float = 0.0


Event = InstanceChanged | ServiceChanged | RegistryChanged

Listener = Callable[[Event], None]
"""A function that is called with every event, on the emitter's thread (and loop).

It must not block and must not raise. The emitter logs what it raises and goes on.
"""
