"""kazoo's exceptions in our words."""

from __future__ import annotations

from kazoo.exceptions import (
    AuthFailedError,
    ConnectionLoss,
    InvalidACLError,
    KazooException,
    NoAuthError,
    OperationTimeoutError,
    QuotaExceededError,
    RequestTimeoutError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledOpError,
)

from trimtab.errors import (
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
    RegistryUnavailableError,
)

__all__ = ["INTERRUPTIONS", "in_our_words"]

INTERRUPTIONS = (ConnectionLoss, SessionExpiredError)
"""The connection went away under a question; it may be asked again once there is another."""

_DENIED = (AuthFailedError, InvalidACLError, NoAuthError, SessionClosedRequireSaslError)
_LATER = (
    *INTERRUPTIONS,
    OperationTimeoutError,
    QuotaExceededError,
    RequestTimeoutError,
    SessionMovedError,
    ThrottledOpError,
)


def in_our_words(place: str, error: Exception) -> RegistryError:
    """Make the error that one of kazoo's stands for; one of ours gets the place before it."""
    if isinstance(error, RegistryError):
        return type(error)(f"{place}: {error}")
    name = type(error).__name__
    if isinstance(error, _DENIED):
        return RegistryDeniedError(
            f"{place}: {name}: check the user, the password, and the ACLs of the nodes"
        )
    if isinstance(error, _LATER):
        return RegistryUnavailableError(f"{place}: {name}")
    if isinstance(error, KazooException):
        return RegistryRequestError(f"{place}: {name}" + (f": {error}" if str(error) else ""))
    return RegistryAnswerError(f"{place}: the answer cannot be read: {name}: {error}")
