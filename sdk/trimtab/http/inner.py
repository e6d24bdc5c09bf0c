"""The inner transports: one instance's connections, over httpcore's public pools.

They do what httpx's own `HTTPTransport` and `AsyncHTTPTransport` do, for either family, and also

* make the TLS context only when a request over TLS needs it, one for all instances;
* refuse to call addresses that a policy refuses, and close what a cancelled handshake leaves
  open (`backends`);
* notice what a cancellation left behind (`is_quiet`). asyncio's own cancellation
  (`asyncio.timeout`, `wait_for`) may hit httpcore while it tidies up after a request, which its
  shields do not prevent. httpcore then takes a connection for busy for ever.

They are on the path of every request, so they pass through few functions: headers that are bytes
already are not checked again, and errors are translated without a context manager. They know no
proxies.
"""

from __future__ import annotations

import asyncio
import threading
from functools import cache
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import anyio

from trimtab.http.backends import OPENED, AsyncBackend, Backend
from trimtab.http.http2 import Course, one_at_a_time, present_course
from trimtab.http.tls import SharedContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import ModuleType

    from trimtab.http.families import Family

__all__ = [
    "AsyncInnerTransport",
    "Body",
    "InnerTransport",
    "async_body",
    "native_cancellations",
    "sync_body",
]

_LIMITS = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 4.0}
_OVER_TLS = (b"https", b"wss")
_ROUNDING_S = 1e-9
_numbers = count()


