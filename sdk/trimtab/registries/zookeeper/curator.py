"""Apache Curator's service discovery: JSON at `<base>/<service>/<id>`. No I/O.

What Curator has no field for (weight, zone, metadata, the exact status) stands in a field of our
own, `trimtab`, beside Curator's, and only if there is something to say. Not in the payload: that
is the application's, and a payload without the right `@class` breaks typed readers for the whole
service. Curator's readers pass over unknown fields (very old ones, and those told to be strict,
do not: they read the instances that need no field of ours).

Of other writers' payloads the metadata is kept: Spring Cloud's and Dubbo's lies in `metadata`.

Sources: curator-x-discovery 5.4.0, ServiceInstance and JsonInstanceSerializer; Spring Cloud
ZooKeeper, ZookeeperInstance; Dubbo 3.3, ZookeeperServiceDiscovery.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import gather
from trimtab.registries.zookeeper.paths import service_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CuratorLayout", "read_node", "write_node"]

# What is not to be called is not enabled, for readers that know no more.
_DISABLED = (Status.CRITICAL, Status.DRAINING)


class CuratorLayout:
    """Where Curator's instances lie, and how a service's nodes are read.

    Args:
        base: the node above the services, "/services".
    """

    with_data = True

    def __init__(self, base: str) -> None:
        self.base = base

    def folder(self, place: str, service: str) -> str:
        """Give the node whose children are the service's instances."""
        return service_path(place, self.base, service)

    def services(self, children: Iterable[str]) -> list[str]:
        """Name the services, given the children of `base`."""
        return sorted(children)

    def read(
        self, place: str, service: str, nodes: Mapping[str, bytes]
    ) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
        """Read the children's data; give the instances, and what was skipped."""
        del service
        return gather(nodes.items(), lambda node: read_node(*node), place=place)


class _Own(msgspec.Struct, omit_defaults=True):
    """What Curator has no field for."""

    weight: float = 1.0
    zone: str = ""
    scheme: str | None = None
    status: str = Status.PASSING.value
    metadata: dict[str, str] = {}


class _Node(msgspec.Struct, rename="camel"):
    address: str | None = None
    port: int | None = None
    ssl_port: int | None = None
    id: str | None = None
    # Not decoded as a whole: how deep it goes is its writer's affair.
    payload: msgspec.Raw = msgspec.Raw(b"null")
    enabled: bool | None = True
    trimtab: _Own | None = None


def read_node(name: str, data: bytes) -> Instance:
    """Read the node of an instance, by whomever it was written.

    Raises:
        RegistryAnswerError: it is no JSON, or a field has a wrong type; names the node.
        InvalidInstanceError: the address or the port cannot be.
    """
    place = f"node {name!r}"
    node: _Node = parse_json(place, data, _Node)
    if not node.address:
        raise RegistryAnswerError(f"{place}: it has no address")
    own = node.trimtab or _foreign(place, node)
    return Instance(
        id=node.id or name,
        host=node.address,
        # Curator's own rule: an instance with no port but `sslPort` speaks TLS.
        port=_port(place, node),
        scheme=own.scheme or ("https" if node.port is None else None),
        weight=own.weight,
        zone=own.zone,
        metadata=own.metadata,
        status=_status(place, node, own),
    )


def write_node(service: str, instance: Instance, *, registered_at_ms: int) -> bytes:
    """Write the node of an instance, with the nulls that Curator writes."""
    secure = instance.scheme == "https"
    own = _Own(
        weight=instance.weight,
        zone=instance.zone,
        scheme=None if secure else instance.scheme,
        status=instance.status.value,
        metadata=dict(instance.metadata),
    )
    fields: dict[str, Any] = {
        "name": service,
        "id": instance.id,
        "address": instance.host,
        "port": None if secure else instance.port,
        "sslPort": instance.port if secure else None,
        "payload": None,
        "registrationTimeUTC": registered_at_ms,
        "serviceType": "DYNAMIC",
        "uriSpec": None,
    }
    if instance.status in _DISABLED:
        fields["enabled"] = False
    if own != _Own():
        fields["trimtab"] = own
    return msgspec.json.encode(fields)


def _port(place: str, node: _Node) -> int:
    port = node.ssl_port if node.port is None else node.port
    if port is None:
        raise RegistryAnswerError(f"{place}: it has neither port nor sslPort")
    return port


def _status(place: str, node: _Node, own: _Own) -> Status:
    """Give the status; an instance that somebody has disabled is not called, whatever else."""
    try:
        status = Status(own.status)
    except ValueError:
        raise RegistryAnswerError(
            f"{place}: status {own.status!r} is none of {', '.join(Status)}"
        ) from None
    return Status.DRAINING if node.enabled is False and status not in _DISABLED else status


def _foreign(place: str, node: _Node) -> _Own:
    """Make ours of what other writers say in their payload."""
    metadata = _metadata(place, bytes(node.payload))
    out_of_service = metadata.get("instance_status", "").upper() == "OUT_OF_SERVICE"
    return _Own(
        weight=_weight(metadata.get("weight", "")),
        zone=metadata.get("zone", ""),
        status=(Status.DRAINING if out_of_service else Status.PASSING).value,
        metadata=metadata,
    )


def _metadata(place: str, payload: bytes) -> dict[str, str]:
    if payload == b"null":
        return {}
    if not payload.startswith(b"{"):
        return {"payload": _text(place, payload)}
    fields = parse_json(place, payload, dict[str, msgspec.Raw])
    inner = bytes(fields.get("metadata", b""))
    if inner.startswith(b"{"):
        fields = parse_json(place, inner, dict[str, msgspec.Raw])
    return {name: _text(place, bytes(raw)) for name, raw in fields.items() if name != "@class"}


def _text(place: str, raw: bytes) -> str:
    """Give a JSON string as it is and anything else as JSON: metadata is text."""
    if not raw.startswith(b'"'):
        return raw.decode(errors="replace")
    text: str = parse_json(place, raw, str)
    return text


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 1.0
    return weight if weight >= 0 and math.isfinite(weight) else 1.0
