"""What httpcore does not see to between a connect and the first byte of a request.

* *The address that answers is judged.* A host name says nothing about where it leads: it may
  point to the metadata service of a cloud today, or change from one moment to the next. So the
  address that is judged is the one that the connection has reached. An address that stands in
  the list outright is judged before.
* *A GOAWAY ends no response.* See `trimtab.http.http2`.
* *A TLS handshake that is cancelled closes its connection.* httpcore closes it after errors only,
  and leaves it to the garbage collector after a cancellation. Found with httpcore 1.0.9.
* *A request that waited for a connection learns when it is open* (`OPENED`). What opens a
  connection is not the instance's latency.
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import anyio

from trimtab.http.http2 import Frames

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPENED", "AsyncBackend", "Backend", "Course", "present_course"]

OPENED: ContextVar[Callable[[Any], None] | None] = ContextVar("trimtab_opened", default=None)
"""Called with the backend when a connection is open, and again after its TLS handshake.

The library opens a connection in the task or thread of the request that needs it. A task that was
started meanwhile has the same value and may open connections of its own: the backend tells them
apart.
"""


class _Judge:
    """The part that both kinds share.

    Args:
        core: httpcore or httpcore2.
        refusal_of: says why an address may not be called; None if it may, or is a name.
            Without it every address may be called.
        network: makes the connections; by default the library's own, over sockets.
        on_goaway: called when a server takes no new streams on a connection of HTTP/2.
        only_http2: whether every connection speaks HTTP/2, whatever TLS has agreed on.
    """

    def __init__(
        self,
        core: Any,
        refusal_of: Callable[[str], str | None] | None = None,
        network: Any = None,
        *,
        on_goaway: Callable[[], None] | None = None,
        only_http2: bool = False,
    ) -> None:
        self._core = core
        self._refusal_of = refusal_of
        self._network = network
        # A socket that is gone leaves by itself.
        self._connected: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        self._on_goaway = on_goaway
        self._only_http2 = only_http2

    def shut_down(self) -> None:
        """End all connections, also for other threads that are blocked in a read or a write."""
        with self._lock:
            connected = list(self._connected)
        for each in connected:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _opened(self, stream: Any) -> None:
        sock = stream.get_extra_info("socket")
        if isinstance(sock, socket.socket):
            with self._lock:
                self._connected.add(sock)
        call = OPENED.get()
        if call is not None:
            call(self)

    def _frames(self, stream: Any) -> Frames | None:
        """Return the watch over a connection, if it speaks HTTP/2."""
        if self._on_goaway is None:
            return None
        encrypted = stream.get_extra_info("ssl_object")
        agreed = encrypted.selected_alpn_protocol() if encrypted is not None else None
        return Frames(self._on_goaway) if self._only_http2 or agreed == "h2" else None

    def _check_name(self, host: str) -> None:
        reason = self._refusal_of(host) if self._refusal_of else None
        if reason is not None:
            raise self._core.ConnectError(f"not called: {reason}")

    def _check_peer(self, host: str, stream: Any) -> None:
        if self._refusal_of is None:
            return
        try:
            address = stream.get_extra_info("server_addr")[0]
        except OSError as error:  # The peer has hung up by now.
            raise self._core.ConnectError(f"{host}: {error}") from error
        reason = self._refusal_of(address)
        if reason is not None:
            raise self._core.ConnectError(f"not called: {host} leads to {address}: {reason}")


class Backend(_Judge):
    """A sync network backend."""

    def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
        """Connect, and return a stream without TLS yet."""
        self._check_name(host)
        network = self._network or self._core.SyncBackend()
        stream = network.connect_tcp(host, port, **options)
        try:
            self._check_peer(host, stream)
        except BaseException:
            stream.close()
            raise
        self._opened(stream)
        return _Stream(stream, self)


class AsyncBackend(_Judge):
    """An async network backend, for asyncio and trio."""

    async def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
        """Connect, and return a stream without TLS yet."""
        self._check_name(host)
        network = self._network or self._sockets()
        stream = await network.connect_tcp(host, port, **options)
        try:
            self._check_peer(host, stream)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise
        self._opened(stream)
        return _AsyncStream(stream, self)

    def _sockets(self) -> Any:
        """Return the backend that httpcore would choose; its own choosing is private."""
        trio = sys.modules.get("trio")
        is_trio = trio is not None and trio.lowlevel.in_trio_task()
        return self._core.TrioBackend() if is_trio else self._core.AnyIOBackend()


class _Plain:
    """A connection without TLS yet. What is read and written goes straight to it, if it may.

    Args:
        stream: httpcore's.
        backend: where it comes from.
    """

    _watched: ClassVar[type[_Watched]]

    def __init__(self, stream: Any, backend: _Judge) -> None:
        self._inner, self._backend = stream, backend
        through = self._watch(stream)
        self.read, self.write = through.read, through.write
        self.get_extra_info = stream.get_extra_info

    def _watch(self, stream: Any) -> Any:
        """Return the stream, under watch if it speaks HTTP/2."""
        backend = self._backend
        frames = backend._frames(stream)  # noqa: SLF001 - one thing in two places
        if frames is None:
            return stream
        return self._watched(stream, frames, backend._core.WriteError)  # noqa: SLF001 - as above


class _Stream(_Plain):
    """A sync connection."""

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **options: Any) -> Any:
        try:
            secure = self._inner.start_tls(*args, **options)
        except BaseException:
            self.close()
            raise
        self._backend._opened(secure)  # noqa: SLF001 - one thing in two classes
        return self._watch(secure)


class _AsyncStream(_Plain):
    """The same for async connections."""

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        try:
            secure = await self._inner.start_tls(*args, **options)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
        self._backend._opened(secure)  # noqa: SLF001 - one thing in two classes
        return self._watch(secure)


class Course:
    """Where a request over HTTP/2 went. It is the request's trace for httpcore.

    Args:
        own: the caller's own trace, which is called too; None: there is none.

    Attributes:
        stream: the number of its stream; None: it has none yet.
        frames: what passed on the connection that it was written to last.
    """

    def __init__(self, own: Any = None) -> None:
        self._own = own
        self.stream: int | None = None
        self.frames: Frames | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the server has said that it did not process the request."""
        if self.frames is None or self.stream is None:
            return False
        return self.frames.is_refused(self.stream)

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Take an event of a sync request."""
        self._note(name, info)
        if self._own is not None:
            self._own(name, info)

    async def trace_async(self, name: str, info: dict[str, Any]) -> None:
        """Take an event of an async request."""
        self._note(name, info)
        if self._own is not None:
            await self._own(name, info)

    def _note(self, name: str, info: dict[str, Any]) -> None:
        if name == "http2.send_request_headers.started":
            self.stream = info["stream_id"]


present_course: ContextVar[Course | None] = ContextVar("present_course", default=None)
"""The course of the request that is being sent, over HTTP/2."""


class _Watched:
    """A connection of HTTP/2 under watch.

    A write that fails is no error yet: the server may have said before what it has processed, and
    that is still to be read. The next read tells if it has not.
    """

    def __init__(self, stream: Any, frames: Frames, write_error: type[Exception]) -> None:
        self._inner, self._frames, self._write_error = stream, frames, write_error
        self._is_broken = False
        self.get_extra_info = stream.get_extra_info

    def _outgoing(self, data: bytes) -> bytes:
        course = present_course.get()
        if course is not None:
            course.frames = self._frames
        kept = self._frames.outgoing(data)
        return b"" if self._is_broken else kept


class _WatchedSync(_Watched):
    def close(self) -> None:
        self._inner.close()

    def write(self, data: bytes, timeout: float | None = None) -> None:
        kept = self._outgoing(data)
        if kept:
            try:
                self._inner.write(kept, timeout)
            except self._write_error:
                self._is_broken = True

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        seen = self._frames.refusals()
        while not seen:
            data = self._inner.read(max_bytes, timeout)
            if not data:
                return self._frames.refusals()
            seen = self._frames.incoming(data)
        return seen


class _WatchedAsync(_Watched):
    async def aclose(self) -> None:
        await self._inner.aclose()

    async def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        kept = self._outgoing(data)
        if kept:
            try:
                await self._inner.write(kept, timeout)
            except self._write_error:
                self._is_broken = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        seen = self._frames.refusals()
        while not seen:
            data = await self._inner.read(max_bytes, timeout)
            if not data:
                return self._frames.refusals()
            seen = self._frames.incoming(data)
        return seen


_Stream._watched, _AsyncStream._watched = _WatchedSync, _WatchedAsync  # noqa: SLF001 - they stand below
