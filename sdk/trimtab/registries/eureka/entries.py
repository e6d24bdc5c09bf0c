"""Translate Eureka's instances into ours, and ours into Eureka's. No I/O.

Eureka has no field for weight, zone, priority and scheme; they are in its metadata, the zone where
Spring Cloud keeps it too. Its JSON is made from XML: a port is `{"$": 8080, "@enabled": "true"}`,
its number text in old versions; a list of one is, with some servers, the one; empty metadata is
`{"@class": "java.util.Collections$EmptyMap"}`.

Source: the wiki of Netflix/eureka, "Eureka REST operations", and its code where that is silent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import InvalidInstanceError
from trimtab.instance import Instance, Status
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import gather, take_priority, text_or_json

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["one_or_many", "read_application", "read_names", "registration"]

OWN_METADATA = ("scheme", "status", "weight", "zone")
"""The keys of the metadata that carry an instance's own fields, besides `priority`."""
_CLASS = "@class"
_STATUSES = {"UP": Status.PASSING, "OUT_OF_SERVICE": Status.DRAINING}
_WORDS = {Status.PASSING: "UP", Status.WARNING: "UP", Status.DRAINING: "OUT_OF_SERVICE"}
_SCHEMES = ("http", "https")
_HTTPS_PORT = 443
_HEARTBEATS_PER_TTL = 3


class _Port(msgspec.Struct):
    number: int | str = msgspec.field(name="$", default=0)
    enabled: bool | str = msgspec.field(name="@enabled", default="true")

    @property
    def is_open(self) -> bool:
        return str(self.enabled).lower() == "true"


class _Info(msgspec.Struct, rename="camel"):
    instance_id: str = ""
    host_name: str = ""
    ip_addr: str = ""
    status: str = ""
    port: _Port | None = None
    secure_port: _Port | None = None
    metadata: dict[str, Any] | None = None


class _Application(msgspec.Struct):
    name: str = ""
    instance: msgspec.Raw = msgspec.Raw(b"[]")


class _Answer(msgspec.Struct):
    application: _Application


class _All(msgspec.Struct):
    application: msgspec.Raw = msgspec.Raw(b"[]")


class _AllAnswer(msgspec.Struct):
    applications: _All


def read_application(
    place: str, body: bytes, *, prefer_ip: bool
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Read the answer of `/apps/NAME`: the instances, and what was skipped.

    Raises:
        RegistryAnswerError: it is of another shape, or nothing in it can be read.
    """
    answer: _Answer = parse_json(place, body, _Answer)

    def read(raw: msgspec.Raw) -> Instance:
        return _instance(parse_json("this entry", bytes(raw), _Info), prefer_ip=prefer_ip)

    return gather(one_or_many(place, answer.application.instance), read, place=place)


def read_names(place: str, body: bytes) -> list[str]:
    """Read the answer of `/apps`: the names of the applications, in lower case, sorted.

    Raises:
        RegistryAnswerError: it is of another shape.
    """
    answer: _AllAnswer = parse_json(place, body, _AllAnswer)
    found = (
        parse_json(place, bytes(raw), _Application)
        for raw in one_or_many(place, answer.applications.application)
    )
    return sorted({each.name.lower() for each in found if each.name})


def one_or_many(place: str, raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Read a list; anything but a list is the one entry of it, and null none.

    Raises:
        RegistryAnswerError: it is no JSON.
    """
    text = bytes(raw).strip()
    if text == b"null":
        return []
    if not text.startswith(b"["):
        return [raw]
    found: list[msgspec.Raw] = parse_json(place, text, list[msgspec.Raw])
    return found


def registration(service: str, instance: Instance, *, ttl_s: float) -> dict[str, Any]:
    """Write the body that registers an instance.

    Eureka keeps leases in whole seconds, and waits for twice the lease before it drops one.
    """
    secure = instance.scheme == "https"
    lease_s = max(math.ceil(ttl_s), 1)
    port = {"$": instance.port, "@enabled": str(not secure).lower()}
    secure_port = {"$": instance.port if secure else _HTTPS_PORT, "@enabled": str(secure).lower()}
    body = {
        "instanceId": instance.id,
        "app": service.upper(),
        "hostName": instance.host,
        # Newer servers require it, and do not check it.
        "ipAddr": instance.host,
        "vipAddress": service,
        "secureVipAddress": service,
        "status": status_word(instance),
        "port": port,
        "securePort": secure_port,
        "leaseInfo": {
            "durationInSecs": lease_s,
            "renewalIntervalInSecs": max(lease_s // _HEARTBEATS_PER_TTL, 1),
        },
        "dataCenterInfo": {
            _CLASS: "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
            "name": "MyOwn",
        },
        "metadata": _metadata(instance),
    }
    return {"instance": body}


def status_word(instance: Instance) -> str:
    """Return Eureka's word for an instance's status; there is none for a warning."""
    return _WORDS.get(instance.status, "DOWN")


def _metadata(instance: Instance) -> dict[str, str]:
    own = {
        "zone": instance.zone,
        "priority": str(instance.priority or ""),
        "scheme": instance.scheme if instance.scheme == "http" else "",
        "weight": repr(instance.weight) if instance.weight != 1 else "",
        "status": instance.status.value if instance.status is Status.WARNING else "",
    }
    return {**instance.metadata, **{name: value for name, value in own.items() if value}}


def _instance(info: _Info, *, prefer_ip: bool) -> Instance:
    metadata = {name: text_or_json(value) for name, value in (info.metadata or {}).items()}
    metadata.pop(_CLASS, None)
    priority = take_priority(metadata)
    names = (info.ip_addr, info.host_name) if prefer_ip else (info.host_name, info.ip_addr)
    port, scheme = _port(info, metadata)
    status = _STATUSES.get(info.status.upper(), Status.CRITICAL)
    if status is Status.PASSING and metadata.get("status") == Status.WARNING:
        status = Status.WARNING
    return Instance(
        id=info.instance_id,
        host=names[0] or names[1],
        port=port,
        scheme=scheme,
        weight=_weight(metadata),
        zone=metadata.get("zone", ""),
        priority=priority,
        metadata={name: value for name, value in metadata.items() if name not in OWN_METADATA},
        status=status,
    )


def _port(info: _Info, metadata: Mapping[str, str]) -> tuple[int, str | None]:
    """Return the port to call and its scheme: the plain one if both are enabled."""
    for port, scheme in ((info.port, metadata.get("scheme")), (info.secure_port, "https")):
        if port is not None and port.is_open:
            number = str(port.number)
            if not number.isdecimal():
                raise InvalidInstanceError(f"{info.instance_id!r}: port {number!r} is no number")
            return int(number), scheme if scheme in _SCHEMES else None
    raise InvalidInstanceError(f"{info.instance_id!r}: neither port nor securePort is enabled")


def _weight(metadata: Mapping[str, str]) -> float:
    try:
        weight = float(metadata.get("weight", "1"))
    except ValueError:
        return 1.0
    return weight if weight >= 0 and math.isfinite(weight) else 1.0
