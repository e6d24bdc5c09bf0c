"""Why an instance may not be picked: what the registry says, and what this client has seen."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from trimtab.instance import Status

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["Reason", "reason_against"]


class Reason(StrEnum):
    """Why an instance gets no traffic.

    The first three are the registry's word, the next three this client's own judgement, which
    panic overrules. `SATURATED` and `OUTSIDE_SUBSET` say nothing about its health.
    """

    CRITICAL = "critical"
    DRAINING = "draining"
    WEIGHT_ZERO = "weight 0"
    EJECTED = "ejected"
    PROBE_FAILED = "probe failed"
    PAUSED = "asked to wait"
    SATURATED = "saturated"
    OUTSIDE_SUBSET = "outside the subset"


def reason_against(instance: Instance) -> Reason | None:
    """Return why the registry would not have the instance picked, or None if it would.

    A warning instance may be: the registry gives it the weight it deserves.
    """
    if instance.status is Status.CRITICAL:
        return Reason.CRITICAL
    if instance.status is Status.DRAINING:
        return Reason.DRAINING
    # No traffic at all; read as "a little", it has surprised people (kratos #3831, kitex #1393).
    return Reason.WEIGHT_ZERO if instance.weight == 0 else None
