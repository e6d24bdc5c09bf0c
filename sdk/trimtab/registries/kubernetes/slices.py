"""Read EndpointSlices into instances: the shapes of answers, ports, endpoints. No I/O.

A service has several slices, of 100 endpoints each by default, and apart for each kind of
address and each set of port numbers. An endpoint may be in two of them while it moves; a pod
with an IPv4 and an IPv6 address always does. It is one instance: by the name of its pod, or by
its address where no pod stands behind it.

Pods that terminate and still serve get traffic where no pod is ready, with the status "warning",
and none otherwise.

Source: kubernetes.io/docs, the reference of EndpointSlice v1 and of watch events, and kube-proxy
(KEP-1669, "Proxy Terminating Endpoints"). A condition that an endpoint leaves out means ready and
not terminating; of several addresses the first will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trimtab.errors import InvalidInstanceError, RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import gather
from trimtab.registries.protocol import Listing
from trimtab.registries.urls import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Event",
    "Meta",
    "Objects",
    "Port",
    "Slice",
    "SliceList",
    "Trouble",
    "View",
    "chosen",
    "read_name",
]

_KINDS = ("IPv4", "IPv6", "FQDN")
_SCHEMES = ("http", "https")
_TERMINATING, _SERVING = "terminating", "serving"
"""The metadata of a pod that terminates and still serves."""


class Meta(msgspec.Struct, rename="camel"):
    """The part of an object's metadata that matters here."""

    name: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None


class SliceList(msgspec.Struct):
    """A list of slices, which are read one by one, and the version it is of."""

    items: list[msgspec.Raw]
    metadata: Meta


class _Object(msgspec.Struct):
    metadata: Meta


class Objects(msgspec.Struct):
    """A list of objects of any kind."""

    items: list[_Object]


