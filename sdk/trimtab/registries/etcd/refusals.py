"""What etcd's refusals mean, in all the shapes that 3.4 and 3.5 give them. No I/O.

    unary  3.4  {"error": "text", "message": "text", "code": 14}
    unary  3.5  {"code": 14, "message": "text", "details": []}
    stream 3.4  {"error": {"grpc_code": 14, "http_code": 503, "message": "text"}}
    stream 3.5  {"error": {"code": 14, "message": "text", "details": []}}

The gRPC code and the message decide; the HTTP status is a poor shadow of them ("user name is
empty" is 400).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.errors import (
    NotRegisteredError,
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.asking import parse_json, refusal
from trimtab.registries.hiding import without

if TYPE_CHECKING:
    from trimtab.registries.asking import Answer

__all__ = ["auth_is_off", "canceled", "error_of", "needs_token", "refused", "words_in", "words_of"]


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
"""A code, words in the message, the error that they stand for, and the remedy."""
_LENGTH = 200


def words_of(said: Any) -> tuple[int, str]:
    """Give the gRPC code and the message of a decoded refusal; 0 where there is no code."""
    table = said if isinstance(said, dict) else {"message": said}
    if isinstance(table.get("error"), dict):
        table = table["error"]
    codes = (table.get("grpc_code"), table.get("code"))
    code = next((each for each in codes if type(each) is int), 0)
    message = table.get("message") or table.get("error") or ""
    return code, " ".join(str(message).split())[:_LENGTH]


def words_in(answer: Answer) -> tuple[int, str]:
    """Give the gRPC code and the message of a refusal; 0 where it is not in etcd's words."""
    try:
        code, message = words_of(parse_json("", answer.body))
    except RegistryAnswerError:
        return 0, ""
    return code, message if answer.request is None else without(message, answer.request)


def refused(place: str, answer: Answer) -> Exception:
    """Make the error that an answer other than 200 stands for."""
    code, message = words_in(answer)
    if not code:  # Not etcd's words: a proxy's, or those of something else altogether.
        if answer.status == httpx.codes.NOT_FOUND:
            return RegistryRequestError(
                f"{place}: HTTP 404: {answer.detail}; is it etcd 3.4 or newer, with its gRPC "
                "gateway on?"
            )
        return refusal(place, answer)
    return error_of(place, code, message)


def error_of(place: str, code: int, message: str) -> RegistryError:
    """Make the error that a gRPC code with a message stands for."""
    said = f"{place}: {message or 'no reason given'} (code {code})"
    for of, words, kind, remedy in _MEANINGS:
        if code == of and words in message:
            return kind(said + remedy)
    return RegistryRequestError(said)


def canceled(place: str, compact_revision: int, reason: str) -> RegistryError:
    """Make the error of a watch that etcd has cancelled, which leaves its stream open."""
    said = f"{place}: etcd has cancelled the watch: {reason[:_LENGTH] or 'no reason given'}"
    if "permission denied" in reason.lower():
        return RegistryDeniedError(f"{said}; check the rights of the user")
    if compact_revision:
        said += f"; the history before revision {compact_revision} is compacted"
    return RegistryCursorLostError(said)


def needs_token(code: int, message: str) -> bool:
    """Tell whether a question was refused for want of a token that is valid now."""
    return any(code == of and words in message for of, words in _WITHOUT_TOKEN)


def auth_is_off(answer: Answer) -> bool:
    """Tell whether etcd refused to authenticate anybody, since it takes questions from all."""
    code, message = words_in(answer)
    return code == _Code.FAILED_PRECONDITION and "not enabled" in message
