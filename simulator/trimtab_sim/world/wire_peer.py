"""The server's end of a connection: it parses requests and passes them to the modelled server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11

from trimtab.strategies import ASK_HEADER, LOAD_PATH, REPORT_HEADER
from trimtab_sim.world.attempts import Attempt, Ending, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab_sim.world.http_clients import RequestRecord
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server
    from trimtab_sim.world.world import World

__all__ = ["Peer"]

_ASK = ASK_HEADER.encode()


class Peer:
    """The server's end of one connection. A crash or a restart of the server closes it.

    Args:
        client: the place of the other end.
        deliver: called at the client with bytes that have arrived.
        reset: called at the client when the server does not know the connection any more.

    Attributes:
        server: the server.
        way_s: the time until the client notices that the server has ended.
    """

    def __init__(
        self,
        world: World,
        client: Place,
        server: Server,
        *,
        deliver: Callable[[bytes], None],
        reset: Callable[[], None],
        way_s: float,
    ) -> None:
        self.server = server
        self.way_s = way_s
        self._world = world
        self._client = client
        self._deliver = deliver
        self._reset = reset
        self._life = server.life
        self._http = h11.Connection(h11.SERVER)
        self._has_body = self._is_question = self._wants_load = False
        self._attempt: _WireAttempt | None = None

    def receive(self, data: bytes, record: RequestRecord, number: int) -> None:
        """Accept bytes of an attempt; pass a complete request to the server."""
        server, world = self.server, self._world
        if server.is_dark:
            return
        attempt = _WireAttempt(self, self._client, server, record, number)
        if not self._is_known():
            # The machine is reachable, but a new or dead process does not have this connection.
            reply(world.env, world.network, attempt, "broken", 0)
        elif self._completes_request(data):
            self._attempt = attempt
            attempt.is_question = self._is_question
            attempt.wants_load = self._wants_load
            server.receive(attempt)

    def arrived(self, ending: Ending, status: int) -> None:
        """Deliver the server's outcome, which has arrived at the client."""
        if ending == "answered":
            self._deliver(self._response(status, self._attempt.load if self._attempt else ""))
        else:
            self._reset()

    def leave(self) -> None:
        """Note that the client has closed the connection; the server still does the work."""
        if self._attempt is not None:
            self._attempt.is_over = True

    def is_seen_closed(self) -> bool:
        """Return whether the client has noticed by now that this end is closed."""
        server, world = self.server, self._world
        if server.is_dark or self._is_known() or world.network.cuts(server.place, self._client):
            return False
        return server.is_alive or world.env.now >= server.ended_at + self.way_s

    def _is_known(self) -> bool:
        return self.server.is_alive and self.server.life == self._life

    def _completes_request(self, data: bytes) -> bool:
        self._http.receive_data(data)
        while (event := self._http.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                self._is_question = event.target == LOAD_PATH.encode()
                self._has_body = event.method != b"HEAD" and not self._is_question
                self._wants_load = any(name == _ASK for name, _ in event.headers)
            elif isinstance(event, h11.EndOfMessage):
                return True
        return False

    def _response(self, status: int, load: str) -> bytes:
        http: Any = self._http
        headers = [] if self._is_question else [("content-length", "2")]
        headers += [(REPORT_HEADER, load)] if load else []
        head = h11.Response(status_code=status, headers=headers)
        data: bytes = http.send(head)
        if self._has_body:
            data += http.send(h11.Data(b"ok"))
        data += http.send(h11.EndOfMessage())
        http.start_next_cycle()
        return data


class _WireAttempt(Attempt):
    """An attempt that came over a connection."""

    __slots__ = ("_peer", "is_question")
    is_connected = True

    def __init__(
        self, peer: Peer, client: Place, server: Server, record: RequestRecord, number: int
    ) -> None:
        super().__init__(client, server, record.request, number)
        self.cost = record.cost
        self._peer = peer
        self.is_question = False

    def arrived(self, ending: Ending, status: int) -> None:
        """Pass the outcome to the connection."""
        self.is_over = True
        self._peer.arrived(ending, status)
