"""A backend that costs little: it answers after a time with a status, and nothing else.

    python fair_backend_program.py PORT [CERTIFICATE]

It prints `ready PORT`. `GET /set/SECONDS/STATUS` changes what follows. With a certificate (a file
that has the key too) it speaks TLS.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys

WORK_S = 0.001


class Backend(asyncio.Protocol):
    work_s, status = WORK_S, 200

    def connection_made(self, transport):
        self.transport, self.head = transport, b""

    def data_received(self, data):
        self.head += data
        while b"\r\n\r\n" in self.head:
            head, self.head = self.head.split(b"\r\n\r\n", 1)
            _, *command = head.split()[1].decode().split("/")
            if command[0] == "set":
                Backend.work_s, Backend.status = float(command[1]), int(command[2])
                self.answer(200)
            else:
                asyncio.get_running_loop().call_later(Backend.work_s, self.answer, Backend.status)

    def answer(self, status):
        self.transport.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)


async def main(port, certificate=None):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(
        Backend, "127.0.0.1", int(port), ssl=context, backlog=2048
    )
    os.write(1, f"ready {server.sockets[0].getsockname()[1]}\n".encode())
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
