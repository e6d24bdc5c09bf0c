"""The server's side of load reports: middleware for ASGI and WSGI applications.

    app = AsgiLoadReporter(app)      # Starlette, FastAPI, Django, under uvicorn or hypercorn
    app = WsgiLoadReporter(app)      # Flask, Django, under gunicorn or waitress

It counts the requests of this process, and adds its load to the response of each request that asks
for it (`endpoint-load-metrics-format`): requests in flight besides this one, requests and errors
per second, CPU. At `/.well-known/trimtab-load` it answers with the load and nothing else, which
the strategy `least_load` asks for.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from trimtab.strategies.load_report import ASK_HEADER, LOAD_PATH, REPORT_HEADER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping

    _Message = MutableMapping[str, Any]
    _AsgiApp = Callable[..., Awaitable[None]]
    _WsgiApp = Callable[..., Iterable[bytes]]

__all__ = ["AsgiLoadReporter", "LoadMeter", "WsgiLoadReporter"]

_WINDOW_S = 1.0
"""Rates are of at least so long a time, and are worked out again once in it."""
_LONGEST_WINDOW_S = 60.0
"""After so long without a report a mean would say little of the present: a new window begins."""
_EVERY_S = 0.01
_FIRST_ERROR = 500
_ASK_BYTES, _REPORT_BYTES = ASK_HEADER.encode(), REPORT_HEADER.encode()
_ASK_VARIABLE = "HTTP_" + ASK_HEADER.upper().replace("-", "_")


class LoadMeter:
    """The load of one process: what is in flight, and how much came and failed.

    What counts a request changes the attributes; everything else is worked out when a report is
    wanted. Any thread may ask for a report; threads that count need a lock.

    Args:
        clock: returns the time, in seconds, monotonic.
        cpu_clock: returns the seconds that the process has worked, in total. The utilization is
            its growth per second: 1 is one busy core.
        every_s: the least time between two reports with responses, in seconds.

    Attributes:
        in_flight: requests that have begun and not ended.
        begun, errors: counts of requests since the start, and of those that failed.
    """

    __slots__ = (
        "_at",
        "_before",
        "_clock",
        "_cpu_clock",
        "_due_at",
        "_every_s",
        "_lock",
        "_rates",
        "begun",
        "errors",
        "in_flight",
    )

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        every_s: float = _EVERY_S,
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._lock = threading.Lock()
        self.in_flight = self.begun = self.errors = 0
        self._at = self._due_at = clock()
        self._every_s = every_s
        self._before = (0, 0, cpu_clock())
        self._rates = ("", "")

    def is_due(self) -> bool:
        """Return whether a response is to take a report along; then the next is due later.

        One more header costs a server written in Python some 10 microseconds. At a rate at which
        that would count, not every response needs it.
        """
        now = self._clock()
        if now < self._due_at:
            return False
        self._due_at = now + self._every_s
        return True

    def report(self, form: str = "TEXT", *, besides: int = 0) -> str:
        """Return the value of `endpoint-load-metrics`.

        Rates and CPU are left out until the first second has passed.

        Args:
            form: "JSON" for JSON; text otherwise.
            besides: how many of the requests in flight not to count, such as the one whose
                response takes the report along.
        """
        now = self._clock()
        if now - self._at >= _WINDOW_S:
            self._renew(now)
        in_flight = self.in_flight - besides
        if form != "JSON":
            return f"TEXT named_metrics.requests_in_flight={in_flight}{self._rates[0]}"
        named = f'"named_metrics": {{"requests_in_flight": {in_flight}}}'
        return f"JSON {{{named}{self._rates[1]}}}"

    def _renew(self, now: float) -> None:
        with self._lock:
            passed_s = now - self._at
            if passed_s < _WINDOW_S:
                return  # Another thread was first.
            # Those that have ended: while a queue grows, more requests begin than are done.
            counts = (self.begun - self.in_flight, self.errors, self._cpu_clock())
            qps, eps, cpu = (
                (new - old) / passed_s for new, old in zip(counts, self._before, strict=True)
            )
            self._at, self._before = now, counts
        self._rates = ("", "")
        if passed_s <= _LONGEST_WINDOW_S:
            self._rates = (
                f", rps_fractional={qps:.6g}, eps={eps:.6g}, cpu_utilization={cpu:.6g}",
                f', "rps_fractional": {qps:.6g}, "eps": {eps:.6g}, "cpu_utilization": {cpu:.6g}',
            )


class AsgiLoadReporter:
    """ASGI middleware that reports the load of this process with its responses.

    Put it outermost. Requests over HTTP count, from their start to the end of the application's
    call; responses of 500 and above, and exceptions without a response, count as errors. It costs
    1 to 3 microseconds per request, and some 10 more for each report, of which there are at most
    100 per second: 0.1 % of a core.

    Args:
        app: the application.
        always: report with every response, whether it was asked for or not.
        has_endpoint: answer at `/.well-known/trimtab-load`.
        meter: counts, in place of a new one.

    Attributes:
        meter: what it counts by.

    Example:
        >>> from trimtab import AsgiLoadReporter
        >>> async def hello(scope, receive, send):
        ...     await send({"type": "http.response.start", "status": 200, "headers": []})
        ...     await send({"type": "http.response.body", "body": b"hello"})
        >>> app = AsgiLoadReporter(hello)
    """

    def __init__(
        self,
        app: _AsgiApp,
        *,
        always: bool = False,
        has_endpoint: bool = True,
        meter: LoadMeter | None = None,
    ) -> None:
        self._app = app
        self._always = always
        self._path = LOAD_PATH if has_endpoint else None
        self.meter = meter or LoadMeter()

    async def __call__(self, scope: _Message, receive: Any, send: Any) -> None:
        """Handle a request; see the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == self._path:
            await self._answer(scope, send)
            return
        form = b"TEXT" if self._always else b""
        for name, value in scope["headers"]:
            if name == _ASK_BYTES:
                form = value
                break
        meter = self.meter
        has_begun = False

        # Not async: it hands on the awaitable of `send`, which saves a coroutine per message.
        def counted(message: _Message) -> Awaitable[None]:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                if message["status"] >= _FIRST_ERROR:
                    meter.errors += 1
                if form and meter.is_due():
                    message = _with_report(message, _text(meter, form, besides=1))
            result: Awaitable[None] = send(message)
            return result

        meter.begun += 1
        meter.in_flight += 1
        try:
            await self._app(scope, receive, counted)
        except Exception:
            meter.errors += not has_begun
            raise
        finally:
            meter.in_flight -= 1

    async def _answer(self, scope: _Message, send: Any) -> None:
        asked = dict(scope["headers"]).get(_ASK_BYTES, b"TEXT")
        start: _Message = {"type": "http.response.start", "status": 204, "headers": []}
        await send(_with_report(start, _text(self.meter, asked)))
        await send({"type": "http.response.body", "body": b""})


