"""One HTTP request of a caller: how its attempts are sent, and what the caller gets in the end.

The rules are those of `trimtab.calls.request`, carried out by `trimtab.balancing.drivers`. Here is
what they need to know of httpx: how a request is addressed to an instance, what its errors mean,
when a body has ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import anyio

from trimtab.balancing.drivers import raise_swallowed
from trimtab.calls import Request
from trimtab.errors import ClosedError, ConfigurationError, DiscoveryError, PickError
from trimtab.health import OVERLOADED
from trimtab.http import OPENED, Body, async_body, native_cancellations, sync_body
from trimtab.strategies import LOAD_PATH, read_load_report
from trimtab.transports.preparing import (
    asking_for_load,
    restore_location,
    retry_after_s,
    watched_source,
    with_deadline,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.balancing import Service
    from trimtab.calls import Ask, Fail, Failure, Step
    from trimtab.instance import Instance
    from trimtab.member import Member
    from trimtab.pool import Outcome, Pick
    from trimtab.transports.connections import Inner
    from trimtab.transports.sides import Side

__all__ = ["AsyncDelivery", "CallInfo", "SyncDelivery"]

_LEAST_WAIT_S = 0.001
_NO_CONTENT = 204


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


class _Delivery:
    """What both kinds share. See `trimtab.balancing.drivers.Delivery`.

    Args:
        side: the services and connections to use.
        http: the caller's own request; never changed.
        name: the service's name.
    """

    request: Request
    service: Service
    _body_of: Callable[[Any], Any]

    def __init__(self, side: Side, http: Any, name: str) -> None:
        self.side = side
        self._http = http
        self._name = name
        self._started_at = side.clock()
        self._error: Exception | None = None
        # What the caller's own body raised while it was sent; None: it is bytes and cannot.
        self._body_errors: list[Exception] | None = None

    def begin(self) -> Step:
        """Start the request."""
        side, http = self.side, self._http
        settings = side.settings
        options = settings.options
        key_of, cost_of = settings.key_of, settings.cost_of
        if key_of is not None or cost_of is not None or "trimtab" in http.extensions:
            options = options.of(http, key_of, cost_of)
        deadline_s = options.deadline_s
        replayable = isinstance(http.stream, side.family.module.ByteStream)
        if not replayable:
            self._body_errors = []
        services = side.services
        service = services.recent.get(self._name)
        while True:
            if service is None or self._started_at - service.used_at > services.sure_s:
                service = self._service()
            self.service = service
            self.request = Request(
                service.calls,
                key=options.key,
                cost=options.cost,
                method=http.method,
                replayable=replayable,
                retry=options.retry,
                may_hedge=options.may_hedge,
                deadline_at=inf if deadline_s is None else self._started_at + deadline_s,
                deadline_s=deadline_s,
            )
            step = service.begin(self.request)
            if step is not None:
                return step
            service = None

    def answered(self, pick: Pick, response: Any) -> Step:
        """Take a response's head."""
        status = response.status_code
        wait_s = None
        if status in OVERLOADED:
            # Read only where it means something: reading headers costs every request.
            wait_s = retry_after_s(response.headers, time.time)
        service = self.service
        with service.lock:
            return self.request.answered(pick, status, service.clock(), wait_s)

    def failed(self, pick: Pick, error: Exception) -> Step:
        """Take an attempt's error."""
        self._error = error
        family = self.side.family
        failure = self._failure(error)
        return self.service.failed(self.request, pick, failure, family.words(error))

    def _failure(self, error: Exception) -> Failure:
        if self._body_errors and {id(error), id(error.__cause__)} & set(map(id, self._body_errors)):
            return "caller"
        return self.side.family.failure(error, self._http)

    def finish(self, pick: Pick, response: Any) -> Any:
        """Complete the caller's response: it says how it came about."""
        service, history = self.service, self.request.history
        # An error before this response holds on to the frames that hold the response.
        self._error = None
        if service.takes_reports:
            report = read_load_report(response.headers)
            if report is not None:
                service.report(pick.member.id, report)
        lease = service.lease
        assert lease is not None
        snapshot = lease.supervisor.snapshot
        assert snapshot is not None
        response.extensions = {
            **response.extensions,
            "trimtab": CallInfo(
                service=service.name,
                instance=pick.instance,
                attempts=len(history) + 1,
                waited_s=pick.started_at - self._started_at,
                reason=", then ".join(history),
                list_age_s=service.clock() - snapshot.fetched_at,
                list_source=snapshot.source,
            ),
        }
        if response.is_closed:
            # A custom transport gave the whole body at once. No one will close its stream.
            service.ended(pick, "success")
        return response

    def error(self, fail: Fail) -> BaseException:
        """Return the caller's error."""
        if fail.reason == "deadline":
            return self._out_of_time(fail.doing)
        if fail.reason == "attempt":
            return self._explained()
        error = self.service.error_of(self.request, fail)
        if isinstance(error, (PickError, DiscoveryError, ClosedError)):
            both = self.side.family.as_connect_error(error, self._http)
            both.__cause__ = error
            return both
        return error

    # -- inside ------------------------------------------------------------------------------

    def _service(self) -> Service:
        if not self._name:
            raise ConfigurationError(
                f"the URL {str(self._http.url)!r} names no service: it has no host"
            )
        if self._http.url.scheme in {"https", "wss"}:
            # Made now, so that its time is not taken for the instance's.
            self.side.settings.maker.prepare_tls()
        try:
            service = self.side.services.get(self._name)
        except ClosedError as error:
            raise self.side.family.as_connect_error(error, self._http) from error
        service.url = self._http.url
        return service

    def _prepared(self, pick: Pick) -> Any:
        """Return the request as it goes to the pick's instance."""
        addressing = self.side.settings.addressing
        request = addressing.prepared(self._http, pick.instance)
        if self.service.takes_reports:
            asking_for_load(request)
        if self.request.deadline_at < inf:
            with_deadline(request, self._time_left_s, addressing.deadline_header)
        if self._body_errors is not None:
            make = watched_source(self.side.family.module)
            request.stream = make(request.stream, self._body_errors)
        return request

    def _question(self, member: Member, wait_s: float) -> Any:
        """Return the request that asks an instance for its load."""
        request = self.side.family.module.Request(
            "GET",
            self._http.url.join(LOAD_PATH),
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), wait_s)},
        )
        asking_for_load(request)
        return self.side.settings.addressing.prepared(request, member.instance)

    def _take_load(self, member: Member, response: Any) -> None:
        report = read_load_report(response.headers)
        if report is not None:
            self.service.report(member.id, report)

    def _explained(self) -> BaseException:
        """Return the last attempt's error in words for people on call."""
        error, history, family = self._error, self.request.history, self.side.family
        assert error is not None
        count = len(history)
        message = (
            f"service {self.service.name!r}: {count} attempt{'s' if count > 1 else ''} failed: "
            f"{', then '.join(history)}; {self._advice(error)}"
        )
        explained = family.explained(error, message, self._http)
        if explained is not error:
            explained.__cause__ = error
        return explained

    def _advice(self, error: Exception) -> str:
        family = self.side.family
        if family.is_tls_error(error):
            return (
                "check `verify` and `server_name` against the certificates of these instances, and "
                "`cert` against those that they ask for"
            )
        failure = self._failure(error)
        if failure == "caller":
            return "the request itself is at fault; no other instance was tried"
        if failure in {"refused", "connect_timeout"}:
            return "check that these instances run and can be reached from here"
        if failure == "timeout":
            return "the instance is slow or hangs, or the client's timeout is too short for it"
        return "the connection broke; not repeated, or no other instance was left to try"

    def _received(self, attempt: _Attempt, sent: Any, response: Any) -> Any:
        """Have a response's body end the attempt."""
        body = response.stream
        if response.is_closed:
            # A custom transport gave the whole body at once. No one will close its stream.
            self.side.connections.give_back(attempt.inner)
        else:
            if not isinstance(body, Body):
                # A custom transport's own stream.
                family = self.side.family
                body = response.stream = self._body_of(family.module)(body, family)
            body.watcher = attempt
            if self.request.deadline_at < inf:
                body.left_s, body.late = self._time_left_s, self._late
        if response.has_redirect_location:
            restore_location(response, self._http, sent)
        return response

    def _time_left_s(self) -> float:
        return self.request.deadline_at - self.service.clock()

    def _late(self) -> BaseException:
        return self._out_of_time("reading the response")

    def _out_of_time(self, doing: str) -> BaseException:
        """Return this family's `ReadTimeout` for a request whose deadline has come."""
        history = self.request.history
        before = f"; before: {', then '.join(history)}" if history else ""
        message = (
            f"service {self.service.name!r}: its deadline of {self.request.deadline_s:g} s has "
            f"passed while {doing}{before}"
        )
        error: BaseException = self.side.family.module.ReadTimeout(message, request=self._http)
        return error


