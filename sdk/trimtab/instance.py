"""Frozen values: an instance of a service, its status, and a snapshot of a whole service."""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from trimtab.errors import InvalidInstanceError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Instance", "Snapshot", "Status"]

_MAX_PORT = 65535
_MAX_HOST_LENGTH = 253
_FORBIDDEN_IN_HOST = re.compile(r"[\s/\\@?#\[\]\x00-\x1f\x7f]")


class Status(StrEnum):
    """The health that a registry reports of an instance."""

    PASSING = "passing"
    """All checks pass."""
    WARNING = "warning"
    """A check warns; it still gets traffic, with the weight that the registry gives."""
    CRITICAL = "critical"
    """A check fails; it is not picked."""
    DRAINING = "draining"
    """It is leaving or in maintenance; requests in flight finish, and it gets no new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One registered process of a service; checked when made, immutable, hashable.

    Args:
        host: a name, an IPv4 address or an IPv6 address (brackets are removed).
        port: 1 to 65535.
        id: the registry's identity of the instance, `host:port` by default. Two values with the
            same id are the same instance, which keeps its statistics.
        scheme: "http" or "https"; None means the scheme of the request's own URL. "http" does not
            apply to a request over TLS (https, wss): a registry cannot take TLS away.
        weight: its share relative to the others, 0 or more; 0 means no traffic.
        zone: its failure domain; "" if unknown.
        metadata: other data from the registry; not part of the hash.
        status: the health that the registry reports.

    Raises:
        InvalidInstanceError: naming the field and the instance.
    """

    host: str
    port: int
    id: str = ""
    scheme: str | None = None
    weight: float = 1.0
    zone: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    status: Status = Status.PASSING
    address: str = field(init=False, repr=False, compare=False)
    """`host:port`, with brackets around an IPv6 address."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "host", self._checked_host())
        in_brackets = f"[{self.host}]" if ":" in self.host else self.host
        put(self, "address", f"{in_brackets}:{self.port}")
        if type(self.port) is not int or not 1 <= self.port <= _MAX_PORT:
            raise self._wrong("port", self.port, f"a whole number from 1 to {_MAX_PORT}")
        if self.scheme not in (None, "http", "https"):
            raise self._wrong("scheme", self.scheme, "'http', 'https' or None")
        put(self, "weight", self._checked_weight())
        for name in ("id", "zone"):
            if not isinstance(getattr(self, name), str):
                raise self._wrong(name, getattr(self, name), "a string")
        if not self.id:
            put(self, "id", self.address)
        try:
            put(self, "status", Status(self.status))
        except ValueError:
            raise self._wrong("status", self.status, f"one of {', '.join(Status)}") from None
        try:
            put(self, "metadata", MappingProxyType(dict(self.metadata)))
        except (TypeError, ValueError):
            raise self._wrong("metadata", self.metadata, "a mapping of strings") from None

    def with_(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, and check it again."""
        return replace(self, **changes)

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy cannot be pickled. A plain dict can, and `__post_init__` wraps it again.
        return _rebuild, (
            {
                "host": self.host,
                "port": self.port,
                "id": self.id,
                "scheme": self.scheme,
                "weight": self.weight,
                "zone": self.zone,
                "metadata": dict(self.metadata),
                "status": self.status,
            },
        )

    def _checked_host(self) -> str:
        host = self.host
        if not isinstance(host, str):
            raise self._wrong("host", host, "a string")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not host or len(host) > _MAX_HOST_LENGTH or _FORBIDDEN_IN_HOST.search(host):
            raise self._wrong(
                "host", self.host, "a name or an address without slash, space or control character"
            )
        if ":" in host:
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise self._wrong(
                    "host", self.host, "a name, an IPv4 or an IPv6 address; the port stands apart"
                ) from None
        return host

    def _checked_weight(self) -> float:
        weight = self.weight
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise self._wrong("weight", weight, "a number")
        # Compared rather than converted: a huge whole number fits no float.
        if not 0 <= weight <= sys.float_info.max:
            raise self._wrong("weight", weight, "finite and not negative (0 means no traffic)")
        return float(weight)

    def _wrong(self, name: str, value: object, wanted: str) -> InvalidInstanceError:
        who = repr(self.id) if self.id else f"at host {self.host!r}, port {self.port!r}"
        return InvalidInstanceError(f"instance {who}: {name} is {value!r}; it must be {wanted}")


def _rebuild(fields: dict[str, Any]) -> Instance:
    return Instance(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole list of a service's instances at one version.

    Attributes:
        service: its name.
        instances: all of them, healthy or not, in the registry's order; ids are distinct.
        version: the registry's own mark of this state; compare it for equality only.
        fetched_at: when the registry gave it, in seconds on the reader's clock (`now` minus this is
            the age of the list).
        source: "registry", or "disk" for a last-known-good list.
    """

    service: str
    instances: tuple[Instance, ...]
    version: str = ""
    fetched_at: float = 0.0
    source: str = "registry"
