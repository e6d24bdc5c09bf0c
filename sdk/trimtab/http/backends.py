"""What httpcore does not see to between a connect and the first byte of a request.

* *The address that answers is judged.* A host name says nothing about where it leads: it may
  point to the metadata service of a cloud today, or change from one moment to the next. So the
  address that is judged is the one that the connection has reached. An address that stands in
  the list outright is judged before.
* *A GOAWAY ends no response.* See `trimtab.http.http2`.
* *A TLS handshake that is cancelled closes its connection.* httpcore closes it after errors only,
  and leaves it to the garbage collector after a cancellation. Found with httpcore 1.0.9.
* *A connection may be open before a request needs it* (`keep`): the pool takes none that is open
  already, but gets this one when it connects next.
* *A request that waited for a connection learns when it is open* (`OPENED`). What opens a
  connection is not the instance's latency.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import anyio

from trimtab.http.http2 import Frames, Watched, WatchedAsync, WatchedSync

if TYPE_CHECKING:
    from collections.abc import Callable

_SETTLE_S, _GLANCE_S = 0.02, 0.001
"""How long TLS tickets are waited for after a handshake, and when something has come since."""

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
        on_goaway: called when a server takes no new streams on a connection of HTTP/2.
        only_http2: whether every connection speaks HTTP/2, whatever TLS has agreed on.

    Attributes:
        keep_s: how long connections are kept for a request, in seconds; None: as long as they last.
    """

    connect_tcp: Callable[..., Any]

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
        self.keep_s: float | None = None
        # Those over TLS, and those without.
        self._kept: dict[bool, deque[Any]] = {True: deque(), False: deque()}
        self._is_closed = False

    @property
    def over_tls(self) -> Any:
        """The same backend for a pool whose connections go over TLS."""
        return SimpleNamespace(connect_tcp=partial(self.connect_tcp, over_tls=True))

    def _take(self, *, over_tls: bool) -> Any:
        """Return the next connection that is kept, which may be closed by now; None: there is none.

        Threads may call it at once.
        """
        with suppress(IndexError):
            return self._kept[over_tls].popleft()
        return None

    def _until(self) -> float:
        return inf if self.keep_s is None else time.monotonic() + self.keep_s

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

    def connect_tcp(self, host: str, port: int, *, over_tls: bool = False, **options: Any) -> Any:
        """Return a stream without TLS yet: a new one, or one that was kept."""
        while (kept := self._take(over_tls=over_tls)) is not None:
            if kept.is_fresh() and (not kept.has_news() or self._is_usable(kept, _GLANCE_S)):
                return kept
            kept.close()
        return self._connect(host, port, **options)

    def keep(self, host: str, port: int, *, tls: dict[str, Any] | None, **options: Any) -> None:
        """Open a connection, and have it ready for the next `connect_tcp`.

        Args:
            host: where to.
            port: its port.
            tls: the arguments of its handshake; None: no TLS.
            options: the other arguments of `connect_tcp`.
        """
        connect = partial(self._connect, host, port, **options)
        stream, name = connect(), None
        if tls is not None:
            stream, name = stream.start_tls(**tls), tls["server_hostname"]
        kept = _Kept(stream, name, self._until(), connect)
        if name is None or kept.is_http2 or self._is_usable(kept, _SETTLE_S):
            self._kept[name is not None].append(kept)
        else:
            kept.close()
        if self._is_closed:
            self.close_kept()

    def close_kept(self) -> None:
        """Close what is kept, and keep nothing any more."""
        self._is_closed = True
        for over_tls in (True, False):
            while (kept := self._take(over_tls=over_tls)) is not None:
                kept.close()

    def _is_usable(self, kept: Any, wait_s: float) -> bool:
        """Return whether the server has neither said anything nor closed; TLS may have tickets."""
        try:
            kept.read(1, timeout=wait_s)
        except self._core.ReadTimeout:
            return True
        except Exception:  # noqa: BLE001 - whatever it is, it cannot be used
            return False
        return False

    def _connect(self, host: str, port: int, **options: Any) -> Any:
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

    async def connect_tcp(
        self, host: str, port: int, *, over_tls: bool = False, **options: Any
    ) -> Any:
        """Return a stream without TLS yet: a new one, or one that was kept."""
        while (kept := self._take(over_tls=over_tls)) is not None:
            if kept.is_fresh() and (not kept.has_news() or await self._is_usable(kept, _GLANCE_S)):
                return kept
            await kept.aclose()
        return await self._connect(host, port, **options)

    async def keep(
        self, host: str, port: int, *, tls: dict[str, Any] | None, **options: Any
    ) -> None:
        """Open a connection, and have it ready; see `Backend.keep`."""
        connect = partial(self._connect, host, port, **options)
        stream, name = await connect(), None
        if tls is not None:
            stream, name = await stream.start_tls(**tls), tls["server_hostname"]
        kept = _AsyncKept(stream, name, self._until(), connect)
        if name is None or kept.is_http2 or await self._is_usable(kept, _SETTLE_S):
            self._kept[name is not None].append(kept)
        else:
            await kept.aclose()
        if self._is_closed:
            await self.close_kept()

    async def close_kept(self) -> None:
        """Close what is kept, and keep nothing any more."""
        self._is_closed = True
        for over_tls in (True, False):
            while (kept := self._take(over_tls=over_tls)) is not None:
                await kept.aclose()

    async def _is_usable(self, kept: Any, wait_s: float) -> bool:
        """Return whether the server has neither said anything nor closed; TLS may have tickets."""
        try:
            await kept.read(1, timeout=wait_s)
        except self._core.ReadTimeout:
            return True
        except Exception:  # noqa: BLE001 - whatever it is, it cannot be used
            return False
        except BaseException:
            with anyio.CancelScope(shield=True):
                await kept.aclose()
            raise
        return False

    async def _connect(self, host: str, port: int, **options: Any) -> Any:
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

    _watched: ClassVar[type[Watched]]

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

    _watched = WatchedSync

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

    _watched = WatchedAsync

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


class _Kept:
    """A connection that was opened before a request needs it, to be handed out once.

    Args:
        stream: the connection, after its TLS handshake if it is over TLS.
        name: the server's name in that handshake.
        until: when it is too old.
        connect: opens another one to the same place, without TLS yet.
    """

    def __init__(
        self, stream: Any, name: str | None, until: float, connect: Callable[[], Any]
    ) -> None:
        self._stream, self._name, self._until, self._connect = stream, name, until, connect
        self.read, self.write = stream.read, stream.write
        self.get_extra_info = stream.get_extra_info
        self.is_http2 = isinstance(stream, Watched)

    def is_fresh(self) -> bool:
        """Return whether it has not been kept for too long."""
        return time.monotonic() < self._until

    def has_news(self) -> bool:
        """Return whether something has come, or the other end has closed it.

        Over HTTP/2 a server speaks first, which is for the library to read.
        """
        return not self.is_http2 and bool(self.get_extra_info("is_readable"))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **options: Any) -> Any:
        """Return it as it is if its handshake was for the same name; otherwise connect anew."""
        if options.get("server_hostname") == self._name:
            return self._stream
        self.close()
        return self._connect().start_tls(*args, **options)


class _AsyncKept(_Kept):
    """The same for async connections."""

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        """Return it as it is, or connect anew; see `_Kept.start_tls`."""
        if options.get("server_hostname") == self._name:
            return self._stream
        await self.aclose()
        stream = await self._connect()
        return await stream.start_tls(*args, **options)
