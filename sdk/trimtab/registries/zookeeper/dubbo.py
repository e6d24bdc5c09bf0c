"""Dubbo's interface-level registration: `/dubbo/<interface>/providers/<quoted URL>`. No I/O.

Everything stands in the node's name; the data is not read. The application-level registration
of Dubbo 2.7.5 and later is Curator's format under `/services`, and is read as such.

Source: Dubbo 3.3, ZookeeperRegistry and URL; `java.net.URLEncoder` writes "+" for a space.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote_plus, unquote_plus, urlsplit

from trimtab.errors import RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries.entries import gather
from trimtab.registries.zookeeper.paths import service_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DubboLayout", "ServiceKey", "read_provider"]

_WEIGHT = 100.0
"""What Dubbo takes for the weight of a provider that says none."""
_NO_INTERFACES = ("config", "mapping", "metadata")
"""What Dubbo keeps beside the interfaces."""
_SCHEMES = {"http": "http", "https": "https", "rest": "http"}


class ServiceKey(NamedTuple):
    """Dubbo's name of a service, `[group/]interface[:version]`; "" stands for any."""

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
    """Where Dubbo's providers lie, and how they are read.

    Args:
        base: the node above the interfaces, "/dubbo".
    """

    with_data = False

    def __init__(self, base: str) -> None:
        self.base = base

    def folder(self, place: str, service: str) -> str:
        """Give the node whose children are the service's providers."""
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
    """Read the node of a provider.

    Raises:
        RegistryAnswerError: it is no URL with a host and a port; names the node.
        InvalidInstanceError: the host or the port cannot be.
    """
    url = unquote_plus(name)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RegistryAnswerError(f"node {name!r}: {error}") from None
    if not (parts.scheme and host and port):
        raise RegistryAnswerError(f"node {name!r}: it is no provider's URL with host and port")
    said = _said(url)
    return Instance(
        id=_id(f"{host}:{port}", said),
        host=host,
        port=port,
        scheme=_SCHEMES.get(parts.scheme),
        weight=_weight(said.pop("weight", "")),
        zone=said.get("zone", ""),
        metadata={**said, "protocol": parts.scheme},
        status=Status.DRAINING if _is_off(said) else Status.PASSING,
    )


def _fits(name: str, wanted: ServiceKey) -> bool:
    said = _said(unquote_plus(name))
    return wanted.group in {"", said.get("group", "")} and wanted.version in {
        "",
        said.get("version", ""),
    }


def _said(url: str) -> dict[str, str]:
    return dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))


def _id(address: str, said: Mapping[str, str]) -> str:
    """Tell providers apart that serve several versions or groups at one address."""
    marks = [said[name] for name in ("group", "version") if said.get(name)]
    return " ".join([address, *marks])


def _is_off(said: Mapping[str, str]) -> bool:
    return said.get("disabled") == "true" or said.get("enabled") == "false"


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return _WEIGHT
    return weight if weight >= 0 and math.isfinite(weight) else _WEIGHT
