"""One request's course over one or more attempts: everything but the I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.discovery import Call
from trimtab.transports.preparing import prepared, restore_location

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.discovery import Service
    from trimtab.instance import Instance
    from trimtab.pool import Outcome, Pick
    from trimtab.transports.connections import Connections, _Inner
    from trimtab.transports.families import Family
    from trimtab.transports.preparing import NamePolicy

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

    __slots__ = ("_connections", "_inner", "_service", "pick", "request")

    def __init__(
        self, service: Service, pick: Pick, connections: Connections, inner: _Inner, request: Any
    ) -> None:
        self._service = service
        self._connections = connections
        self._inner: _Inner | None = inner
        self.pick = pick
        self.request = request

    @property
    def transport(self) -> Any:
        """The instance's inner transport."""
        assert self._inner is not None
        return self._inner.transport

    def done(self, outcome: Outcome) -> None:
        """Give the pick back, the first time."""
        self._service.done(self.pick, outcome)

    def released(self) -> None:
        """Note that the connection is free, the first time."""
        inner, self._inner = self._inner, None
        if inner is not None:
            self._connections.give_back(inner)

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
    """

    def __init__(
        self,
        service: Service,
        request: Any,
        *,
        family: Family,
        connections: Connections,
        clock: Callable[[], float],
        started_at: float,
        host: NamePolicy,
        server_name: NamePolicy,
    ) -> None:
        self._service = service
        self._request = request
        self._family = family
        self._connections = connections
        self._clock = clock
        self._started_at = started_at
        self._host: NamePolicy = host
        self._server_name: NamePolicy = server_name
        options = request.extensions.get("trimtab") or {}
        self._call = Call(
            service,
            key=options.get("key"),
            method=request.method,
            replayable=isinstance(request.stream, family.module.ByteStream),
        )
        self._tried: list[str] = []

    def attempt(self) -> Attempt:
        """Pick an instance that was not tried and address the request to it.

        Raises:
            PickError: no instance can take it; also this family's `ConnectError`.
        """
        pick = self._call.pick()
        try:
            request = prepared(
                self._request, pick.instance, host=self._host, server_name=self._server_name
            )
            inner = self._connections.use(pick.member, pick.instance)
        except BaseException:
            self._service.done(pick, "cancelled")
            raise
        return Attempt(self._service, pick, self._connections, inner, request)

    def failed(self, attempt: Attempt, error: BaseException) -> bool:
        """Note how an attempt failed; say whether to make another one."""
        failure = self._family.failure(error)
        instance = attempt.pick.instance
        attempt.released()
        what = self._family.words(error)
        self._tried.append(f"{instance.address} ({failure.replace('_', ' ')}: {what})")
        return self._call.failed(attempt.pick, failure)

    def explained(self, error: BaseException) -> BaseException:
        """Return the last attempt's error in words for people on call."""
        count = len(self._tried)
        tried = ", then ".join(self._tried)
        message = (
            f"service {self._service.name!r}: {count} attempt{'s' if count > 1 else ''} failed: "
            f"{tried}; {self._advice(error)}"
        )
        return self._family.explained(error, message, self._request)

    def arrived(self, attempt: Attempt, response: Any, counted_stream: Callable[..., Any]) -> Any:
        """Complete a response: its body is counted, and it says how it came about."""
        now = self._clock()
        self._call.answered(attempt.pick, response.status_code)
        if response.has_redirect_location:
            restore_location(response, self._request, attempt.request)
        response.extensions = {**response.extensions, "trimtab": self._info(attempt, now)}
        if response.is_closed:
            # A custom transport gave the whole body at once; its stream will not be closed again.
            attempt.done("success")
            attempt.released()
        else:
            response.stream = counted_stream(self._family, response.stream, attempt)
        return response

    def _info(self, attempt: Attempt, now: float) -> CallInfo:
        snapshot = self._service.lease.snapshot
        assert snapshot is not None
        return CallInfo(
            service=self._service.name,
            instance=attempt.pick.instance,
            attempts=len(self._tried) + 1,
            waited_s=attempt.pick.started_at - self._started_at,
            reason=", then ".join(self._tried),
            list_age_s=now - snapshot.fetched_at,
            list_source=snapshot.source,
        )

    def _advice(self, error: BaseException) -> str:
        if self._family.is_tls_error(error):
            return "check `verify` and `server_name` against the certificates of these instances"
        if self._family.failure(error) in {"refused", "connect_timeout"}:
            return "check that these instances run and can be reached from here"
        if self._family.failure(error) == "timeout":
            return "the instance is slow or hangs, or the client's timeout is too short for it"
        return "the connection broke; not repeated, or no other instance was left to try"