class _Attempt:
    """One attempt, until its body has ended. The watcher of its connection and of its body."""

    __slots__ = ("_delivery", "_pick", "inner")

    def __init__(self, delivery: _Delivery, pick: Pick, inner: Inner) -> None:
        self._delivery = delivery
        self._pick = pick
        self.inner = inner

    def opened(self, backend: Any) -> None:
        """Called when its connection is open: the instance's latency begins now."""
        if backend is getattr(self.inner.transport, "backend", None):
            service = self._delivery.service
            with service.lock:
                self._pick.opened(service.clock())

    def ended(self, body: Body) -> None:
        """Give the pick and the connection back."""
        error = body.error
        outcome: Outcome = "cancelled"
        if error is not None:
            outcome = "failure" if isinstance(error, Exception) else "cancelled"
        elif body.is_whole:
            outcome = "success"
        delivery = self._delivery
        service = delivery.service
        with service.lock:
            delivery.request.ended(self._pick, outcome, service.clock())
        delivery.side.connections.give_back(self.inner, is_clean=body.is_clean)

    def dropped(self) -> None:
        """Give them back from a finalizer, where no lock may be waited for."""
        delivery = self._delivery
        if not self._pick.is_done:
            delivery.service.drop(self._pick)
        delivery.side.connections.drop(self.inner)


