"""One request's course over one or more attempts: what to do next, whoever does the I/O.

The attempts of a request follow each other, and with hedging may run side by side. Whoever does
the I/O asks here at every turn: for a pick; after a failure, or a response, whether to make another
attempt, and after how long; while waiting, when to hedge.
"""

from __future__ import annotations

from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.discovery.service import Service
    from trimtab.discovery.waiting import Turn
    from trimtab.instance import Instance
    from trimtab.pool import Outcome, Pick
    from trimtab.retry import Backoff, Failure, RetryPolicy

__all__ = ["Call"]

_FIRST_FAILING_STATUS = 500
_TOO_MANY_REQUESTS = 429
_NOTHING: Mapping[str, tuple[Instance, Failure | int]] = MappingProxyType({})
_BLAME_RATIO = 0.5
_ROUNDING_S = 1e-9


class Call:
    """Picks, notes outcomes, and decides on further attempts.

    Args:
        service: with its list known.
        key: for strategies with affinity.
        method: the request's method, upper case.
        replayable: whether the body can be sent a second time.
        retry: instead of the service's own policy.
        hedged: whether a hedge may be sent at all.
        deadline_s: how long all of it may take from now; None: no bound.

    Attributes:
        tried: the instances that failed so far, by id, each with how: a failure, or a status.
        deadline_at: until when it must be over, on the service's clock.
    """

    __slots__ = (
        "_attempts",
        "_backoff",
        "_deadline_s",
        "_first",
        "_hedged",
        "_key",
        "_method",
        "_out",
        "_replayable",
        "_retry",
        "deadline_at",
        "service",
        "tried",
    )

    def __init__(
        self,
        service: Service,
        *,
        key: str | None = None,
        method: str = "GET",
        replayable: bool = True,
        retry: RetryPolicy | None = None,
        hedged: bool = True,
        deadline_s: float | None = None,
    ) -> None:
        self.service = service
        self.tried: Mapping[str, tuple[Instance, Failure | int]] = _NOTHING
        self.deadline_at = inf if deadline_s is None else service.clock() + deadline_s
        self._deadline_s = deadline_s
        self._key = key
        self._method = method
        self._replayable = replayable
        self._retry = retry or service.policies.retry
        self._hedged = hedged
        self._backoff: Backoff | None = None
        self._attempts = 0
        self._first: Pick | None = None
        # The picks, not their instances: two attempts may be out at one of them after all.
        self._out: tuple[Pick, ...] = ()

    # -- attempts ----------------------------------------------------------------------------

    def pick(self, turn: Turn | None = None) -> Pick:
        """Pick an instance, one that was not tried while there is another.

        Args:
            turn: the request's place in the queue, if it waited for room.

        Raises:
            PickError: no instance can take the request.
        """
        exclude = self.tried if not self._out else self._known()
        pick = self.service.pick(
            key=self._key, exclude=exclude, turn=turn, is_first=not self._attempts and turn is None
        )
        self._attempts += 1
        if self._hedged and self.service.policies.hedge is not None:
            self._first = self._first or pick
            self._out = (*self._out, pick)
        return pick

    def time_left_s(self) -> float:
        """Return how long the request may still take."""
        return self.deadline_at - self.service.clock()

    def is_out_of_time(self) -> bool:
        """Say whether the deadline has come; waits end within a rounding error of it."""
        return self.deadline_at < inf and self.time_left_s() <= _ROUNDING_S

    # -- what became of them -----------------------------------------------------------------

    def answered(self, pick: Pick, status: int, retry_after_s: float | None = None) -> None:
        """Note a response's head that is the request's answer: 5xx and 429 count against it."""
        self._took(pick)
        self._note(pick, status, retry_after_s)

    def completed(self, pick: Pick, status: int) -> None:
        """Note a response that came whole: head and body at one moment."""
        if pick is self._first:
            self._took(pick)
        if _is_ok(status):
            self.service.done(pick, "success")
        else:
            self._note(pick, status, None)
            self.service.done(pick, "failure")

    def done(self, pick: Pick, outcome: Outcome) -> None:
        """Give a pick back, unless that has happened."""
        self.service.done(pick, outcome)

    def retries(self, status: int) -> bool:
        """Say whether a response of this status may be tried again at all."""
        return status in self._retry.statuses

    def rejected(self, pick: Pick, status: int, retry_after_s: float | None = None) -> float | None:
        """Decide on a response whose status may be tried again.

        Returns:
            How long to wait before another attempt, with this one given back (0 while another
            is under way); None if the response is the request's answer, and nothing is noted yet.
        """
        if not self.retries(status):
            return None
        tried = self._with(pick, status)
        is_alone = not self._others_out(pick)
        wait_s = self._wait_s(status, tried, retry_after_s) if is_alone else 0.0
        if wait_s is not None:
            self._over(pick, tried)
            self._note(pick, status, retry_after_s)
            self.service.done(pick, "failure")
        return wait_s

    def failed(self, pick: Pick, failure: Failure) -> float | None:
        """Note that an attempt got no response.

        A mistake of ours or a cancellation (`other`) says nothing against the instance, and is
        never tried again. With another attempt under way there is none to decide on.

        Returns:
            How long to wait before another attempt; None if there is none.
        """
        tried = self._with(pick, failure)
        self._over(pick, tried)
        if failure == "other":
            self.service.done(pick, "cancelled")
            return None
        self.service.done(pick, "failure")
        return None if self._out else self._wait_s(failure, tried, None)

    @property
    def is_under_way(self) -> bool:
        """Whether an attempt is out, where attempts may run side by side."""
        return bool(self._out)

    def ran_out(self, pick: Pick) -> None:
        """Note that the deadline ended an attempt.

        It counts against the instance if it had most of the time: the last of several attempts
        may have been given next to none.
        """
        had_s = self.service.clock() - pick.started_at
        blamed = had_s >= _BLAME_RATIO * (self._deadline_s or 0.0)
        self.service.done(pick, "failure" if blamed else "cancelled")

    # -- hedging -----------------------------------------------------------------------------

    def hedge_delay_s(self) -> float | None:
        """Return when to hedge, in seconds from the first attempt; None: not at all."""
        hedge = self.service.policies.hedge
        if hedge is None or not self._hedged or self._attempts >= self._retry.max_attempts:
            return None
        if not self._replayable or self._method not in hedge.methods:
            return None
        return self.service.hedge_delay_s()

    def may_hedge(self) -> bool:
        """Say whether to send another attempt beside those under way; charges the budget if so."""
        if self._attempts >= self._retry.max_attempts:
            return False
        return self.service.may_hedge(self._known())

    def lost(self, pick: Pick) -> None:
        """Note that an attempt came second, and was cancelled."""
        self._out = tuple(out for out in self._out if out is not pick)
        self._took(pick)
        self.service.done(pick, "cancelled")

    # -- inside ------------------------------------------------------------------------------

    def _wait_s(
        self,
        cause: Failure | int,
        tried: Mapping[str, tuple[Instance, Failure | int]],
        retry_after_s: float | None,
    ) -> float | None:
        policy = self._retry
        if not policy.allows(
            cause, self._attempts, method=self._method, replayable=self._replayable
        ):
            return None
        if self._backoff is None:
            self._backoff = self.service.backoff(policy)
        return self.service.retry_wait_s(
            policy,
            cause,
            tried,
            backoff=self._backoff,
            retry_after_s=retry_after_s,
            time_left_s=self.time_left_s() if self.deadline_at < inf else inf,
        )

    def _note(self, pick: Pick, status: int, retry_after_s: float | None) -> None:
        self.service.answered(pick, ok=_is_ok(status), status=status, retry_after_s=retry_after_s)

    def _took(self, pick: Pick) -> None:
        # Of the first attempts only, answered or cut off by a hedge that was faster: then it
        # would have taken longer than the present quantile, and counts as such.
        if pick is self._first:
            self.service.took(self.service.clock() - pick.started_at)

    def _others_out(self, pick: Pick) -> bool:
        return any(out is not pick for out in self._out)

    def _known(self) -> tuple[str, ...]:
        """Give the ids of the instances that were tried, and of those where attempts are out."""
        return (*self.tried, *(out.instance.id for out in self._out))

    def _with(
        self, pick: Pick, cause: Failure | int
    ) -> Mapping[str, tuple[Instance, Failure | int]]:
        return {**self.tried, pick.instance.id: (pick.instance, cause)}

    def _over(self, pick: Pick, tried: Mapping[str, tuple[Instance, Failure | int]]) -> None:
        self.tried = tried
        if self._out:
            self._out = tuple(out for out in self._out if out is not pick)


def _is_ok(status: int) -> bool:
    return status < _FIRST_FAILING_STATUS and status != _TOO_MANY_REQUESTS
