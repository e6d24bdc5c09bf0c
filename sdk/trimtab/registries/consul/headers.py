"""What Consul's headers and refusals mean. No I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import httpx

from trimtab.errors import RegistryDeniedError, RegistryRequestError, RegistryUnavailableError
from trimtab.registries.asking import refusal

if TYPE_CHECKING:
    from trimtab.registries.asking import Answer

__all__ = [
    "check_age",
    "hidden_by_acl",
    "index_of",
    "is_mistaken",
    "is_unknown",
    "read_refusal",
    "write_refusal",
]

# Mistakes in the question that Consul answers with 500, as if it were its own trouble.
_MISTAKES = (
    "no path to datacenter",
    "boolean expression",
    "invalid filter",
    "prepared query template",
    "scripts are disabled",
)
_UNKNOWN = ("does not have associated ttl", "unknown check", "unknown service")
_SCRIPTS_OFF = "scripts are disabled"
_LONGEST_NUMBER = 20  # The digits of the largest index that 64 bits hold.


def index_of(answer: Answer) -> int | None:
    """Give the index of an answer of 200; None where a proxy has dropped it."""
    return _number(answer, "x-consul-index")


def check_age(place: str, answer: Answer, *, max_stale_s: float) -> None:
    """Refuse an answer of a server that has lost its leader for too long.

    Raises:
        RegistryUnavailableError: it has.
    """
    contact_ms = _number(answer, "x-consul-lastcontact")
    age_s = 0.0 if contact_ms is None else contact_ms / 1000
    if contact_ms is None and answer.headers.get("x-consul-knownleader") == "false":
        age_s = math.inf
    if age_s > max_stale_s:
        raise RegistryUnavailableError(
            f"{place}: the server has had no contact with a leader for {age_s:g} s "
            f"(max_stale_s is {max_stale_s:g})"
        )


def hidden_by_acl(place: str, answer: Answer, *, is_empty: bool) -> tuple[str, ...]:
    """Give the complaint that the token hides instances, if Consul says so (1.11 and later).

    Raises:
        RegistryDeniedError: it hides all of them: that is no empty list.
    """
    if answer.headers.get("x-consul-results-filtered-by-acls") != "true":
        return ()
    message = f"{place}: the token may not see all instances; give it service:read and node:read"
    if is_empty:
        raise RegistryDeniedError(message)
    return (message,)


def is_mistaken(answer: Answer) -> bool:
    """Tell whether a 500 is about the question: repeating it will not help."""
    said = answer.detail.lower()
    return any(words in said for words in _MISTAKES)


def is_unknown(answer: Answer) -> bool:
    """Tell whether the agent knows no such check or service: 500 in old versions, then 404."""
    if answer.status == httpx.codes.NOT_FOUND:
        return True
    said = answer.detail.lower()
    return answer.status == httpx.codes.INTERNAL_SERVER_ERROR and any(
        words in said for words in _UNKNOWN
    )


def read_refusal(place: str, answer: Answer) -> Exception:
    """Make the error that a refused reading stands for."""
    if is_mistaken(answer):
        return RegistryRequestError(f"{place}: HTTP {answer.status}: {answer.detail}")
    return refusal(place, answer)


def write_refusal(place: str, service: str, answer: Answer) -> Exception:
    """Make the error that a refused registration, heartbeat or deregistration stands for."""
    said = answer.detail.lower()
    if _SCRIPTS_OFF in said:
        return RegistryRequestError(
            f"{place}: HTTP {answer.status}: {answer.detail} "
            "(enable_local_script_checks does not do for checks that are registered over HTTP)"
        )
    if answer.status == httpx.codes.FORBIDDEN and "not found" not in said:
        return RegistryDeniedError(
            f"{place}: HTTP 403: {answer.detail}; give the token service:write on {service!r}"
        )
    return read_refusal(place, answer)


def _number(answer: Answer, name: str) -> int | None:
    text = answer.headers.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else None
