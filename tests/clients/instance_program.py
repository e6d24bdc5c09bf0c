"""An instance for the table of faults: `instance_program.py PORT`. SIGUSR1 turns 503 on and off."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys


class Instance(asyncio.Protocol):
    """Answers each request with its port, or with 503, in two pieces as most servers do."""

    port = 0
    status = b"200 OK"

    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        self.received += data
        while b"\r\n\r\n" in self.received:
            self.received = self.received.partition(b"\r\n\r\n")[2]
            body = str(self.port).encode()
            head = b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % (self.status, len(body)))
            self.transport.write(body)


async def serve(port):
    def turn():
        is_well = Instance.status.startswith(b"200")
        Instance.status = b"503 Service Unavailable" if is_well else b"200 OK"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Instance, "127.0.0.1", port, backlog=200)
    Instance.port = server.sockets[0].getsockname()[1]
    loop.add_signal_handler(signal.SIGUSR1, turn)
    print(Instance.port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1])))