class _Inner:
    """The part that both kinds share: the settings, the pools, and the bodies that are open.

    Args:
        family: the family of the requests.
        limits: as `httpx.Limits`, of either family. By default 100 connections, of which 20 are
            kept when idle, and for 4 s: many servers close idle connections after 5 s, and a
            request that is sent at that very moment is lost, a POST for good.
        http1, http2: which versions to speak; over TLS the server chooses, without it HTTP/2 is
            spoken only if `http1` is False.
        local_address: to connect from.
        tls: has the TLS context for requests that need one.
        refusal_of: says why an address may not be called; None if it may, or is a name.
        network: makes the connections, instead of the operating system.

    Attributes:
        backend: opens its connections; see `OPENED`.
        is_leaving: whether a server has said, by GOAWAY, that it takes no new requests on one of
            these connections. What is under way goes on; others go to a new transport.
    """

    _pool_name: ClassVar[str]
    _backend: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        family: Family,
        *,
        limits: Any = None,
        http1: bool = True,
        http2: bool = False,
        local_address: str | None = None,
        tls: SharedContext | None = None,
        refusal_of: Callable[[str], str | None] | None = None,
        network: Any = None,
    ) -> None:
        core, module = family.core, family.module
        limits = limits or module.Limits(**_LIMITS)
        self.backend = self._backend(
            core,
            refusal_of,
            network,
            on_goaway=self._leave if http2 else None,
            only_http2=http2 and not http1,
        )
        self.backend.keep_s = limits.keepalive_expiry
        self._settings = {
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "http1": http1,
            "http2": http2,
            "local_address": local_address,
            "network_backend": self.backend,
        }
        self.is_leaving = False
        self._http2 = http2
        self._tls = tls or SharedContext()
        self._family = family
        self._errors = family.core_errors
        self._leaves_bodies = family.name == "httpx"
        self._core_request, self._core_url = core.Request, core.URL
        self._response = module.Response
        self._lock = threading.Lock()
        # A pool has one TLS context, so an instance that is called in both ways has two pools.
        self._plain: Any = None
        self._secure: Any = None
        # Adding to a set and discarding from it are atomic.
        self._open: set[int] = set()

    def _leave(self) -> None:
        self.is_leaving = True

    @staticmethod
    def _begin(request: Any) -> Course:
        """Begin the course of a request over HTTP/2."""
        course = Course(request.extensions.get("trace"))
        present_course.set(course)
        return course

    def _translated(self, error: Exception, course: Course | None) -> Exception:
        """Return an error of the library beneath as the family's own."""
        if course is not None and course.is_refused:
            # However httpcore came to notice it.
            return self._family.unprocessed(
                f"the server did not process this request (stream {course.stream})"
            )
        return self._family.translated(error)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way, as far as the connections know.

        False, while this transport is not in use, means that a connection is lost: a cancellation
        has left it busy for ever. Costs a look at every connection.
        """
        return not self._open and all(
            each.is_idle() or each.is_closed()
            for pool in self._pools()
            for each in pool.connections
        )

    def _pools(self) -> list[Any]:
        return [pool for pool in (self._plain, self._secure) if pool is not None]

    def _pool_for(self, scheme: bytes) -> Any:
        """Return the pool for a scheme, made at its first use."""
        with self._lock:
            if scheme not in _OVER_TLS:
                self._plain = self._plain or self._make_pool()
                return self._plain
            self._secure = self._secure or self._make_pool(
                ssl_context=self._tls.context(), network_backend=self.backend.over_tls
            )
            return self._secure

    def _make_pool(self, **tls: Any) -> Any:
        return self._pool_class()(**self._settings | tls)

    def _opening(self, request: Any, timeout_s: float) -> dict[str, Any]:
        """Return how the pool would connect for a request; see `_Judge.keep`."""
        scheme = request.url.raw_scheme
        origin = self._asked(request, scheme).url.origin
        host = origin.host.decode("ascii")
        tls = None
        if scheme in _OVER_TLS:
            context = self._tls.context()
            context.set_alpn_protocols(["http/1.1", "h2"] if self._http2 else ["http/1.1"])
            name = request.extensions.get("sni_hostname") or host
            tls = {"ssl_context": context, "server_hostname": name, "timeout": timeout_s}
        OPENED.set(None)
        return {
            "host": host,
            "port": origin.port,
            "tls": tls,
            "timeout": timeout_s,
            "local_address": self._settings["local_address"],
        }

    def _pool_class(self) -> Any:
        return getattr(self._family.core, self._pool_name)

    def _asked(self, request: Any, scheme: bytes) -> Any:
        """Return the request as httpcore's."""
        url = request.url
        asked = self._core_request(
            request.method,
            self._core_url(scheme=scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            content=request.stream,
            extensions=request.extensions,
        )
        asked.headers = request.headers.raw
        return asked


class InnerTransport(_Inner):
    """The sync transport of one instance; thread-safe. `_Inner` names the arguments."""

    _pool_name = "ConnectionPool"
    _backend = Backend

    def _pool_class(self) -> Any:
        return one_at_a_time(self._family.core) if self._http2 else super()._pool_class()

    def handle_request(self, request: Any) -> Any:
        """Send a request, and return the response with its body to come."""
        scheme = request.url.raw_scheme
        pool = (self._secure if scheme in _OVER_TLS else self._plain) or self._pool_for(scheme)
        course, asked = None, self._asked(request, scheme)
        if self._http2:
            course = self._begin(request)
            asked.extensions = {**request.extensions, "trace": course.trace}
        try:
            answer = pool.handle_request(asked)
        except self._errors as error:
            raise self._translated(error, course) from error
        return self._response(
            answer.status,
            headers=answer.headers,
            stream=sync_body(self._family.module)(answer.stream, self._family, self._open),
            extensions=answer.extensions,
        )

    def open(self, request: Any, *, timeout_s: float) -> None:
        """Open a connection for a request like this one, and keep it for the next.

        httpcore takes no connection that is open already, so the network has it ready when
        httpcore connects.

        Raises:
            Exception: the library's own, if that fails.
        """
        self.backend.keep(**self._opening(request, timeout_s))

    def close(self) -> None:
        """Close all connections. A thread that is blocked in one of them gets an error."""
        self.backend.shut_down()
        self.backend.close_kept()
        for pool in self._pools():
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncInnerTransport(_Inner):
    """The async transport of one instance, for asyncio and trio. `_Inner` names the arguments."""

    _pool_name = "AsyncConnectionPool"
    _backend = AsyncBackend

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, and return the response with its body to come."""
        scheme = request.url.raw_scheme
        pool = (self._secure if scheme in _OVER_TLS else self._plain) or self._pool_for(scheme)
        course, asked = None, self._asked(request, scheme)
        if self._http2:
            course = self._begin(request)
            asked.extensions = {**request.extensions, "trace": course.trace_async}
        sent = None
        if self._leaves_bodies:
            sent = asked.stream = _Sent(stream=request.stream, chunks=None)
        try:
            answer = await pool.handle_async_request(asked)
        except self._errors as error:
            raise self._translated(error, course) from error
        finally:
            close = getattr(sent and sent.chunks, "aclose", None)
            if close is not None:  # A stream of the caller's own need not be a generator.
                await close()
        return self._response(
            answer.status,
            headers=answer.headers,
            stream=async_body(self._family.module)(answer.stream, self._family, self._open),
            extensions=answer.extensions,
        )

    async def open(self, request: Any, *, timeout_s: float) -> None:
        """Open a connection for a request like this one, and keep it; see `InnerTransport.open`."""
        await self.backend.keep(**self._opening(request, timeout_s))

    async def aclose(self) -> None:
        """Close all connections."""
        await self.backend.close_kept()
        for pool in self._pools():
            await pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Sent(SimpleNamespace):
    """The body of a request, so that it can be closed also if only a part of it was sent.

    httpcore leaves the generator of such a body to the garbage collector, of which trio warns;
    httpcore2 closes it. Found with httpcore 1.0.9.

    Attributes:
        stream: the body.
        chunks: what of it has been begun; None: nothing.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.chunks = aiter(self.stream)
        return self.chunks  # type: ignore[no-any-return]


class Watcher(Protocol):
    """Learns how a body ended."""

    def ended(self, body: Body) -> None:
        """Called once, when the body was closed."""

    def dropped(self) -> None:
        """Called from a finalizer: the body was dropped and never closed."""


class Body:
    """The body of a response, over the library's own stream. It reports its end to a watcher.

    The transport remembers its number until it has been closed without an error.

    Args:
        stream: the library's.
        family: translates the stream's errors.
        among: the numbers of open bodies; None: not kept.

    Attributes:
        is_whole: whether it was read to its end.
        is_clean: whether it was closed, and nothing went wrong before or meanwhile.
        error: what broke it off: an error, a cancellation, or a reader who stopped; None.
        watcher: told of its end; None: not wanted.
        left_s: how long reading may still take; None: no bound.
        late: makes the error of a body that took longer.
    """

    late: Callable[[], BaseException]

    def __init__(self, stream: Any, family: Family, among: set[int] | None = None) -> None:
        self._content, self._family, self._among = stream, family, among
        # Not its id, which another one has after it is gone.
        self._number = next(_numbers)
        self.is_whole = self.is_clean = False
        self.error: BaseException | None = None
        self.watcher: Watcher | None = None
        self.left_s: Callable[[], float] | None = None
        if among is not None:
            among.add(self._number)

    def __del__(self) -> None:
        if self.watcher is not None:
            self.watcher.dropped()

    def _is_late(self, error: BaseException) -> bool:
        """Return whether a time-out is the deadline's: the deadline shortens each wait."""
        is_timeout = isinstance(error, self._family.module.TimeoutException)
        return is_timeout and self.left_s is not None and self.left_s() <= _ROUNDING_S

    def _closed(self, *, is_clean: bool) -> None:
        if is_clean and self._among is not None:
            self._among.discard(self._number)
        self.is_clean = is_clean and self.error is None
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher.ended(self)


@cache
def sync_body(module: ModuleType) -> Any:
    """Return the class of bodies for sync clients of a family."""
    base: Any = module.SyncByteStream

    class SyncBody(Body, base):  # type: ignore[misc] # known at run time only
        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._content:
                    yield chunk
                    if self.left_s is not None and self.left_s() <= 0:
                        raise self.late()  # noqa: TRY301 - it ends the body as any error does
            except BaseException as error:
                self.error = error
                if isinstance(error, self._family.core_errors):
                    error = self._family.translated(error)
                if self._is_late(error):
                    raise self.late() from self.error
                if error is not self.error:
                    raise error from self.error
                raise
            self.is_whole = True

        def close(self) -> None:
            is_clean = False
            try:
                self._content.close()
                is_clean = True
            finally:
                self._closed(is_clean=is_clean)

    return SyncBody


@cache
def async_body(module: ModuleType) -> Any:
    """Return the class of bodies for async clients of a family."""
    base: Any = module.AsyncByteStream

    class AsyncBody(Body, base):  # type: ignore[misc] # known at run time only
        async def __aiter__(self) -> AsyncIterator[bytes]:
            stream = self._content if self.left_s is None else _within(self._content, self)
            try:
                async for chunk in stream:
                    yield chunk
            except BaseException as error:
                self.error = error
                if isinstance(error, self._family.core_errors):
                    raise self._family.translated(error) from error
                raise
            self.is_whole = True

        async def aclose(self) -> None:
            is_clean = False
            try:
                await self._content.aclose()
                is_clean = True
            finally:
                self._closed(is_clean=is_clean)

    return AsyncBody


async def _within(stream: Any, body: Any) -> AsyncIterator[bytes]:
    """Yield a body's chunks, each before its time is up."""
    chunks = aiter(stream)
    while True:
        before = native_cancellations()
        with anyio.move_on_after(max(body.left_s(), 0.0)) as scope:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        if scope.cancelled_caught:
            if native_cancellations() > before:
                raise asyncio.CancelledError
            raise body.late()
        yield chunk


def native_cancellations() -> int:
    """Return how often this task was cancelled by asyncio's own means; 0 on other libraries.

    A cancel scope that ends in the same turn of the loop as such a cancellation swallows it; so
    its user compares this with what it was before.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return task.cancelling() if task is not None else 0
