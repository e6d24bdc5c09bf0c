"""The two layouts of services in ZooKeeper: Apache Curator's and Dubbo's. No I/O.

**Curator** keeps JSON at `<base>/<service>/<id>`. Fields that Curator does not have (weight, zone,
priority, metadata, the exact status) are in a field of our own, `trimtab`, beside Curator's, and
only if they differ from their defaults. They are not in the payload: that is the application's, and
a payload without the right `@class` breaks typed readers for the whole service. Curator's readers
skip unknown fields (very old and strict ones do not: they read the instances without our field).
The metadata in other writers' payloads is kept: that of Spring Cloud and Dubbo is in `metadata`.

**Dubbo** keeps its interface-level registrations at `<base>/<interface>/providers/<quoted URL>`.
Providers that do not speak HTTP (`dubbo://`, for one) are left out and named: a request would go to
a binary port. An application that tells such a protocol in `dubbo.endpoints` is left out, too.
Everything is in the node's name; the data is not read. The application-level registration of
Dubbo 2.7.5 and later is Curator's layout under `/services`, and is read as such.

Sources: curator-x-discovery 5.4.0, ServiceInstance and JsonInstanceSerializer; Spring Cloud
ZooKeeper, ZookeeperInstance; Dubbo 3.3, ZookeeperServiceDiscovery, ZookeeperRegistry and URL;
`java.net.URLEncoder` writes "+" for a space.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus, urlsplit

import msgspec

from trimtab.errors import InvalidInstanceError, RegistryAnswerError, RegistryRequestError
from trimtab.instance import Instance, Status
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import check_protocol, gather, priority_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "LAYOUTS",
    "CuratorLayout",
    "DubboLayout",
    "Layout",
    "ServiceKey",
    "is_permitted",
    "node_name",
    "parent_of",
    "read_node",
    "read_provider",
    "write_node",
]

# ZooKeeper refuses these in a path: control characters, private use, surrogates, specials.
_FORBIDDEN = re.compile("[/\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff]")
# Instances that must not be called are not enabled, for readers that know only that field.
_DISABLED = (Status.CRITICAL, Status.DRAINING)
_DUBBO_WEIGHT = 100.0
"""Dubbo's weight of a provider that names none."""
_NO_INTERFACES = ("config", "mapping", "metadata")
"""Nodes of Dubbo beside those of the interfaces."""
_DUBBO_ENDPOINTS = "dubbo.endpoints"
_DUBBO_SCHEMES = {"http": "http", "https": "https", "rest": "http"}


def is_permitted(name: str) -> bool:
    """Tell whether ZooKeeper permits this as the name of one node."""
    return name not in {"", ".", ".."} and not _FORBIDDEN.search(name)


def service_path(place: str, base: str, service: str) -> str:
    """Return the node above a service's instances.

    Raises:
        RegistryRequestError: no node can have that name.
    """
    if not is_permitted(service):
        raise RegistryRequestError(
            f"{place}: {service!r} can be no service in ZooKeeper: its name would be that of a "
            "node, which has no slash and no control character"
        )
    return f"{base}/{service}"


def node_name(id_: str) -> str:
    """Name the node of an instance: by its id, quoted if ZooKeeper does not permit it.

    The id itself is read from the node's data.
    """
    return id_ if is_permitted(id_) else quote(id_, safe="").replace(".", "%2E")


def parent_of(path: str) -> str:
    """Return the node above."""
    return path.rpartition("/")[0] or "/"


class Layout(Protocol):
    """Where the nodes of services are, and how they are read."""

    default_base: ClassVar[str]
    with_data: ClassVar[bool]
    base: str

    def folder(self, place: str, service: str) -> str:
        """Return the node whose children are the service's instances."""
        ...

    def services(self, children: Iterable[str]) -> list[str]:
        """Name the services, given the children of `base`."""
        ...

    def read(
        self, place: str, service: str, nodes: Mapping[str, bytes]
    ) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
        """Read the children's names and data; return the instances, and what was skipped."""
        ...


class CuratorLayout:
    """Curator's: the children's data are read.

    Args:
        base: the node above the services, "/services".
    """

    default_base: ClassVar[str] = "/services"
    with_data: ClassVar[bool] = True

    def __init__(self, base: str) -> None:
        self.base = base

    def folder(self, place: str, service: str) -> str:
        """Return the node whose children are the service's instances."""
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
    """The fields that Curator does not have."""

    weight: float = 1.0
    zone: str = ""
    priority: int = 0
    scheme: str | None = None
    status: str = Status.PASSING.value
    metadata: dict[str, str] = {}


class _Node(msgspec.Struct, rename="camel"):
    address: str | None = None
    port: int | None = None
    ssl_port: int | None = None
    id: str | None = None
    # Not decoded as a whole: other writers may nest it deeply.
    payload: msgspec.Raw = msgspec.Raw(b"null")
    enabled: bool | None = True
    trimtab: _Own | None = None


class _Endpoint(msgspec.Struct):
    """One of the endpoints that a Dubbo application lists in its metadata."""

    port: int = 0
    protocol: str = ""