def _text(meter: LoadMeter, form: bytes, *, besides: int = 0) -> bytes:
    return meter.report("JSON" if form == b"JSON" else "TEXT", besides=besides).encode()


def _with_report(message: _Message, report: bytes) -> _Message:
    # A copy: some applications send one and the same message each time.
    return {**message, "headers": [*message.get("headers", ()), (_REPORT_BYTES, report)]}


class WsgiLoadReporter:
    """WSGI middleware that reports the load of this process with its responses.

    The same as `AsgiLoadReporter`, for any number of threads. A request counts until the
    application has returned its body, and with a body that is made step by step until that is
    closed. A server with several worker processes reports that of the worker that answers.

    Args:
        app: the application.
        always, has_endpoint, meter: see `AsgiLoadReporter`.

    Attributes:
        meter: what it counts by.
    """

    def __init__(
        self,
        app: _WsgiApp,
        *,
        always: bool = False,
        has_endpoint: bool = True,
        meter: LoadMeter | None = None,
    ) -> None:
        self._app = app
        self._usual = "TEXT" if always else ""
        self._path = LOAD_PATH if has_endpoint else None
        self.meter = meter or LoadMeter()
        self._lock = threading.Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Handle a request; see PEP 3333."""
        form = environ.get(_ASK_VARIABLE, self._usual)
        if environ.get("PATH_INFO") == self._path:
            start_response("204 No Content", [(REPORT_HEADER, self.meter.report(form))])
            return ()
        meter = self.meter
        has_failed: bool | None = None

        def counted(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            nonlocal has_failed
            has_failed = status.startswith("5")
            if form and meter.is_due():
                headers = [*headers, (REPORT_HEADER, meter.report(form, besides=1))]
            return start_response(status, headers, *exc_info)

        with self._lock:
            meter.begun += 1
            meter.in_flight += 1
        body: Iterable[bytes] | None = None
        try:
            body = self._app(environ, counted)
        finally:
            # A body that is a list is complete; other bodies are made while they are sent.
            if body is None or isinstance(body, (list, tuple)):
                self._end(has_failed=body is None if has_failed is None else has_failed)
        if isinstance(body, (list, tuple)):
            return body
        return _Body(body, lambda: self._end(has_failed=bool(has_failed)))

    def _end(self, *, has_failed: bool) -> None:
        with self._lock:
            self.meter.errors += has_failed
            self.meter.in_flight -= 1


class _Body:
    """A response's body that is made step by step. Its end is noted once."""

    __slots__ = ("_body", "_ended")

    def __init__(self, body: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._body = body
        self._ended: Callable[[], None] | None = ended

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """Close the body; called by the server at the end of each request."""
        ended, self._ended = self._ended, None
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            if ended is not None:
                ended()
