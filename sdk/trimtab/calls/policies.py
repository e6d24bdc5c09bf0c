"""What is tried again, and when a second attempt is sent: two frozen policies.

Sources: Finagle `RetryBudget` and `BackupRequestFilter`; J. Dean and L. A. Barroso, "The Tail at
Scale", 2013; RFC 9110, 9.2.2 (idempotent methods).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["FAILURES", "IDEMPOTENT", "Failure", "HedgePolicy", "RetryPolicy"]

Failure: TypeAlias = Literal[
    "refused", "connect_timeout", "unprocessed", "no_response", "timeout", "caller", "unknown"
]
"""How an attempt failed.

| kind              | what happened                                   | the instance's fault |
|-------------------|-------------------------------------------------|----------------------|
| `refused`         | the connection failed at once; nothing was sent | yes                  |
| `connect_timeout` | no connection in time; nothing was sent         | yes                  |
| `unprocessed`     | the server says that it did not process it      | no                   |
| `no_response`     | the connection broke before a response's head   | yes                  |
| `timeout`         | the answer took longer than the caller allows   | yes                  |
| `caller`          | the caller's mistake, or a cancellation         | no                   |
| `unknown`         | an error that is none of these                  | counts as such       |

The first five can be tried again. `caller` and `unknown` never are: another instance would not
help, or it is not known whether the request was sent.
"""

FAILURES: frozenset[Failure] = frozenset(get_args(Failure))
IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})
"""The methods that may be sent twice. Source: RFC 9110, 9.2.2."""

_UNSENT = frozenset({"refused", "connect_timeout"})
_RETRIED: frozenset[Failure] = frozenset(
    {"refused", "connect_timeout", "unprocessed", "no_response"}
)
_UNCHARGED = frozenset({"refused", "unprocessed"})
"""The failures whose repetition costs next to nothing."""
_FIRST_STATUS, _LAST_STATUS = 400, 599


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are tried again, where, how often and after how long.

    A failed connect is tried again at once, since nothing was sent; on another instance only. A
    refused one is outside the budget: asking the next instance costs next to nothing. A connect
    time-out is charged to it: servers that cannot accept connections in time are overloaded, and
    more connections make it worse. What was sent is tried again for idempotent methods only, if the
    body can be sent a second time, within the budget and after a wait (exponential, full jitter).
    By default that is a connection that broke before the response. What a server of HTTP/2 says it
    did not process (GOAWAY, REFUSED_STREAM) is tried again whatever the method, outside the budget,
    if the body can be sent a second time. Time-outs and statuses are for
    the caller to add: a time-out has already used its time, and a 500 may be the right answer.

    A retry goes to an instance that was not tried, while one is eligible; otherwise to one that
    was, unless it could not be connected to.

    Attributes:
        max_attempts: attempts per request, the first and hedges included; 1 means no retry.
        max_refused: attempts per request as long as they are refused at once: half of a fleet
            may be gone. At least `max_attempts`, unless that is 1.
        max_unprocessed: how many attempts of a request may be unprocessed. They are not counted
            as `max_attempts`, nor the others here.
        methods: the methods that may be sent twice, upper case.
        failures: the kinds of failure that are tried again; see `Failure`.
        statuses: the statuses that are, from 400 to 599, such as {429, 502, 503, 504}; the last
            response is returned when no attempt is left.
        backoff_first_s, backoff_max_s: bounds of the waits; see `Backoff`.
        retry_after: what a `Retry-After` header applies to: the "instance" that sent it, which
            gets no request for so long while others do, or the "service", for which every retry
            waits so long.
        max_retry_after_s: if a retry would have to wait longer, the response is returned.
        budget_ratio, budget_min_per_s: see `RetryBudget`.

    Raises:
        ConfigurationError: a value is out of range.
    """

    max_attempts: int = 3
    max_refused: int = 10
    max_unprocessed: int = 30
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
        if min(self.max_attempts, self.max_refused, self.max_unprocessed) < 1:
            raise ConfigurationError(
                f"max_attempts is {self.max_attempts}, max_refused {self.max_refused} and "
                f"max_unprocessed {self.max_unprocessed}; each must be 1 or more (max_attempts=1 "
                "means no retry)"
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
        """Return whether to try again after `attempts` attempts.

        Args:
            cause: how the last attempt failed, or the status of its response.
            attempts: how many were made; those that were not processed are counted by themselves.
            method: the request's method, upper case.
            replayable: whether the body can be sent a second time.
        """
        if isinstance(cause, int):
            if cause not in self.statuses:
                return False
        elif cause not in self.failures:
            return False
        if cause == "unprocessed":
            return replayable and self.max_attempts > 1 and attempts < self.max_unprocessed
        if cause == "refused" and self.max_attempts > 1:
            return attempts < max(self.max_attempts, self.max_refused)
        if attempts >= self.max_attempts:
            return False
        return cause in _UNSENT or (replayable and method in self.methods)

    @staticmethod
    def is_charged(cause: Failure | int) -> bool:
        """Return whether a retry is charged to the budget: all but those that cost nothing."""
        return cause not in _UNCHARGED

    @staticmethod
    def was_connected(cause: Failure | int) -> bool:
        """Return whether the server was connected to, and so may be asked again."""
        return cause not in _UNSENT

    def _check_sets(self) -> None:
        object.__setattr__(self, "methods", frozenset(self.methods))
        object.__setattr__(self, "failures", frozenset(self.failures))
        object.__setattr__(self, "statuses", frozenset(self.statuses))
        known = FAILURES - {"caller", "unknown"}
        wrong = sorted(frozenset(self.failures) - known)
        if wrong:
            raise ConfigurationError(
                f"failures has {wrong[0]!r}; known are {', '.join(sorted(known))}"
            )
        for status in self.statuses:
            if status not in range(_FIRST_STATUS, _LAST_STATUS + 1):
                raise ConfigurationError(f"statuses has {status!r}; each must be from 400 to 599")
        _check_methods(self.methods)
        if self.retry_after not in {"instance", "service"}:
            raise ConfigurationError(
                f"retry_after is {self.retry_after!r}; it must be 'instance' or 'service'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgePolicy:
    """When a second attempt is sent beside a slow first one; the first answer wins.

    A hedge is charged to the retry budget, so that a slow fleet does not get twice the load. The
    attempt that loses is cancelled, and is not in flight any more.

    Attributes:
        quantile: hedge requests that take longer than this share of the service's recent ones,
            between 0 and 1; so at most the rest is sent twice.
        after_s: hedge after a fixed time instead; with a quantile too, until enough latencies
            are known for it.
        min_s: the least delay before a hedge.
        min_samples: how many latencies a quantile needs.
        methods: the methods that may be sent twice, upper case.

    Raises:
        ConfigurationError: a value is out of range.
    """

    quantile: float | None = 0.95
    after_s: float | None = None
    min_s: float = 0.001
    min_samples: int = 100
    methods: Collection[str] = IDEMPOTENT

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", frozenset(self.methods))
        _check_methods(self.methods)
        if self.quantile is None and self.after_s is None:
            raise ConfigurationError("hedging needs a quantile or after_s")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise ConfigurationError(
                f"quantile is {self.quantile!r}; it must be between 0 and 1, such as 0.95"
            )
        for name in ("after_s", "min_s"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigurationError(f"{name} is {value!r}; it must be 0 or more")
        if self.min_samples < 1:
            raise ConfigurationError(f"min_samples is {self.min_samples!r}; it must be 1 or more")

    def delay_s(self, observed_s: float | None) -> float | None:
        """Return when to hedge, in seconds from the attempt; None: not known yet.

        Args:
            observed_s: the quantile of recent latencies, if there are enough.
        """
        delay_s = self.after_s if observed_s is None or self.quantile is None else observed_s
        return None if delay_s is None else max(delay_s, self.min_s)


def _check_methods(methods: Collection[str]) -> None:
    for method in methods:
        if not method.isupper():
            raise ConfigurationError(f"methods has {method!r}; write methods in upper case")
