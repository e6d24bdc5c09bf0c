"""A backend as users run it: an HTTP server that registers itself and keeps its lease.

    python backend_program.py REGISTRY_URL SERVICE ID TTL_S

It prints `ready PORT` once it is registered. `GET /work` takes 20 ms, or 20 times that after
SIGUSR1; `GET /stream` sends a first chunk and holds the rest back until `POST /open`.
`POST /behave?fail_ratio=0.5&stall_ratio=0.01&stall_s=0.5&work_s=0.005` changes what follows.
"""

from __future__ import annotations

import asyncio
import os
import random
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
        self.fail_ratio = self.stall_ratio = self.stall_s = 0.0
        self.rng = random.Random(name)

    def app(self):
        return Starlette(
            routes=[
                Route("/work", self.work),
                Route("/stream", self.stream),
                Route("/open", self.open, methods=["POST"]),
                Route("/behave", self.behave, methods=["POST"]),
            ]
        )

    async def work(self, request):
        if self.rng.random() < self.fail_ratio:
            return PlainTextResponse("out of order", status_code=503)
        stalls = self.rng.random() < self.stall_ratio
        await asyncio.sleep(self.stall_s if stalls else self.work_s)
        return PlainTextResponse(self.name)

    async def behave(self, request):
        for name, value in request.query_params.items():
            setattr(self, name, float(value))
        return PlainTextResponse("as you wish")

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
        registration = register(registry, service, instance, ttl_s=float(ttl_s))
        await registration.start_persistently()
        try:
            # One write: lines of several processes may share a terminal.
            os.write(1, f"ready {port}\n".encode())
            await serving
        finally:
            await registration.stop()


asyncio.run(main(*sys.argv[1:]))
