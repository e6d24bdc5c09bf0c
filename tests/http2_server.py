"""The server of the transport tests once more, speaking HTTP/2."""

from __future__ import annotations

import asyncio
import threading

from hypercorn.asyncio import serve
from hypercorn.config import Config

from real.server import connections_to
from transport_kit import DEADLINE_S, HttpServer


class Http2Server(HttpServer):
    """Over TLS it speaks what is agreed on; without it, HTTP/2 to those who begin with it.

    Attributes:
        ports: the client's port of each request so far: one connection, one port.
    """

    def __init__(self, name, *, certificate=None, keep_alive_s=75.0):
        super().__init__(name)
        self.ports = []
        self._socket.listen()  # whoever comes before it serves waits
        self._config = config = Config()
        config.bind = [f"fd://{self._socket.detach()}"]
        config.certfile = config.keyfile = certificate
        config.accesslog = config.errorlog = None
        config.graceful_timeout = 1.0
        config.keep_alive_timeout = keep_alive_s
        self._started, self._stop = threading.Event(), None

    @property
    def connections(self):
        # This process holds both ends of each; those of the client have the port as the remote one.
        return connections_to(self.port)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(DEADLINE_S)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(lambda: [gate.set() for gate in self._gates.values()])
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)

    def _run(self):
        asyncio.run(self._serve())

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = self._app()

        async def noted(scope, receive, send):
            if scope["type"] == "http":
                self.ports.append(scope["client"][1])
            await app(scope, receive, send)

        self._loop.call_soon(self._started.set)
        await serve(noted, self._config, shutdown_trigger=self._stop.wait)
