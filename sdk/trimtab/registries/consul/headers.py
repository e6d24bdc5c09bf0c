"""What Consul's headers and refusals mean. No I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import httpx

from trimtab.errors import RegistryDeniedError, RegistryRequestError, RegistryUnavailableError
from trimtab.registries.asking import refusal

if TYPE_CHECKING:
    from trimtab.registries.asking import Answer

__all__ = ["check_age", "hidden_by_acl", "index_of", "is_unknown", "read_refusal"]

# Mistakes in the question that Consul answers with 500, as if it were its own trouble.
_QUERY_ERRORS = ("no path to datacenter", "boolean expression", "invalid filter")
_UNKNOWN = ("does not have associated ttl", "unknown check", "unknown service")


def index_of(answer: Answer) -> int | None:
    """Give the index of an answer of 200; None where a proxy has dropped it."""
    text = answer.headers.get("x-consul-index", "")
    return int(text) if text.isdecimal() else None


def check_age(place: str, answer: Answer, *, max_stale_s: float) -> None:
    """Refuse an answer of a server that has lost its leader for too long.

    Raises:
        RegistryUnavailableError: it has.
    """
    contact = answer.headers.get("x-consul-lastcontact", "")
    age_s = int(contact) / 1000 if contact.isdecimal() else 0.0
    if not contact and answer.headers.get("x-consul-knownleader") == "false":
        age_s = math.inf
    if age_s > max_stale_s:
        raise RegistryUnavailableError(
            f"{place}: the server has had no contact with a leader for {age_s:g} s "
            f"(max_stale_s is {max_stale_s:g})"
        )


def hidden_by_acl(place: str, answer: Answer, *, is_empty: bool) -> tuple[str, ...]:
    """Give the complaint that the token hides instances, if Consul says so.

    Raises:
        RegistryDeniedError: it hides all of them: that is no empty list.
    """
    if answer.headers.get("x-consul-results-filtered-by-acls") != "true":
        return ()
    message = f"{place}: the token may not see all instances; give it service:read and node:read"
    if is_empty:
        raise RegistryDeniedError(message)
    return (message,)


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
    if any(words in answer.detail.lower() for words in _QUERY_ERRORS):
        return RegistryRequestError(f"{place}: HTTP {answer.status}: {answer.detail}")
    return refusal(place, answer)
