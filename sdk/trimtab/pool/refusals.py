"""Why there is nothing to pick, in words for people on call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trimtab.errors import NoEligibleInstanceError, NoInstancesError, PickError, SaturatedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trimtab.health import Reason
    from trimtab.member import Member

__all__ = ["all_full", "nothing_to_pick"]


def nothing_to_pick(service: str, total: int, reasons: Iterable[Reason]) -> PickError:
    """Say that the list is empty, or what is against each of its `total` instances."""
    name = _named(service)
    if not total:
        return NoInstancesError(f"{name}: no instance is registered", service=service)
    counts = Counter(str(reason) for reason in reasons)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return NoEligibleInstanceError(
        f"{name}: none of its {total} instances may be picked ({listed})",
        service=service,
        reasons=counts,
    )


def all_full(service: str, eligible: Sequence[Member]) -> SaturatedError:
    """Say that no eligible member has room."""
    in_flight = sum(member.in_flight for member in eligible)
    return SaturatedError(
        f"{_named(service)}: all {len(eligible)} eligible instances have as many requests "
        f"in flight as they may ({in_flight} together); see ConcurrencyLimits",
        service=service,
    )


def _named(service: str) -> str:
    return f"service {service!r}" if service else "the service"