class SyncDelivery(_Delivery):
    """A request of a synchronous client."""

    _body_of = staticmethod(sync_body)

    def send(self, pick: Pick) -> Any:
        """Send one attempt; return the response with its body to come."""
        sent = self._prepared(pick)
        connections = self.side.connections
        inner = connections.use(pick.member, pick.instance)
        attempt = _Attempt(self, pick, inner)
        OPENED.set(attempt.opened)
        try:
            response = inner.transport.handle_request(sent)
        except BaseException:
            OPENED.set(None)
            connections.give_back(inner)
            raise
        OPENED.set(None)
        return self._received(attempt, sent, response)

    def ask(self, step: Ask) -> None:
        """Ask instances for their load, one after the other."""
        wait_s = max(step.until - self.service.clock(), _LEAST_WAIT_S)
        for member in step.members:
            self._ask(member, wait_s)

    def _ask(self, member: Member, wait_s: float) -> None:
        connections = self.side.connections
        inner = connections.use(member, member.instance)
        is_clean = False
        try:
            response = inner.transport.handle_request(self._question(member, wait_s))
            try:
                self._take_load(member, response)
                if response.status_code == _NO_CONTENT:
                    response.read()  # Its connection can be used again.
                    is_clean = True
            finally:
                response.close()
        except Exception:  # noqa: BLE001 - it may be a user's transport
            self.service.report(member.id, None)
        finally:
            connections.give_back(inner, is_clean=is_clean)

    def discard(self, pick: Pick, response: Any) -> None:
        """Close a response that the caller does not get."""
        response.close()
        # A custom transport's whole response has no stream of ours that says so.
        self.service.ended(pick, "cancelled")


class AsyncDelivery(_Delivery):
    """A request of an asynchronous client."""

    _body_of = staticmethod(async_body)

    async def send(self, pick: Pick) -> Any:
        """Send one attempt; return the response with its body to come."""
        sent = self._prepared(pick)
        connections = self.side.connections
        inner = connections.use(pick.member, pick.instance)
        attempt = _Attempt(self, pick, inner)
        OPENED.set(attempt.opened)
        try:
            response = await inner.transport.handle_async_request(sent)
        except BaseException:
            OPENED.set(None)
            connections.give_back(inner)
            raise
        OPENED.set(None)
        return self._received(attempt, sent, response)

    async def ask(self, step: Ask) -> None:
        """Ask instances for their load, all at once."""
        wait_s = max(step.until - self.service.clock(), _LEAST_WAIT_S)
        if len(step.members) == 1:
            await self._ask(step.members[0], wait_s)
            return
        before = native_cancellations()
        async with anyio.create_task_group() as group:
            for member in step.members:
                group.start_soon(self._ask, member, wait_s)
        raise_swallowed(before)

    async def _ask(self, member: Member, wait_s: float) -> None:
        connections = self.side.connections
        inner = connections.use(member, member.instance)
        is_clean = False
        try:
            response = await inner.transport.handle_async_request(self._question(member, wait_s))
            try:
                self._take_load(member, response)
                if response.status_code == _NO_CONTENT:
                    await response.aread()  # Its connection can be used again.
                    is_clean = True
            finally:
                await response.aclose()
        except Exception:  # noqa: BLE001 - it may be a user's transport
            self.service.report(member.id, None)
        finally:
            connections.give_back(inner, is_clean=is_clean)

    async def discard(self, pick: Pick, response: Any) -> None:
        """Close a response that the caller does not get."""
        await response.aclose()
        self.service.ended(pick, "cancelled")
