"""Connections: how many may be open, and which one is closed when there is no more room.

1. A connection that asks nothing is closed when a new one needs its place: first those that have
   not sent a whole request yet, then those that have been idle for longest.
2. If all are busy, the new one gets 503 and is closed.
3. A client that does not read its answer for 30 s is cut off.

So neither idle connections nor slow ones lock the others out. Blocking queries are busy, and have
a limit of their own (`max_waiting`), which leaves a quarter of the places to other requests.
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Connection", "Connections", "raise_file_limit", "room_for_connections"]

_UNREAD_S = 30.0
_ENOUGH_FILES = 65536
_NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n\r\n"
    b"Too many connections; ask again later\n"
)


class Connections:
    """The open connections of a server.

    Args:
        limit: how many may be open.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # In order: the first is closed first.
        self._incomplete: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._busy: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._incomplete) + len(self._idle) + len(self._busy)

    def add(self, connection: Connection) -> bool:
        """Add one that has asked nothing yet, and close another if need be; False: no room."""
        if len(self) >= self.limit:
            longest = next(iter(self._incomplete or self._idle), None)
            if longest is None:
                return False
            self.remove(longest)
            longest.end()
        self._incomplete[connection] = None
        return True

    def remove(self, connection: Connection) -> None:
        """Forget a connection, if it is known."""
        for group in (self._incomplete, self._idle, self._busy):
            group.pop(connection, None)

    def begin(self, connection: Connection) -> None:
        """Note that it has sent the head of a request, and that a body is to come."""
        self._put(connection, self._incomplete)

    def start(self, connection: Connection) -> None:
        """Note that it has sent a whole request."""
        self._put(connection, self._busy)

    def finish(self, connection: Connection) -> None:
        """Note that its request has been answered."""
        self._put(connection, self._idle)

    def _put(self, connection: Connection, group: dict[Connection, None]) -> None:
        before = len(self)
        self.remove(connection)
        if len(self) < before:  # else it has been closed meanwhile
            group[connection] = None


class Connection(AutoHTTPProtocol):  # type: ignore[misc,valid-type] # a class chosen at run time
    """uvicorn's HTTP protocol, one object per connection, with the rules above."""

    def __init__(self, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self._all = connections
        self._inner: ASGIApp = self.config.loaded_app
        self.app: ASGIApp = self._counted

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a place, or answer 503."""
        super().connection_made(transport)
        if not self._all.add(self):
            transport.write(_NO_ROOM)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._all.remove(self)
        super().connection_lost(exc)

    def end(self) -> None:
        """Close the connection; what the client has not read by now is lost."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _has_body(scope):
            self._all.begin(self)
            receive = self._noting_the_end(receive)
        else:
            self._all.start(self)
        try:
            await self._inner(scope, receive, self._bounded(send))
        finally:
            self._all.finish(self)

    def _noting_the_end(self, receive: Receive) -> Receive:
        async def noting() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                self._all.start(self)
            return message

        return noting

    def _bounded(self, send: Send) -> Send:
        async def bounded(message: Message) -> None:
            try:
                async with asyncio.timeout(_UNREAD_S):
                    await send(message)
            except TimeoutError:
                self.transport.abort()

        return bounded


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def raise_file_limit() -> None:
    """Let this process open as many files as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        wanted = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room_for_connections(wanted: int, *, ratio: float) -> int:
    """Bound a number of connections by this share of the files that the process may open.

    The rest is for checks, for the data, and for connections that are about to be refused.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, int(soft * ratio)))
