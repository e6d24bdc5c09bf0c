"""Whether a failed attempt is worth another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from trimtab.errors import ConfigurationError

__all__ = ["Failure", "RetryPolicy"]

Failure: TypeAlias = Literal["refused", "connect_timeout", "no_response", "timeout", "other"]
"""How an attempt failed.

`refused`: no connection came about, and that was known at once. `connect_timeout`: none came
about in time. Either way the server saw nothing. `no_response`: the connection broke before a
response's head. `timeout`: an answer took longer than the caller allows. `other`: whatever
another instance would not mend.
"""

_IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})  # RFC 9110, 9.2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are tried again on another instance, and how often.

    A failed connect always may be: nothing was sent, and a retry adds no load to any server, so
    it does not count against the budget either. A connection that broke before the response may
    be for idempotent methods (RFC 9110) whose body can be sent again, within the budget. A
    time-out may not: it has already cost the caller the time it had.

    Attributes:
        max_attempts: attempts per request, the first included; 1 means never again.
        max_refused: attempts per request as long as they are refused at once: half a fleet may
            be gone, and asking the next instance costs next to nothing. Never less than
            `max_attempts`, unless that is 1.
        budget_ratio, budget_min_per_s: see `RetryBudget`.

    Raises:
        ConfigurationError: a value is out of range.
    """

    max_attempts: int = 3
    max_refused: int = 10
    budget_ratio: float = 0.2
    budget_min_per_s: float = 10.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.max_refused < 1:
            raise ConfigurationError(
                f"max_attempts is {self.max_attempts} and max_refused {self.max_refused}; each "
                "must be 1 or more (max_attempts=1 never retries)"
            )
        if not (self.budget_ratio >= 0 and self.budget_min_per_s >= 0):
            raise ConfigurationError(
                f"budget_ratio is {self.budget_ratio} and budget_min_per_s "
                f"{self.budget_min_per_s}; neither may be negative"
            )

    def allows(self, failure: Failure, attempts: int, *, method: str, replayable: bool) -> bool:
        """Say whether to try again after `attempts` of them, the last of which failed so.

        Args:
            failure: how the last attempt failed.
            attempts: how many were made.
            method: the request's method, upper case.
            replayable: whether the body can be sent a second time.
        """
        if failure == "refused" and self.max_attempts > 1:
            return attempts < max(self.max_attempts, self.max_refused)
        if attempts >= self.max_attempts:
            return False
        if failure == "connect_timeout":
            return True
        return failure == "no_response" and replayable and method in _IDEMPOTENT

    def is_charged(self, failure: Failure) -> bool:
        """Say whether the retry after such a failure counts against the budget."""
        return failure not in {"refused", "connect_timeout"}
