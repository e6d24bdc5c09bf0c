"""The shapes of the API server's answers, as far as they matter. No I/O.

Source: kubernetes.io/docs, the reference of EndpointSlice v1 and of watch events.
"""

from __future__ import annotations

import msgspec

from trimtab.errors import RegistryAnswerError
from trimtab.registries.asking import parse_json

__all__ = ["Event", "Meta", "Objects", "SliceList", "Trouble", "read_name"]


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
    """The object of an event that ends a watch in disorder: a status, like that of an answer."""

    code: int = 0


def read_name(raw: msgspec.Raw) -> str:
    """Read the name of an object of which nothing else is known.

    Raises:
        RegistryAnswerError: it has none.
    """
    found: _Object = parse_json("an object", bytes(raw), _Object)
    if not found.metadata.name:
        raise RegistryAnswerError("an object has no name")
    return found.metadata.name
