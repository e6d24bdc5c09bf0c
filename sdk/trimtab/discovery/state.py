"""How discovery of a service stands, for people."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DiscoveryState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryState:
    """How fresh a service's list is, and what stands in the way.

    Attributes:
        service: its name.
        registry: the registry's URL, without secrets.
        instances: the length of the list; None before the first.
        age_s: seconds since the registry last confirmed the list; None before the first.
        source: "registry" or "disk"; "" before the first list.
        failures: failed attempts in a row.
        last_error: the latest failure's message while `failures` is above 0.
        held: how many instances the registry lists, while it is not believed that others are
            lost, and they stay in use; None when nobody is kept so.
    """

    service: str
    registry: str
    instances: int | None
    age_s: float | None
    source: str
    failures: int
    last_error: str
    held: int | None
