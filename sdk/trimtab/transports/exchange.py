"""One request's course over one or more attempts: everything but the I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.discovery import Call
from trimtab.errors import SaturatedError
from trimtab.pool import OVERLOADED
from trimtab.strategies import read_load_report
from trimtab.transports.deadlines import retry_after_s, with_deadline
from trimtab.transports.options import CallOptions
from trimtab.transports.preparing import restore_location

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.discovery import Service, Turn
    from trimtab.errors import PickError
    from trimtab.http.families import Family
    from trimtab.instance import Instance
    from trimtab.pool import Outcome, Pick
    from trimtab.transports.connections import Connections, _Inner
    from trimtab.transports.preparing import Addressing

__all__ = ["Attempt", "CallInfo", "Exchange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """What `response.extensions["trimtab"]` holds.

    Attributes:
        service: its name.
        instance: the one that answered.
        attempts: how many attempts it took, the last included.
        waited_s: seconds from the request to the start of the last attempt.
        reason: why there was more than one attempt; "" otherwise.
        list_age_s: seconds since the registry last confirmed the list.
        list_source: "registry", or "disk" at a cold start without it.
    """

    service: str
    instance: Instance
    attempts: int
    waited_s: float
    reason: str
    list_age_s: float
    list_source: str


class Attempt:
    """One try on one instance, from the pick to the end of the body."""

    __slots__ = ("_connections", "_exchange", "_inner", "_service", "pick", "request")

    def __init__(
        self,
        exchange: Exchange,
        pick: Pick,
        connections: Connections,
        inner: _Inner,
        request: Any,
    ) -> None:
        self._exchange = exchange
        self._service = exchange.service
        self._connections = connections
        self._inner: _Inner | None = inner
        self.pick = pick
        self.request = request

    @property
    def transport(self) -> Any:
        """The instance's inner transport."""
        assert self._inner is not None
        return self._inner.transport

    @property
    def has_deadline(self) -> bool:
        """Whether the request has a deadline."""
        return self._exchange.has_deadline

    def time_left_s(self) -> float:
        """Return how long the request may still take."""
        return self._exchange.time_left_s()

    def check_deadline(self) -> None:
        """Raise this family's `ReadTimeout` if the request's time is up."""
        if self.has_deadline and self.time_left_s() <= 0:
            raise self.out_of_time()

    def out_of_time(self) -> BaseException:
        """Return the error of a body that its request's deadline has cut off."""
        return self._exchange.out_of_time("reading the response")

    def done(self, outcome: Outcome) -> None:
        """Give the pick back, the first time."""
        self._service.done(self.pick, outcome)

    def released(self, *, is_clean: bool = False) -> None:
        """Note that the connection is free, the first time.

        Args:
            is_clean: whether its use came to a regular end, with nothing cut short.
        """
        inner, self._inner = self._inner, None
        if inner is not None:
            self._connections.give_back(inner, is_clean=is_clean)

    def dropped(self) -> None:
        """Note, from a finalizer, that nobody will end this attempt any more."""
        if not self.pick.is_done:
            self._service.drop(self.pick)
        inner, self._inner = self._inner, None
        if inner is not None:
            self._connections.drop(inner)


