"""A backend as users run it: an HTTP server that registers itself and keeps its lease.

    python backend_program.py REGISTRY_URL SERVICE ID TTL_S

It prints `ready PORT` once it is registered. `GET /work` takes 20 ms, or 20 times that after
SIGUSR1; `GET /stream` sends a first chunk and holds the rest back until `POST /open`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from trimtab import Instance, register

WORK_S = 0.02
SLOWED = 20


class Backend:
    def __init__(self, name):
        self.name = name
        self.work_s = WORK_S
        self.gate = asyncio.Event()

    def app(self):
        return Starlette(
            routes=[
                Route("/work", self.work),
                Route("/stream", self.stream),
                Route("/open", self.open, methods=["POST"]),
            ]
        )

    async def work(self, request):
        await asyncio.sleep(self.work_s)
        return PlainTextResponse(self.name)

    async def stream(self, request):
        async def body():
            yield b"first "
            await self.gate.wait()
            yield b"last"

        return StreamingResponse(body())

    async def open(self, request):
        self.gate.set()
        return PlainTextResponse("open")

    def slow_down(self):
        self.work_s = WORK_S * SLOWED


async def main(registry, service, name, ttl_s):
    backend = Backend(name)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, backend.slow_down)
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(backend.app(), log_config=None, timeout_keep_alive=75)
        serving = asyncio.create_task(uvicorn.Server(config).serve(sockets=[listening]))
        instance = Instance(id=name, host="127.0.0.1", port=port)
        async with register(registry, service, instance, ttl_s=float(ttl_s)):
            # One write: lines of several processes may share a terminal.
            os.write(1, f"ready {port}\n".encode())
            await serving


asyncio.run(main(*sys.argv[1:]))
