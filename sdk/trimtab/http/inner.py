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

import threading
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from trimtab.http.backends import AsyncBackend, Backend
from trimtab.http.tls import SharedContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import ModuleType

    from trimtab.http.families import Family

__all__ = ["AsyncInnerTransport", "InnerTransport"]

_LIMITS = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 4.0}
_OVER_TLS = (b"https", b"wss")


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
        self._settings = {
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "http1": http1,
            "http2": http2,
            "local_address": local_address,
            "network_backend": self._backend(core, refusal_of, network),
        }
        self._tls = tls or SharedContext()
        self._family = family
        self._errors = family.core_errors
        self._core_request, self._core_url = core.Request, core.URL
        self._response = module.Response
        self._lock = threading.Lock()
        # A pool has one TLS context, so an instance that is called in both ways has two pools.
        self._plain: Any = None
        self._secure: Any = None
        # Adding to a set and discarding from it are atomic.
        self._open: set[Any] = set()

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
            self._secure = self._secure or self._make_pool(ssl_context=self._tls.context())
            return self._secure

    def _make_pool(self, **tls: Any) -> Any:
        return getattr(self._family.core, self._pool_name)(**self._settings, **tls)

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

    def handle_request(self, request: Any) -> Any:
        """Send a request, and return the response with its body to come."""
        scheme = request.url.raw_scheme
        pool = (self._secure if scheme in _OVER_TLS else self._plain) or self._pool_for(scheme)
        try:
            answer = pool.handle_request(self._asked(request, scheme))
        except self._errors as error:
            raise self._family.translated(error) from error
        return self._response(
            answer.status,
            headers=answer.headers,
            stream=_body_type(self._family.module)(answer.stream, self._family, self._open),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
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
        try:
            answer = await pool.handle_async_request(self._asked(request, scheme))
        except self._errors as error:
            raise self._family.translated(error) from error
        return self._response(
            answer.status,
            headers=answer.headers,
            stream=_async_body_type(self._family.module)(answer.stream, self._family, self._open),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools():
            await pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Body:
    """The body of a response. It is among the open ones until it has been closed to the end."""

    def __init__(self, stream: Any, family: Family, among: set[Any]) -> None:
        self._stream, self._family, self._among = stream, family, among
        among.add(self)


@cache
def _body_type(module: ModuleType) -> Any:
    base: Any = module.SyncByteStream

    class Body(_Body, base):  # type: ignore[misc] # known at run time only
        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._stream
            except self._family.core_errors as error:
                raise self._family.translated(error) from error

        def close(self) -> None:
            self._stream.close()
            self._among.discard(self)

    return Body


@cache
def _async_body_type(module: ModuleType) -> Any:
    base: Any = module.AsyncByteStream

    class AsyncBody(_Body, base):  # type: ignore[misc] # known at run time only
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._stream:
                    yield chunk
            except self._family.core_errors as error:
                raise self._family.translated(error) from error

        async def aclose(self) -> None:
            await self._stream.aclose()
            self._among.discard(self)

    return AsyncBody