class Event(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Trouble(msgspec.Struct):
    """The object of an event that ends a watch by an error: a status, like that of an answer."""

    code: int = 0


class Port(msgspec.Struct, rename="camel"):
    """A port of an EndpointSlice; its number may be missing, which means all ports."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = None

    @property
    def scheme(self) -> str | None:
        """The scheme that the Service names, if it is http or https."""
        return self.app_protocol if self.app_protocol in _SCHEMES else None


class _Conditions(msgspec.Struct):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Target(msgspec.Struct):
    kind: str = ""
    name: str = ""


class _Endpoint(msgspec.Struct, rename="camel"):
    addresses: list[str]
    conditions: _Conditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    target_ref: _Target | None = None
    zone: str | None = None


class Slice(msgspec.Struct, rename="camel"):
    """An EndpointSlice; its endpoints are read one by one, so that a bad one harms no other."""

    metadata: Meta
    address_type: str = ""
    endpoints: list[msgspec.Raw] | None = None
    ports: list[Port] | None = None


_Entry = Instance | RegistryAnswerError | InvalidInstanceError


class View:
    """The slices of one service: a whole list, then kept by changes.

    Only the slice that changes is read again.

    Args:
        place: how messages name the service.
        port: the name or number of the port; None where there is but one.
    """

    def __init__(self, place: str, port: str | None) -> None:
        self._place, self._port = place, port
        self._slices: dict[tuple[int, str], list[_Entry]] = {}

    def put(self, raw: msgspec.Raw, name: str) -> None:
        """Add the slice of this name, or replace it."""
        self.remove(name)
        try:
            found: Slice = parse_json(f"slice {name!r}", bytes(raw), Slice)
        except RegistryAnswerError as error:
            self._slices[len(_KINDS), name] = [error]
            return
        kind = _KINDS.index(found.address_type) if found.address_type in _KINDS else len(_KINDS)
        self._slices[kind, name] = list(_instances(found, self._port))

    def remove(self, name: str) -> None:
        """Take the slice of this name away."""
        for kind in range(len(_KINDS) + 1):
            self._slices.pop((kind, name), None)

    def listing(self) -> Listing:
        """Return the whole list, in the order of the slices: IPv4 before IPv6, then by name.

        Raises:
            RegistryAnswerError: there are endpoints, and not one of them can be read.
        """
        entries = _distinct(entry for _, slice_ in sorted(self._slices.items()) for entry in slice_)
        instances, skipped = gather(entries, _good, place=self._place)
        if not any(each.status is Status.PASSING for each in instances):
            instances = tuple(map(_used_to_the_end, instances))
        return Listing(instances=instances, version=digest(instances), skipped=skipped)


def read_name(raw: msgspec.Raw) -> str:
    """Read the name of an object of any kind.

    Raises:
        RegistryAnswerError: it has no name.
    """
    found: _Object = parse_json("an object", bytes(raw), _Object)
    if not found.metadata.name:
        raise RegistryAnswerError("an object has no name")
    return found.metadata.name


def chosen(ports: Sequence[Port], wanted: str | None) -> Port:
    """Return the port of this name or number, or the only one if none is wanted.

    Raises:
        InvalidInstanceError: there is none, or several to choose from.
    """
    usable = [port for port in ports if port.port and port.protocol in {"TCP", None}]
    if wanted is not None:
        found = [port for port in usable if wanted in {port.name, str(port.port)}]
    else:
        found = usable
    if len(found) == 1:
        return found[0]
    known = ", ".join(port.name or str(port.port) for port in usable)
    if not usable:
        raise InvalidInstanceError("no TCP port")
    if wanted is None:
        raise InvalidInstanceError(
            f"several ports, {known}; say which: ?port={known.split(',')[0]}"
        )
    raise InvalidInstanceError(f"no port {wanted!r}; there are {known}")


def _instances(slice_: Slice, wanted: str | None) -> Iterator[_Entry]:
    name = slice_.metadata.name
    if not slice_.endpoints:
        return
    try:
        port = chosen(slice_.ports or (), wanted)
    except InvalidInstanceError as error:
        yield InvalidInstanceError(f"slice {name!r}: {error}")
        return
    for raw in slice_.endpoints:
        try:
            yield _instance(parse_json("endpoint", bytes(raw), _Endpoint), port)
        except (InvalidInstanceError, RegistryAnswerError) as error:
            yield InvalidInstanceError(f"slice {name!r}: {error}")


def _instance(endpoint: _Endpoint, port: Port) -> Instance:
    if not endpoint.addresses:
        raise InvalidInstanceError("an endpoint without an address")
    target = endpoint.target_ref or _Target()
    pod = target.name if target.kind == "Pod" else ""
    conditions = endpoint.conditions or _Conditions()
    extra = {
        "pod": pod,
        "node": endpoint.node_name,
        "hostname": endpoint.hostname,
        _TERMINATING: _SERVING if conditions.terminating and _serves(conditions) else "",
    }
    return Instance(
        id=pod,
        host=endpoint.addresses[0],
        port=port.port or 0,
        scheme=port.scheme,
        zone=endpoint.zone or "",
        metadata={name: value for name, value in extra.items() if value},
        status=_status(conditions),
    )


def _status(conditions: _Conditions) -> Status:
    if conditions.terminating:
        return Status.DRAINING
    return Status.CRITICAL if conditions.ready is False else Status.PASSING


def _serves(conditions: _Conditions) -> bool:
    """Tell whether a pod answers although it terminates; old servers tell only `ready`."""
    return conditions.ready is not False if conditions.serving is None else conditions.serving


def _used_to_the_end(instance: Instance) -> Instance:
    if instance.metadata.get(_TERMINATING) != _SERVING:
        return instance
    return instance.with_(status=Status.WARNING)


def _distinct(entries: Iterable[_Entry]) -> list[_Entry]:
    """Keep one entry per instance: the first, unless a later one can be called sooner."""
    kept: list[_Entry] = []
    place_of: dict[str, int] = {}
    for entry in entries:
        if not isinstance(entry, Instance):
            kept.append(entry)
            continue
        at = place_of.setdefault(entry.id, len(kept))
        if at == len(kept):
            kept.append(entry)
        elif _rank(entry) < _rank(kept[at]):  # type: ignore[arg-type] # it has an id
            kept[at] = entry
    return kept


def _rank(instance: Instance) -> int:
    if instance.status is Status.PASSING:
        return 0
    return 1 if _TERMINATING in instance.metadata else 2


def _good(entry: _Entry) -> Instance:
    if isinstance(entry, Instance):
        return entry
    raise entry
