"""Backends that leave as well-behaved servers do, many of them, cheap to start again.

    python rolling_program.py REGISTRY_URL SERVICE DRAIN_S [last]

It reads commands, one a line. `start NAME PORT` (0: any) forks a backend, a process of its own,
which prints `ready NAME PID PORT` once it is registered. `stop NAME` sends it SIGTERM, waits for
its end and prints `ended NAME CODE`. With `last`, backends deregister last, as many do by mistake.

`/work` takes 20 ms, and sends back what is posted to it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from importlib import import_module

import uvicorn
import uvicorn.loops.asyncio
import uvicorn.protocols.http.h11_impl
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from trimtab import Instance, register

WORK_S = 0.02
# What a backend would import at its first call is imported here, once for all of them.
for _module in ("anyio._backends._asyncio", "httpcore", "trimtab.registries.consul"):
    import_module(_module)
_PRCTL = ctypes.CDLL(None).prctl
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


async def work(request):
    body = await request.body()
    await asyncio.sleep(WORK_S)
    return Response(body or b"done")


async def serve(url, service, drain_s, name, port, *, last):
    """Serve until SIGTERM: first out of the registry, then, when clients know, out of service."""
    stop = asyncio.Event()
    app = Starlette(routes=[Route("/work", work, methods=["GET", "POST"])])
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", ws="none", loop="asyncio", http="h11"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.001)
        # In place of the server's own handler, which would refuse connections at once.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        instance = Instance(id=name, host="127.0.0.1", port=listening.getsockname()[1])
        async with register(url, service, instance, drain_s=drain_s):
            say(f"ready {name} {os.getpid()} {instance.port}")
            await stop.wait()
            if last:
                server.should_exit = True
                await serving
        server.should_exit = True
        await serving


def say(line):
    # One write: lines of several processes share a pipe.
    os.write(1, f"{line}\n".encode())


def start(arguments, name, port, *, last):
    pid = os.fork()
    if pid:
        return pid
    _PRCTL(_DIE_WITH_PARENT, signal.SIGKILL)
    try:
        asyncio.run(serve(*arguments, name, int(port), last=last))
    except BaseException:  # noqa: BLE001 - told, and the process ends
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def main(url, service, drain_s, *last):
    pids = {}
    for line in sys.stdin:
        command, name, *port = line.split()
        if command == "start":
            pids[name] = start((url, service, float(drain_s)), name, *port, last=bool(last))
        else:
            os.kill(pids[name], signal.SIGTERM)
            _, status = os.waitpid(pids.pop(name), 0)
            say(f"ended {name} {os.waitstatus_to_exitcode(status)}")


main(*sys.argv[1:])
