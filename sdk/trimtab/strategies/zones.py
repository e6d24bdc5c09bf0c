"""How much traffic a zone takes, by how many of its instances are available.

A zone is taken to have 40 % more capacity than it needs: until fewer than 1 / 1.4 = 71.4 % of it
are available, it carries its whole share. Source: Envoy, "Priority levels", "Locality weighted
load balancing", "Overprovisioning factor". Deviation: shares are exact, not whole percents.
"""

from __future__ import annotations

__all__ = ["OVERPROVISIONING", "availability", "locality_weight", "own_share"]

OVERPROVISIONING = 1.4
"""How much of what it needs a zone has, when all of it is available."""


def availability(available: int, total: int, factor: float = OVERPROVISIONING) -> float:
    """Return what part of its share a zone can carry: 0 to 1; 0 for an empty one."""
    return min(1.0, factor * available / total) if total else 0.0


def locality_weight(
    weight: float, available: int, total: int, factor: float = OVERPROVISIONING
) -> float:
    """Return a zone's weight among zones of one rank: its own, as far as it is available."""
    return weight * availability(available, total, factor)


def own_share(own: float, others: float) -> float:
    """Return the share of the traffic that stays in the own zone.

    What the own zone cannot carry goes to the others; when they cannot carry it either, both get
    more, in proportion to what they can.

    Args:
        own: availability of the own zone.
        others: that of all others together; one of the two is above 0.
    """
    return own / min(1.0, own + others)
