"""Whether an instance may be picked, by what the registry says of it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from trimtab.instance import Status

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["Reason", "reason_against"]


class Reason(StrEnum):
    """Why an instance gets no traffic."""

    CRITICAL = "critical"
    DRAINING = "draining"
    WEIGHT_ZERO = "weight 0"


def reason_against(instance: Instance) -> Reason | None:
    """Return why the instance may not be picked, or None if it may.

    A warning instance may: the registry gives it the weight it deserves.
    """
    if instance.status is Status.CRITICAL:
        return Reason.CRITICAL
    if instance.status is Status.DRAINING:
        return Reason.DRAINING
    # No traffic at all; read as "a little", it has surprised people (kratos #3831, kitex #1393).
    return Reason.WEIGHT_ZERO if instance.weight == 0 else None
