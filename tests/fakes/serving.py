"""An ASGI application behind a real socket, on a thread, which can go and come back."""

from __future__ import annotations

import asyncio
import logging
import threading

import uvicorn

from real.server import free_ports, wait_until

_SILENT = {"version": 1, "disable_existing_loggers": False, "loggers": {"uvicorn": {"level": 99}}}


class Serving:
    """Serves `app` on a port of its own; `stop` breaks all connections, as a crash would.

    `config` is uvicorn's, for TLS say.
    """

    def __init__(self, app, **config):
        self.app, self.config = app, config
        (self.port,) = free_ports(1)
        self.loop = None
        self._server = self._thread = None

    @property
    def http(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self):
        return self._thread is not None

    def start(self):
        logging.getLogger("uvicorn").propagate = False
        config = uvicorn.Config(
            self.app,
            host="127.0.0.1",
            port=self.port,
            log_config=_SILENT,
            access_log=False,
            lifespan="off",
            ws="none",
            **self.config,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self):
        """End it, if it runs."""
        if self._thread is None:
            return
        self.loop.call_soon_threadsafe(self._break)
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._thread = None

    def connections(self):
        return len(self._server.server_state.connections) if self._thread else 0

    def _break(self):
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    def _run(self):
        async def serve():
            self.loop = asyncio.get_running_loop()
            await self._server.serve()

        asyncio.run(serve())
