"""The JSON of etcd's gRPC gateway: questions, answers, and refusals. No I/O.

Bytes travel as base64, 64-bit numbers as text, and what is zero, false or empty is left out.
An unknown field of a question is silently ignored, so that a typing error would watch the wrong
key for ever: questions are made here and nowhere else.

Refusals come in four shapes:

    unary  3.4  {"error": "text", "message": "text", "code": 14}
    unary  3.5  {"code": 14, "message": "text", "details": []}
    stream 3.4  {"error": {"grpc_code": 14, "http_code": 503, "message": "text"}}
    stream 3.5  {"error": {"code": 14, "message": "text", "details": []}}

The gRPC code and the message decide; the HTTP status says little ("user name is empty" is 400).
"""

from __future__ import annotations

from base64 import b64encode
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import msgspec

from trimtab.errors import (
    NotRegisteredError,
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.asking import parse_json, refusal, without

if TYPE_CHECKING:
    from trimtab.registries.asking import Answer

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
    "auth_is_off",
    "canceled",
    "error_of",
    "key_named",
    "keys_under",
    "needs_token",
    "put_of",
    "read",
    "refused",
    "watch_of",
    "words_in",
    "words_of",
]


Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A number of 64 bits."""


class Header(msgspec.Struct, frozen=True):
    """What every answer begins with; the id is good for comparing."""

    revision: Number = 0
    cluster_id: int | str = 0


class KeyValue(msgspec.Struct, frozen=True):
    """A key with what it holds; a deleted one has only the key."""

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
    """Return the range of keys with a prefix: up to the prefix with its last byte raised.

    UTF-8 has no byte 0xff, so that raising it never carries. All keys are from zero to zero.
    """
    start = prefix.encode() or b"\0"
    end = start[:-1] + bytes([start[-1] + 1]) if prefix else b"\0"
    return {"key": _base64(start), "range_end": _base64(end)}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


class _Code(IntEnum):
    """The gRPC codes that mean more than "wrong question"."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_LOG_IN = "; write etcd://user:password@..., or check them"
_WITHOUT_TOKEN = (
    (_Code.UNAUTHENTICATED, ""),
    (_Code.INVALID_ARGUMENT, "user name is empty"),
    (_Code.INVALID_ARGUMENT, "auth store is old"),
)
_MEANINGS: tuple[tuple[_Code, str, type[RegistryError], str], ...] = (
    *((code, words, RegistryDeniedError, _LOG_IN) for code, words in _WITHOUT_TOKEN),
    (_Code.INVALID_ARGUMENT, "authentication failed", RegistryDeniedError, _LOG_IN),
    (_Code.PERMISSION_DENIED, "", RegistryDeniedError, "; check the rights of the user"),
    (_Code.NOT_FOUND, "lease not found", NotRegisteredError, ""),
    (_Code.OUT_OF_RANGE, "compacted", RegistryCursorLostError, ""),
    (_Code.CANCELLED, "", RegistryUnavailableError, ""),
    (_Code.UNKNOWN, "", RegistryUnavailableError, ""),
    (_Code.DEADLINE_EXCEEDED, "", RegistryUnavailableError, ""),
    (_Code.RESOURCE_EXHAUSTED, "", RegistryUnavailableError, ""),
    (_Code.ABORTED, "", RegistryUnavailableError, ""),
    (_Code.INTERNAL, "", RegistryUnavailableError, ""),
    (_Code.UNAVAILABLE, "", RegistryUnavailableError, ""),
    (_Code.DATA_LOSS, "", RegistryUnavailableError, ""),
)
"""A code, words in the message, their error, and the remedy."""
_LENGTH = 200


def words_of(decoded: Any) -> tuple[int, str]:
    """Return the gRPC code and the message of a decoded refusal; 0 if it has no code."""
    table = decoded if isinstance(decoded, dict) else {"message": decoded}
    if isinstance(table.get("error"), dict):
        table = table["error"]
    codes = (table.get("grpc_code"), table.get("code"))
    code = next((each for each in codes if type(each) is int), 0)
    message = table.get("message") or table.get("error") or ""
    return code, " ".join(str(message).split())[:_LENGTH]


def words_in(answer: Answer) -> tuple[int, str]:
    """Return the gRPC code and the message of a refusal; 0 if it is not one of etcd's."""
    try:
        code, message = words_of(parse_json("", answer.body))
    except RegistryAnswerError:
        return 0, ""
    return code, message if answer.request is None else without(message, answer.request)


def refused(place: str, answer: Answer) -> Exception:
    """Make the error for an answer other than 200."""
    code, message = words_in(answer)
    if not code:  # The answer of a proxy, or of another server.
        if answer.status == httpx.codes.NOT_FOUND:
            return RegistryRequestError(
                f"{place}: HTTP 404: {answer.detail}; is it etcd 3.4 or newer, with its gRPC "
                "gateway on?"
            )
        return refusal(place, answer)
    return error_of(place, code, message)


def error_of(place: str, code: int, message: str) -> RegistryError:
    """Make the error for a gRPC code with its message."""
    text = f"{place}: {message or 'no reason given'} (code {code})"
    for of, words, kind, remedy in _MEANINGS:
        if code == of and words in message:
            return kind(text + remedy)
    return RegistryRequestError(text)


def canceled(place: str, compact_revision: int, reason: str) -> RegistryError:
    """Make the error of a watch that etcd has cancelled, which leaves its stream open."""
    text = f"{place}: etcd has cancelled the watch: {reason[:_LENGTH] or 'no reason given'}"
    if "permission denied" in reason.lower():
        return RegistryDeniedError(f"{text}; check the rights of the user")
    if compact_revision:
        text += f"; the history before revision {compact_revision} is compacted"
    return RegistryCursorLostError(text)


def needs_token(code: int, message: str) -> bool:
    """Tell whether a question was refused because it had no valid token."""
    return any(code == of and words in message for of, words in _WITHOUT_TOKEN)


def auth_is_off(answer: Answer) -> bool:
    """Tell whether etcd has authentication turned off, and takes questions without a token."""
    code, message = words_in(answer)
    return code == _Code.FAILED_PRECONDITION and "not enabled" in message
