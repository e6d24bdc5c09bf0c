"""What we tell Consul: an instance as a service registration with a TTL check. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.instance import Status
from trimtab.registries.consul.entries import DRAINING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.instance import Instance

__all__ = ["check_id", "heartbeat_verb", "registration"]

_MAX_WEIGHT = 65535
_VERBS = {Status.PASSING: "pass", Status.WARNING: "warn"}
_CHECK_STATUSES = {"pass": "passing", "warn": "warning", "fail": "critical"}


def registration(
    service: str,
    instance: Instance,
    *,
    ttl_s: float,
    tags: Sequence[str],
    deregister_after_s: float | None,
) -> dict[str, Any]:
    """Write the body of `/v1/agent/service/register`."""
    weight = min(max(round(instance.weight), 1), _MAX_WEIGHT)
    check = {
        "CheckID": check_id(instance),
        "Name": "heartbeat",
        "TTL": _duration(ttl_s),
        # A TTL check starts critical unless it is told.
        "Status": _CHECK_STATUSES[heartbeat_verb(instance)],
    }
    if deregister_after_s is not None:
        check["DeregisterCriticalServiceAfter"] = _duration(deregister_after_s)
    return {
        "ID": instance.id,
        "Name": service,
        "Address": instance.host,
        "Port": instance.port,
        "Tags": list(tags),
        "Meta": _meta(instance, weight),
        "Weights": {"Passing": weight, "Warning": weight},
        "Check": check,
    }


def check_id(instance: Instance) -> str:
    """Name the check ourselves: the default name changes with the number of checks."""
    return f"service:{instance.id}"


def heartbeat_verb(instance: Instance) -> str:
    """Say which of pass, warn and fail renews the lease of an instance in its status."""
    return _VERBS.get(instance.status, "fail")


def _meta(instance: Instance, weight: int) -> dict[str, str]:
    meta = dict(instance.metadata)
    if instance.zone:
        meta["zone"] = instance.zone
    if instance.scheme:
        meta["scheme"] = instance.scheme
    if instance.weight != weight:  # 0, a fraction, or beyond Consul's largest
        meta["weight"] = repr(instance.weight)
    if instance.status is Status.DRAINING:
        meta["status"] = DRAINING
    return meta


def _duration(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
