"""Whether a failed attempt is worth another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["IDEMPOTENT", "Failure", "RetryPolicy"]

Failure: TypeAlias = Literal["refused", "connect_timeout", "no_response", "timeout", "other"]
"""How an attempt failed.

`refused`: no connection came about, and that was known at once. `connect_timeout`: none came
about in time. Either way the server saw nothing. `no_response`: the connection broke before a
response's head. `timeout`: an answer took longer than the caller allows. `other`: whatever
another instance would not mend.
"""

IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})
"""The methods that may be sent twice. Source: RFC 9110, 9.2.2."""

_UNSENT = frozenset({"refused", "connect_timeout"})
_RETRIED: frozenset[Failure] = frozenset({"refused", "connect_timeout", "no_response"})
_FIRST_STATUS, _LAST_STATUS = 400, 599


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are tried again, where, how often and after how long.

    A failed connect always may be: nothing was sent, and a retry adds no load to any server, so
    it waits for nothing, and does not count against the budget either. Everything else is tried
    again for some methods only, if the body can be sent a second time, within the budget, after
    an exponential wait with full jitter. By default that is a connection that broke before the
    response. Time-outs and statuses are the caller's to add: a time-out has already cost the
    time it had, and a 500 may be the right answer.

    Another instance is asked while one is eligible that was not; else the same again, unless it
    has refused the connection.

    Attributes:
        max_attempts: attempts per request, the first and hedges included; 1 means never again.
        max_refused: attempts per request as long as they are refused at once: half a fleet may
            be gone, and asking the next instance costs next to nothing. Never less than
            `max_attempts`, unless that is 1.
        methods: the methods that may be sent twice, upper case.
        failures: the kinds of failure that are tried again; see `Failure`.
        statuses: the statuses that are, from 400 to 599, such as {429, 502, 503, 504}; the last
            response is returned when no attempt is left.
        backoff_first_s, backoff_max_s: bounds of the waits; see `Backoff`.
        retry_after: whom a `Retry-After` header speaks for: the "instance" that sent it, which
            gets nothing for so long while others are asked, or the "service", for which every
            retry waits so long.
        max_retry_after_s: a longer wait than this is not waited for: the response is returned.
        budget_ratio, budget_min_per_s: see `RetryBudget`.

    Raises:
        ConfigurationError: a value is out of range.
    """

    max_attempts: int = 3
    max_refused: int = 10
    methods: Collection[str] = IDEMPOTENT
    failures: Collection[Failure] = _RETRIED
    statuses: Collection[int] = frozenset()
    backoff_first_s: float = 0.025
    backoff_max_s: float = 0.25
    retry_after: Literal["instance", "service"] = "instance"
    max_retry_after_s: float = 5.0
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
        for name in ("backoff_first_s", "backoff_max_s", "max_retry_after_s"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be 0 or more")
        self._check_sets()

    def allows(self, cause: Failure | int, attempts: int, *, method: str, replayable: bool) -> bool:
        """Say whether to try again after `attempts` of them, the last of which ended so.

        Args:
            cause: how the last attempt failed, or the status of its response.
            attempts: how many were made.
            method: the request's method, upper case.
            replayable: whether the body can be sent a second time.
        """
        if isinstance(cause, int):
            if cause not in self.statuses:
                return False
        elif cause not in self.failures:
            return False
        if cause == "refused" and self.max_attempts > 1:
            return attempts < max(self.max_attempts, self.max_refused)
        if attempts >= self.max_attempts:
            return False
        return cause in _UNSENT or (replayable and method in self.methods)

    def is_charged(self, cause: Failure | int) -> bool:
        """Say whether the retry waits, and counts against the budget: something was sent."""
        return cause not in _UNSENT

    def _check_sets(self) -> None:
        object.__setattr__(self, "methods", frozenset(self.methods))
        object.__setattr__(self, "failures", frozenset(self.failures))
        object.__setattr__(self, "statuses", frozenset(self.statuses))
        known = frozenset(get_args(Failure)) - {"other"}
        wrong = sorted(frozenset(self.failures) - known)
        if wrong:
            raise ConfigurationError(
                f"failures has {wrong[0]!r}; known are {', '.join(sorted(known))}"
            )
        for status in self.statuses:
            if status not in range(_FIRST_STATUS, _LAST_STATUS + 1):
                raise ConfigurationError(f"statuses has {status!r}; write some from 400 to 599")
        for method in self.methods:
            if not method.isupper():
                raise ConfigurationError(f"methods has {method!r}; write them in upper case")
        if self.retry_after not in {"instance", "service"}:
            raise ConfigurationError(
                f"retry_after is {self.retry_after!r}; it must be 'instance' or 'service'"
            )
