"""What we tell Consul: an instance as a service registration with a TTL check. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.instance import Status
from trimtab.registries.consul.checks import check_definition, duration
from trimtab.registries.consul.entries import DRAINING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.check import Check
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
    checks: Sequence[Check] = (),
) -> dict[str, Any]:
    """Write the body of `/v1/agent/service/register`.

    `checks` are run by Consul's agent, beside the heartbeat; each starts in the status that the
    instance gives itself.

    Raises:
        ConfigurationError: Consul cannot run one of the checks.
    """
    weight = min(max(round(instance.weight), 1), _MAX_WEIGHT)
    # Every check starts critical unless it is told.
    status = {"Status": _CHECK_STATUSES[heartbeat_verb(instance)]}
    heartbeat = {
        "CheckID": check_id(instance),
        "Name": "heartbeat",
        "TTL": duration(ttl_s),
    }
    if deregister_after_s is not None:
        heartbeat["DeregisterCriticalServiceAfter"] = duration(deregister_after_s)
    run_by_consul = [
        check_definition(instance, check, check_id=f"{check_id(instance)}:{number}")
        for number, check in enumerate(checks, start=1)
    ]
    return {
        "ID": instance.id,
        "Name": service,
        "Address": instance.host,
        "Port": instance.port,
        "Tags": list(tags),
        "Meta": _meta(instance, weight),
        "Weights": {"Passing": weight, "Warning": weight},
        "Check": heartbeat | status,
        "Checks": [each | status for each in run_by_consul],
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
