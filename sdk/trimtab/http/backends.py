"""What httpcore does not see to between a connect and the first byte of a request.

* *The address that answers is judged.* A host name says nothing about where it leads: it may
  point to the metadata service of a cloud today, or change from one moment to the next. So the
  address that is judged is the one that the connection has reached. An address that stands in
  the list outright is judged before.
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
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPENED", "AsyncBackend", "Backend"]

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
    """

    def __init__(
        self,
        core: Any,
        refusal_of: Callable[[str], str | None] | None = None,
        network: Any = None,
    ) -> None:
        self._core = core
        self._refusal_of = refusal_of
        self._network = network
        # A socket that is gone leaves by itself.
        self._connected: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()

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


class _Stream:
    """A connection without TLS yet. What is read and written goes straight to it."""

    def __init__(self, stream: Any, backend: Any) -> None:
        self.read, self.write = stream.read, stream.write
        self.get_extra_info = stream.get_extra_info
        self.close = stream.close
        self._stream, self._backend = stream, backend

    def start_tls(self, *args: Any, **options: Any) -> Any:
        try:
            secure = self._stream.start_tls(*args, **options)
        except BaseException:
            self.close()
            raise
        self._backend._opened(secure)  # noqa: SLF001 - one thing in two classes
        return secure


class _AsyncStream:
    """The same for async connections."""

    def __init__(self, stream: Any, backend: Any) -> None:
        self.read, self.write = stream.read, stream.write
        self.get_extra_info = stream.get_extra_info
        self.aclose = stream.aclose
        self._stream, self._backend = stream, backend

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        try:
            secure = await self._stream.start_tls(*args, **options)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
        self._backend._opened(secure)  # noqa: SLF001 - one thing in two classes
        return secure