def read_node(name: str, data: bytes) -> Instance:
    """Read the node of an instance, whichever program wrote it.

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
        priority=own.priority,
        metadata=own.metadata,
        status=_status(place, node, own),
    )


def write_node(service: str, instance: Instance, *, registered_at_ms: int) -> bytes:
    """Write the node of an instance, with the nulls that Curator writes."""
    secure = instance.scheme == "https"
    own = _Own(
        weight=instance.weight,
        zone=instance.zone,
        priority=instance.priority,
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
    """Return the status; a disabled instance is not called, whatever its status."""
    try:
        status = Status(own.status)
    except ValueError:
        raise RegistryAnswerError(
            f"{place}: status {own.status!r} is none of {', '.join(Status)}"
        ) from None
    return Status.DRAINING if node.enabled is False and status not in _DISABLED else status


def _foreign(place: str, node: _Node) -> _Own:
    """Read our fields from the payload of another writer."""
    metadata = _metadata(place, bytes(node.payload))
    for protocol in _dubbo_protocols(metadata, node.port):
        _check_protocol(place, protocol)
    out_of_service = metadata.get("instance_status", "").upper() == "OUT_OF_SERVICE"
    return _Own(
        weight=_weight(metadata.get("weight", ""), 1.0),
        zone=metadata.get("zone", ""),
        priority=priority_of(metadata.get("priority")) or 0,
        status=(Status.DRAINING if out_of_service else Status.PASSING).value,
        metadata=metadata,
    )


def _dubbo_protocols(metadata: Mapping[str, str], port: int | None) -> list[str]:
    """Return the protocol of Dubbo's endpoint at this port, where a Dubbo application tells it."""
    try:
        endpoints = msgspec.json.decode(metadata.get(_DUBBO_ENDPOINTS, "[]"), type=list[_Endpoint])
    except (msgspec.DecodeError, ValueError):
        return []
    return [each.protocol for each in endpoints if each.port == port]


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
    """Return a JSON string as it is and anything else as JSON: metadata is text."""
    if not raw.startswith(b'"'):
        return raw.decode(errors="replace")
    text: str = parse_json(place, raw, str)
    return text


class ServiceKey(NamedTuple):
    """Dubbo's name of a service, `[group/]interface[:version]`; "" means any."""

    interface: str
    group: str = ""
    version: str = ""

    @classmethod
    def of(cls, service: str) -> ServiceKey:
        """Read it."""
        group, _, rest = service.rpartition("/")
        interface, _, version = rest.partition(":")
        return cls(interface, group, version)


class DubboLayout:
    """Dubbo's: the children's names are read.

    Args:
        base: the node above the interfaces, "/dubbo".
    """

    default_base: ClassVar[str] = "/dubbo"
    with_data: ClassVar[bool] = False

    def __init__(self, base: str) -> None:
        self.base = base

    def folder(self, place: str, service: str) -> str:
        """Return the node whose children are the service's providers."""
        interface = quote_plus(ServiceKey.of(service).interface)
        return service_path(place, self.base, interface) + "/providers"

    def services(self, children: Iterable[str]) -> list[str]:
        """Name the interfaces, given the children of `base`."""
        return sorted(unquote_plus(name) for name in children if name not in _NO_INTERFACES)

    def read(
        self, place: str, service: str, nodes: Mapping[str, bytes]
    ) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
        """Read the children's names; leave out those of another group or version."""
        wanted = ServiceKey.of(service)
        return gather((name for name in nodes if _fits(name, wanted)), read_provider, place=place)


def read_provider(name: str) -> Instance:
    """Read the node of a provider that speaks HTTP.

    Raises:
        RegistryAnswerError: it is no URL with a host and a port; names the node.
        InvalidInstanceError: the host or the port cannot be, or it speaks another protocol.
    """
    url = unquote_plus(name)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RegistryAnswerError(f"node {name!r}: {error}") from None
    if not (parts.scheme and host and port):
        raise RegistryAnswerError(f"node {name!r}: it is no provider's URL with host and port")
    _check_protocol(f"{host}:{port}", parts.scheme)
    options = _options(url)
    return Instance(
        id=_id(f"{host}:{port}", options),
        host=host,
        port=port,
        scheme=_DUBBO_SCHEMES.get(parts.scheme),
        weight=_weight(options.pop("weight", ""), _DUBBO_WEIGHT),
        zone=options.get("zone", ""),
        priority=priority_of(options.get("priority")) or 0,
        metadata={**options, "protocol": parts.scheme},
        status=Status.DRAINING if _is_off(options) else Status.PASSING,
    )


def _check_protocol(who: str, protocol: str) -> None:
    try:
        check_protocol(protocol)
    except InvalidInstanceError as error:
        raise InvalidInstanceError(f"{who}: {error}") from None


def _fits(name: str, wanted: ServiceKey) -> bool:
    options = _options(unquote_plus(name))
    return wanted.group in {"", options.get("group", "")} and wanted.version in {
        "",
        options.get("version", ""),
    }


def _options(url: str) -> dict[str, str]:
    return dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))


def _id(address: str, options: Mapping[str, str]) -> str:
    """Tell providers apart that serve several versions or groups at one address."""
    marks = [options[name] for name in ("group", "version") if options.get(name)]
    return " ".join([address, *marks])


def _is_off(options: Mapping[str, str]) -> bool:
    return options.get("disabled") == "true" or options.get("enabled") == "false"


def _weight(text: str, default: float) -> float:
    try:
        weight = float(text)
    except ValueError:
        return default
    return weight if weight >= 0 and math.isfinite(weight) else default


LAYOUTS: dict[bool, type[CuratorLayout | DubboLayout]] = {False: CuratorLayout, True: DubboLayout}
"""The layouts by whether it is Dubbo's."""
