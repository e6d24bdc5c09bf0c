"""Frozen values: an instance of a service, its status, and a snapshot of a whole service."""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import idna

from trimtab.errors import InvalidInstanceError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

__all__ = ["MAX_PRIORITY", "Instance", "Snapshot", "Status", "merge_addresses"]

MAX_PRIORITY = 127
_MAX_PORT = 65535
_MAX_HOST_LENGTH = 253
_MAX_LABEL_LENGTH = 63
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_DOTTED_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_SHOWN_LENGTH = 80


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
        priority: its tier, a whole number from 0, the best, to 127. A lower tier gets what the
            upper ones cannot carry; see `PrioritySettings`.
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
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    status: Status = Status.PASSING
    address: str = field(init=False, repr=False, compare=False)
    """`host:port`, with brackets around an IPv6 address."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "host", self._checked_host())
        if type(self.port) is not int or not 1 <= self.port <= _MAX_PORT:
            raise self._wrong("port", self.port, f"a whole number from 1 to {_MAX_PORT}")
        in_brackets = f"[{self.host}]" if ":" in self.host else self.host
        put(self, "address", f"{in_brackets}:{self.port}")
        if self.scheme not in (None, "http", "https"):
            raise self._wrong("scheme", self.scheme, "'http', 'https' or None")
        put(self, "weight", self._checked_weight())
        for name in ("id", "zone"):
            if not isinstance(getattr(self, name), str):
                raise self._wrong(name, getattr(self, name), "a string")
        if type(self.priority) is not int or not 0 <= self.priority <= MAX_PRIORITY:
            raise self._wrong(
                "priority", self.priority, f"a whole number from 0, the best, to {MAX_PRIORITY}"
            )
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
                "priority": self.priority,
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
        trouble = _trouble_with(host)
        if trouble:
            raise self._wrong("host", self.host, f"a name, an IPv4 or an IPv6 address; {trouble}")
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
        place = f"at host {_short(self.host)}, port {_short(self.port)}"
        who = _short(self.id) if self.id else place
        return InvalidInstanceError(
            f"instance {who}: {name} is {_short(value)}; it must be {wanted}"
        )


def _trouble_with(host: str) -> str:
    """Return why no connection can be made to a host of this form; "" if one can.

    This is the one rule for every registry. What passes can be written into a URL, and the
    operating system's resolver takes it.
    """
    if ":" in host:
        return _trouble_with_address(ipaddress.IPv6Address, host)
    if _DOTTED_NUMBERS.fullmatch(host):
        return _trouble_with_address(ipaddress.IPv4Address, host)
    try:
        name = (host if host.isascii() else idna.encode(host.lower()).decode()).removesuffix(".")
        if len(name) > _MAX_HOST_LENGTH:
            return f"a name has at most {_MAX_HOST_LENGTH} characters"
        return next(filter(None, map(_trouble_with_label, name.split("."))), "")
    except (idna.IDNAError, UnicodeError) as error:
        return f"the name cannot be encoded: {error}"


def _trouble_with_label(label: str) -> str:
    if not _LABEL.fullmatch(label):
        return "each part of a name between dots has letters, digits, '-' and '_'"
    if len(label) > _MAX_LABEL_LENGTH:
        return f"each part of a name has at most {_MAX_LABEL_LENGTH} characters"
    if label[:4].lower() == "xn--":
        idna.decode(label.lower())
    return ""


def _trouble_with_address(
    kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], host: str
) -> str:
    try:
        kind(host)
    except ValueError:
        return "this is neither; the port stands apart"
    # A scope (`%eth0`) is part of the address; anything may stand in it.
    scope = host.partition("%")[2]
    return "" if not scope or _LABEL.fullmatch(scope) else "the scope is not an interface"


def _short(value: object) -> str:
    """Return a value for a message; what a registry sends may be of any length."""
    try:
        text = repr(value if not isinstance(value, str) else value[: 2 * _SHOWN_LENGTH])
    except ValueError:  # A whole number with too many digits to be written.
        return f"a {type(value).__name__} that is too large to be shown"
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."


def _rebuild(fields: dict[str, Any]) -> Instance:
    return Instance(**fields)


_BEST_FIRST = (Status.PASSING, Status.WARNING, Status.DRAINING, Status.CRITICAL)


def merge_addresses(
    instances: Iterable[Instance], *, known: Container[str] = ()
) -> tuple[tuple[Instance, ...], list[list[Instance]]]:
    """Keep one instance per scheme, host and port: several ids there are one process.

    Of several the one with the best status counts, then the one whose id is known, then the first.
    So a process that has registered again, under a new id, is not held back by its old entry.

    Args:
        instances: with distinct ids.
        known: the ids in use before, which keep their statistics.

    Returns:
        The instances that count, in their order, and each group that was merged, the one that
        counts first. O(n).
    """
    groups: dict[tuple[str | None, str, int], list[Instance]] = {}
    for each in instances:
        groups.setdefault((each.scheme, _same_host(each.host), each.port), []).append(each)
    merged = []
    for group in groups.values():
        if len(group) > 1:
            group.sort(key=lambda each: (_BEST_FIRST.index(each.status), each.id not in known))
            merged.append(group)
    return tuple(group[0] for group in groups.values()), merged


def _same_host(host: str) -> str:
    """Return one spelling for all spellings of a host."""
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    return host.lower().removesuffix(".")


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
