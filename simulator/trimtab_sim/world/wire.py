"""The depth `wire`: httpcore over connections in memory, in virtual time.

`WireTransport` is the inner transport that ships, with its connection pool, its HTTP parser and its
timeouts. Only its network backend is a model (`Backend`). At the server's end of each connection an
HTTP parser hands whole requests to the modelled server (`wire_peer`).

What the other depths do not model: a connection takes a round trip to open, is kept, and is reused
for one request after another; the client notices that the connections of a dead server are closed;
a server that refuses new connections still serves those it has; a black hole shows while connecting
(and the request is retried elsewhere) or, on a kept connection, while waiting for the answer. On an
ideal network without these the digest is that of the other depths.
"""

# ruff: noqa: ASYNC109 - in httpcore's interface the time that a call may take is an argument

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from trimtab.http import AsyncInnerTransport, Family
from trimtab.strategies import LOAD_PATH
from trimtab_sim.events import call_at
from trimtab_sim.world.http_clients import RECORD, RequestRecord
from trimtab_sim.world.wire_peer import Peer

if TYPE_CHECKING:
    from trimtab import Instance
    from trimtab_sim.world.http_clients import HttpClient
    from trimtab_sim.world.servers import Server

__all__ = ["Backend", "Connection", "WireTransport"]

CURRENT: ContextVar[tuple[RequestRecord, int]] = ContextVar("trimtab_sim_attempt")
"""Request and attempt whose bytes the running task writes: they key the network's draws."""

_CLIENTS_APART = 10_000_019
_NEVER = float("inf")
_SYN, _SYN_ACK = 1_000_007, 1_000_009


class WireTransport:
    """An inner transport of `BalancedTransport`: the one that ships, over the simulated network."""

    def __init__(self, client: HttpClient, instance: Instance) -> None:
        self._client = client
        self._instance = instance
        module = client.module
        # httpcore measures the age of idle connections by the real clock: here they do not expire.
        limits = module.Limits(
            max_connections=100, max_keepalive_connections=20, keepalive_expiry=None
        )
        self._inner = AsyncInnerTransport(
            Family(module), limits=limits, network=Backend(client, instance)
        )

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request under its id, which keys the server's random draws."""
        client = self._client
        if request.url.path == LOAD_PATH:
            CURRENT.set((RequestRecord(client.world.next_request()), 0))
        else:
            record = request.extensions[RECORD]
            number = client.note_sent(record, client.world.route(self._instance))
            CURRENT.set((record, number))
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class Backend:
    """Open connections to the server that has an instance's address at the time."""

    def __init__(self, client: HttpClient, instance: Instance) -> None:
        self._client = client
        self._instance = instance

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, **_options: Any
    ) -> Connection:
        """Shake hands: one round trip; raise the family's core errors when that fails."""
        client, core = self._client, self._client.core
        handshake = _Handshake(client, client.world.route(self._instance))
        handshake.start()
        made = await handshake.within(client, timeout)
        if made is None:
            raise core.ConnectTimeout(f"no answer from {host}:{port}")
        if made is False:
            raise core.ConnectError(f"{host}:{port} refuses connections")
        return Connection(client, handshake.server, way_s=handshake.back_s)


class _Wait:
    """A wait of a task until a deadline; the result is None when the deadline comes first."""

    def __init__(self) -> None:
        self.deadline = float("inf")
        self.is_over = False
        self._end: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()

    def finish(self, *, result: bool) -> None:
        # It may have been cancelled in the same turn of the loop.
        if not self.is_over and not self._end.done():
            self.is_over = True
            self._end.set_result(result)

    def expired(self) -> None:
        self._end.set_result(None)

    async def within(self, client: HttpClient, timeout_s: float | None) -> bool | None:
        if timeout_s is not None and not self.is_over:
            self.deadline = client.world.env.now + timeout_s
            client.deadlines.add(self)
        try:
            return await self._end
        finally:
            self.is_over = True


class _Handshake(_Wait):
    """A TCP handshake: True is a connection, False a refusal."""

    def __init__(self, client: HttpClient, server: Server) -> None:
        super().__init__()
        self.server = server
        self.back_s = 0.0
        self._client = client

    def start(self) -> None:
        client, world = self._client, self._client.world
        if world.network.is_ideal:
            self._arrive(None)
            return
        # Requests count from 0 upwards; handshakes have large numbers.
        key = client.place.index * _CLIENTS_APART + next(client.handshakes)
        there = world.network.delay(client.place, self.server.place, key, _SYN)
        back = world.network.delay(self.server.place, client.place, key, _SYN_ACK)
        if there is not None and back is not None:
            self.back_s = back
            call_at(world.env, world.env.now + there, self._arrive)

    def _arrive(self, _step: Any) -> None:
        server, env = self.server, self._client.world.env
        if server.is_dark:
            return
        taken = server.is_alive and not server.is_refusing
        if self.back_s:
            call_at(env, env.now + self.back_s, lambda _step: self.finish(result=taken))
        else:
            self.finish(result=taken)


class Connection:
    """The client's end of a connection, with the bytes in transit: httpcore's network stream.

    Bytes stay in order. A lost message is not sent again, and no later message arrives.

    Args:
        way_s: the time that the server's last message takes to the client.
    """

    def __init__(self, client: HttpClient, server: Server, *, way_s: float) -> None:
        self._client = client
        self._peer = Peer(
            client.world,
            client.place,
            server,
            deliver=self._take,
            reset=self._break,
            way_s=way_s,
        )
        self._inbox = b""
        self._is_broken = False
        self._reader: _Wait | None = None
        self._last_arrival = 0.0

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send bytes; never waits, as if the socket's buffer were large."""
        if not buffer:
            return
        client, world = self._client, self._client.world
        record, attempt = CURRENT.get()
        if world.network.is_ideal:
            self._peer.receive(buffer, record, attempt)
            return
        server = self._peer.server
        delay = world.network.delay(client.place, server.place, record.request, 2 * attempt)
        arrival = _NEVER if delay is None else world.env.now + delay
        self._last_arrival = arrival = max(self._last_arrival, arrival)
        if arrival < _NEVER:
            call_at(world.env, arrival, lambda _step: self._peer.receive(buffer, record, attempt))

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Wait for bytes; raise the family's core errors when they do not come."""
        if not self._inbox and not self._is_broken:
            self._reader = _Wait()
            if await self._reader.within(self._client, timeout) is None:
                raise self._client.core.ReadTimeout("the simulated server does not answer")
        if not self._inbox:
            raise self._client.core.ReadError("the simulated server broke the connection off")
        data, self._inbox = self._inbox[:max_bytes], self._inbox[max_bytes:]
        return data

    async def aclose(self) -> None:
        """Close the client's end."""
        self._peer.leave()

    def get_extra_info(self, info: str) -> bool | None:
        """Return whether an idle connection is readable, which means that it was closed."""
        return self._is_broken or self._peer.is_seen_closed() if info == "is_readable" else None

    def _take(self, data: bytes) -> None:
        self._inbox += data
        self._wake()

    def _break(self) -> None:
        self._is_broken = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.finish(result=True)
