"""Whether a failed attempt is worth another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from trimtab.errors import ConfigurationError

__all__ = ["Failure", "RetryPolicy"]

Failure: TypeAlias = Literal["connect", "no_response", "timeout", "other"]
"""How an attempt failed.

`connect`: no connection came about, so the server saw nothing. `no_response`: the connection
broke before a response's head. `timeout`: an answer took longer than the caller allows. `other`:
anything that another instance would not mend.
"""

_IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})  # RFC 9110, 9.2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are tried again, and how often.

    A failed connect is: nothing was sent. A connection that broke before the response is, for
    idempotent methods (RFC 9110) whose body can be sent again. A time-out is not: it has already
    cost the caller the time it had.

    Args:
        max_attempts: attempts per request, the first included; 1 means never again.

    Raises:
        ConfigurationError: `max_attempts` is less than 1.
    """

    max_attempts: int = 3

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigurationError(
                f"max_attempts is {self.max_attempts}; it must be 1 (never retry) or more"
            )

    def allows(self, failure: Failure, attempts: int, *, method: str, replayable: bool) -> bool:
        """Say whether to try again after `attempts` of them, the last of which failed so.

        Args:
            failure: how the last attempt failed.
            attempts: how many were made.
            method: the request's method, upper case.
            replayable: whether the body can be sent a second time.
        """
        if attempts >= self.max_attempts:
            return False
        if failure == "connect":
            return True
        return failure == "no_response" and replayable and method in _IDEMPOTENT