class Exchange:
    """One request: picks, notes failures, decides on another attempt, completes the response.

    Args:
        service: the request's service, with its list known.
        request: the caller's own; never changed.
        started_at: when the request came, on the pool's clock.
        addressing: how attempts are addressed.
    """

    def __init__(
        self,
        service: Service,
        request: Any,
        *,
        family: Family,
        connections: Connections,
        started_at: float,
        addressing: Addressing,
    ) -> None:
        self.service = service
        self._request = request
        self._family = family
        self._connections = connections
        self._started_at = started_at
        self._addressing = addressing
        options = CallOptions.of(request.extensions, service.policies)
        self._call = Call(
            service,
            key=options.key,
            method=request.method,
            replayable=isinstance(request.stream, family.module.ByteStream),
            retry=options.retry,
            hedged=options.hedged,
            deadline_s=options.deadline_s,
        )
        self._deadline_s = options.deadline_s
        self._max_wait_s = service.policies.load_limits.max_wait_s
        self._tried: list[str] = []

    # -- attempts ----------------------------------------------------------------------------

    def attempt(self, turn: Turn | None = None) -> Attempt:
        """Pick an instance that was not tried and address the request to it.

        Raises:
            PickError: no instance can take it; `SaturatedError` may change while one waits.
        """
        pick = self._call.pick(turn)
        try:
            request = self._addressing.prepared(self._request, pick.instance)
            if self.has_deadline:
                with_deadline(request, self.time_left_s, self._addressing.deadline_header)
            inner = self._connections.use(pick.member, pick.instance)
        except BaseException:
            self.service.done(pick, "cancelled")
            raise
        return Attempt(self, pick, self._connections, inner, request)

    def failed(self, attempt: Attempt, error: BaseException) -> float | None:
        """Note how an attempt failed; return how long to wait before another one, if any."""
        failure = self._family.failure(error)
        what = self._family.words(error)
        self._over(attempt, f"{failure.replace('_', ' ')}: {what}")
        attempt.released()
        if self._call.is_out_of_time() and failure in {"timeout", "other"}:
            self._call.ran_out(attempt.pick)
            return None
        return self._call.failed(attempt.pick, failure)

    def rejected(self, attempt: Attempt, response: Any) -> float | None:
        """Return how long to wait before another attempt instead of this response, if any.

        If so, the response is the caller's to close, and then the attempt's to release.
        """
        status = response.status_code
        if not self._call.retries(status):
            return None
        wait_s = self._call.rejected(attempt.pick, status, _retry_after_s(response))
        if wait_s is not None:
            self._over(attempt, f"status {status}")
        return wait_s

    def arrived(self, attempt: Attempt, response: Any, counted_stream: Callable[..., Any]) -> Any:
        """Complete a response: its body is counted, and it says how it came about."""
        self._call.answered(attempt.pick, response.status_code, _retry_after_s(response))
        if self.service.takes_reports:
            report = read_load_report(response.headers)
            if report is not None:
                self.service.report(attempt.pick, report)
        if response.has_redirect_location:
            restore_location(response, self._request, attempt.request)
        response.extensions = {**response.extensions, "trimtab": self._info(attempt)}
        if response.is_closed:
            # A custom transport gave the whole body at once; its stream will not be closed again.
            attempt.done("success")
            attempt.released()
        else:
            response.stream = counted_stream(self._family, response.stream, attempt)
        return response

    # -- hedging -----------------------------------------------------------------------------

    def hedge_delay_s(self) -> float | None:
        """Return when to hedge, in seconds from the first attempt; None: not at all."""
        return self._call.hedge_delay_s()

    def may_hedge(self) -> bool:
        """Say whether to send another attempt beside those under way."""
        return self._call.may_hedge()

    def lost(self, attempt: Attempt) -> None:
        """Note that an attempt came second and was cancelled."""
        self._call.lost(attempt.pick)
        attempt.released()

    # -- room --------------------------------------------------------------------------------

    def patience_s(self, turn: Turn) -> float:
        """Return how long this request may still wait for room."""
        waited_s = self.service.clock() - turn.joined_at
        return max(min(self._max_wait_s - waited_s, self.time_left_s()), 0.0)

    def no_room(self) -> SaturatedError:
        """Return the error of a request that has waited for room in vain."""
        return SaturatedError(
            f"service {self.service.name!r}: no room on any instance within "
            f"{self._max_wait_s:g} s; see LoadLimits",
            service=self.service.name,
        )

    def as_connect_error(self, error: PickError) -> Exception:
        """Return the same error, also as this family's `ConnectError`."""
        return self._family.as_connect_error(error, self._request)

    # -- deadline ----------------------------------------------------------------------------

    @property
    def has_deadline(self) -> bool:
        """Whether the request has a deadline."""
        return self._deadline_s is not None

    def time_left_s(self) -> float:
        """Return how long the request may still take."""
        return self._call.time_left_s()

    def out_of_time(self, doing: str) -> BaseException:
        """Return this family's `ReadTimeout` for a request whose time is up."""
        tried = f"; before: {', then '.join(self._tried)}" if self._tried else ""
        message = (
            f"service {self.service.name!r}: its deadline of {self._deadline_s:g} s has passed "
            f"while {doing}{tried}"
        )
        error: BaseException = self._family.module.ReadTimeout(message, request=self._request)
        return error

    # -- in words ----------------------------------------------------------------------------

    def explained(self, error: BaseException) -> BaseException:
        """Return the last attempt's error in words for people on call."""
        count = len(self._tried)
        tried = ", then ".join(self._tried)
        message = (
            f"service {self.service.name!r}: {count} attempt{'s' if count > 1 else ''} failed: "
            f"{tried}; {self._advice(error)}"
        )
        return self._family.explained(error, message, self._request)

    def _over(self, attempt: Attempt, how: str) -> None:
        self._tried.append(f"{attempt.pick.instance.address} ({how})")

    def _info(self, attempt: Attempt) -> CallInfo:
        snapshot = self.service.lease.snapshot
        assert snapshot is not None
        return CallInfo(
            service=self.service.name,
            instance=attempt.pick.instance,
            attempts=len(self._tried) + 1,
            waited_s=attempt.pick.started_at - self._started_at,
            reason=", then ".join(self._tried),
            list_age_s=self.service.clock() - snapshot.fetched_at,
            list_source=snapshot.source,
        )

    def _advice(self, error: BaseException) -> str:
        if self._family.is_tls_error(error):
            return (
                "check `verify` and `server_name` against the certificates of these instances, and "
                "`cert` against those that they ask for"
            )
        if self._family.failure(error) in {"refused", "connect_timeout"}:
            return "check that these instances run and can be reached from here"
        if self._call.is_out_of_time():
            return f"its deadline of {self._deadline_s:g} s has passed"
        if self._family.failure(error) == "timeout":
            return "the instance is slow or hangs, or the client's timeout is too short for it"
        return "the connection broke; not repeated, or no other instance was left to try"


def _retry_after_s(response: Any) -> float | None:
    # Looked for only where it means something: a look at the headers costs every request.
    if response.status_code not in OVERLOADED:
        return None
    return retry_after_s(response.headers, time.time)
