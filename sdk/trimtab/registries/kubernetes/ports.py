"""Which of a slice's ports is meant. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trimtab.errors import InvalidInstanceError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Port", "chosen"]

_SCHEMES = ("http", "https")


class Port(msgspec.Struct, rename="camel"):
    """A port of an EndpointSlice; its number may be missing, which means all ports."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = None

    @property
    def scheme(self) -> str | None:
        """The scheme that the service's author has named, if it is one of ours."""
        return self.app_protocol if self.app_protocol in _SCHEMES else None


def chosen(ports: Sequence[Port], wanted: str | None) -> Port:
    """Give the port of this name or number, or the only one if none is wanted.

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
