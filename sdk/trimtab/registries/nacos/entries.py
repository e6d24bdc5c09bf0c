"""What Nacos says of an instance, and what we say to it. No I/O.

Nacos has weights, health and metadata of its own; zone, scheme and our ids stand in the metadata.
An instance that is to get no traffic although it is healthy (it drains) is registered with weight
0, so that other clients spare it too: one that is disabled would vanish from all lists.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.instance import Instance, Status
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import gather, text_or_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["read_hosts", "registration"]

_ID = "trimtab.id"
_OWN_METADATA = (_ID, "scheme", "secure", "status", "weight", "zone")
"""The keys of the metadata that carry an instance's own fields; `secure` is Spring Cloud's."""
_PRESERVED = "preserved."
_SCHEMES = ("http", "https")
_MAX_WEIGHT = 10_000.0
_WITH_TRAFFIC = (Status.PASSING, Status.WARNING)
_HEARTBEATS_PER_TTL = 3


class _Host(msgspec.Struct, rename="camel"):
    ip: str
    port: int
    instance_id: str = ""
    weight: float = 1.0
    healthy: bool = True
    enabled: bool = True
    cluster_name: str = ""
    metadata: dict[str, Any] | None = None


class _Service(msgspec.Struct):
    hosts: list[msgspec.Raw]


def read_hosts(place: str, data: msgspec.Raw) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Read a service with its `hosts`, or just these: the instances, and what was skipped.

    Raises:
        RegistryAnswerError: it is of another shape, or nothing in it can be read.
    """
    found: list[msgspec.Raw] | _Service = parse_json(
        place, bytes(data), list[msgspec.Raw] | _Service
    )
    hosts = found.hosts if isinstance(found, _Service) else found

    def read(raw: msgspec.Raw) -> Instance:
        return _instance(parse_json("this entry", bytes(raw), _Host))

    return gather(hosts, read, place=place)


def registration(
    instance: Instance, *, ttl_s: float, delete_after_s: float, clusters: Sequence[str]
) -> dict[str, str]:
    """Write the parameters that register an instance, besides those that name the service."""
    weight = instance.weight if instance.status in _WITH_TRAFFIC else 0.0
    weight = min(weight, _MAX_WEIGHT)
    lease = {
        "heart.beat.interval": ttl_s / _HEARTBEATS_PER_TTL,
        "heart.beat.timeout": ttl_s,
        "ip.delete.timeout": max(delete_after_s, 2 * ttl_s),
    }
    own = {
        _ID: instance.id if instance.id != instance.address else "",
        "zone": instance.zone,
        "scheme": instance.scheme or "",
        "weight": repr(instance.weight) if instance.weight != weight else "",
        "status": instance.status.value if instance.status is not Status.PASSING else "",
    }
    metadata = {
        **instance.metadata,
        **{name: value for name, value in own.items() if value},
        **{f"{_PRESERVED}{name}": str(round(each_s * 1000)) for name, each_s in lease.items()},
    }
    return {
        "ip": instance.host,
        "port": str(instance.port),
        "weight": repr(weight),
        "enabled": "true",
        "healthy": "true",
        "ephemeral": "true",
        "metadata": json.dumps(metadata),
        **({"clusterName": clusters[0]} if clusters else {}),
    }


def _instance(host: _Host) -> Instance:
    said = {name: text_or_json(value) for name, value in (host.metadata or {}).items()}
    metadata = {
        name: value
        for name, value in said.items()
        if name not in _OWN_METADATA and not name.startswith(_PRESERVED)
    }
    if host.cluster_name not in {"", "DEFAULT"}:
        metadata["cluster"] = host.cluster_name
    return Instance(
        id=said.get(_ID, "") or host.instance_id,
        host=host.ip,
        port=host.port,
        scheme=_scheme(said),
        weight=_weight(host, said),
        zone=said.get("zone", ""),
        metadata=metadata,
        status=_status(host, said),
    )


def _status(host: _Host, said: Mapping[str, str]) -> Status:
    if not host.enabled:
        return Status.DRAINING
    if not host.healthy:
        return Status.CRITICAL
    word = said.get("status", "")
    return Status(word) if word in set(Status) else Status.PASSING


def _scheme(said: Mapping[str, str]) -> str | None:
    if said.get("scheme") in _SCHEMES:
        return said["scheme"]
    return "https" if said.get("secure") == "true" else None


def _weight(host: _Host, said: Mapping[str, str]) -> float:
    """Give the weight; the one in the metadata, which our registrar writes, is the exact one."""
    try:
        weight = float(said.get("weight", ""))
    except ValueError:
        return host.weight
    return weight if weight >= 0 and math.isfinite(weight) else host.weight
