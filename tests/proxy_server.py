"""A real HTTP proxy: it answers plain requests itself, and carries CONNECT tunnels."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from transport_kit import DEADLINE_S


class ProxyServer:
    """A proxy on a thread.

    Attributes:
        seen: the targets of plain requests so far, such as `http://example.com/who`.
        tunnels: the places that CONNECT has asked for so far, as `host:port`.
        refused: what CONNECT is answered instead of a tunnel, by `host:port`: such as
            `502 Bad Gateway`.
    """

    def __init__(self):
        self.seen, self.tunnels, self.refused = [], [], {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stopped.cancel)
        self._thread.join(DEADLINE_S)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._stopped = self._loop.create_future()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        tasks = set()

        async def begin(reader, writer):
            tasks.add(asyncio.current_task())
            with contextlib.suppress(asyncio.CancelledError, OSError, EOFError):
                await self._handle(reader, writer)
            writer.close()

        server = await asyncio.start_server(begin, sock=self._socket)
        try:
            await self._stopped
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode("latin-1").split(" ", 2)
            if method != "CONNECT":
                self.seen.append(target)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy")
                continue
            self.tunnels.append(target)
            refusal = self.refused.get(target)
            if refusal is not None:
                writer.write(f"HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n".encode())
                return
            await self._tunnel(target, reader, writer)
            return

    async def _tunnel(self, target, reader, writer):
        host, _, port = target.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_carry(reader, there_writer), _carry(there_reader, writer))


async def _carry(reader, writer):
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
