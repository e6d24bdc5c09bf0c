"""The JSON of etcd's gRPC gateway: questions and answers. No I/O.

Bytes travel as base64, 64-bit numbers as text, and what is zero, false or empty is left out.
An unknown field of a question is silently ignored, so that a typing error would watch the wrong
key for ever: questions are made here and nowhere else.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any

import msgspec

from trimtab.registries.asking import parse_json

__all__ = [
    "Event",
    "Header",
    "KeepaliveAnswer",
    "KeyValue",
    "LeaseAnswer",
    "RangeAnswer",
    "TokenAnswer",
    "WatchMessage",
    "WatchResult",
    "key_named",
    "keys_under",
    "put_of",
    "read",
    "watch_of",
]


Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A number of 64 bits."""


class Header(msgspec.Struct, frozen=True):
    """What every answer begins with; the id is good for comparing."""

    revision: Number = 0
    cluster_id: int | str = 0


class KeyValue(msgspec.Struct, frozen=True):
    """A key with what it holds; of a deleted one only the key is told."""

    key: bytes = b""
    value: bytes = b""
    mod_revision: Number = 0
    lease: Number = 0


class RangeAnswer(msgspec.Struct, frozen=True):
    """The answer of `/v3/kv/range`; each of `kvs` is a `KeyValue`, one may be unreadable."""

    header: Header
    kvs: list[msgspec.Raw] = []


class LeaseAnswer(msgspec.Struct, frozen=True):
    """The answer of `/v3/lease/grant`."""

    id: Number = msgspec.field(default=0, name="ID")
    ttl_s: Number = msgspec.field(default=0, name="TTL")


class KeepaliveAnswer(msgspec.Struct, frozen=True):
    """The answer of `/v3/lease/keepalive`; a lease that is gone has a TTL of 0."""

    result: LeaseAnswer | None = None
    error: Any = None


class TokenAnswer(msgspec.Struct, frozen=True):
    """The answer of `/v3/auth/authenticate`."""

    token: str


class Event(msgspec.Struct, frozen=True):
    """One change of one key."""

    kv: KeyValue
    type: str = "PUT"


class WatchResult(msgspec.Struct, frozen=True):
    """One message of a watch: it was created, or cancelled, or these events, or it lives."""

    header: Header = Header()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: list[Event] = []


class WatchMessage(msgspec.Struct, frozen=True):
    """One line of `/v3/watch`."""

    result: WatchResult | None = None
    error: Any = None


def read(place: str, body: bytes, shape: Any) -> Any:
    """Read an answer, whose numbers are text.

    Raises:
        RegistryAnswerError: it is no JSON, or of another shape.
    """
    return parse_json(place, body, shape, strict=False)


def keys_under(prefix: str, *, only_keys: bool = False) -> dict[str, Any]:
    """Ask `/v3/kv/range` for all keys that begin with a prefix."""
    return _range(prefix) | ({"keys_only": True} if only_keys else {})


def key_named(key: str) -> dict[str, Any]:
    """Ask `/v3/kv/range` or `/v3/kv/deleterange` for one key."""
    return {"key": _base64(key.encode())}


def put_of(key: str, value: bytes, lease: int) -> dict[str, Any]:
    """Ask `/v3/kv/put` to keep a value for as long as a lease lives."""
    return {"key": _base64(key.encode()), "value": _base64(value), "lease": str(lease)}


def watch_of(prefix: str, *, revision: int) -> dict[str, Any]:
    """Ask `/v3/watch` for all changes under a prefix from a revision on."""
    return {"create_request": _range(prefix) | {"start_revision": str(revision)}}


def _range(prefix: str) -> dict[str, Any]:
    """Give the range of keys with a prefix: up to the prefix with its last byte raised.

    UTF-8 has no byte 0xff, so that raising it never carries. All keys are from zero to zero.
    """
    start = prefix.encode() or b"\0"
    end = start[:-1] + bytes([start[-1] + 1]) if prefix else b"\0"
    return {"key": _base64(start), "range_end": _base64(end)}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
