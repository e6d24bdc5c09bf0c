"""One backend, a process of its own: serves HTTP and keeps itself registered.

It says "ready" when it is registered. It ends when its standard input does, so that none
outlives the demo, however the demo ends. SIGUSR1 makes it slow.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from random import Random
from typing import TYPE_CHECKING, Any

import uvicorn

from trimtab.instance import Instance
from trimtab.registration import register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["SERVICE", "SLOWDOWN", "main"]

SERVICE = "orders"
SLOWDOWN = 20

_MEAN_S = 0.004


def main(argv: Sequence[str] | None = None) -> None:
    """Run a backend until its standard input ends."""
    parser = argparse.ArgumentParser(prog="backend")
    parser.add_argument("--registry", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--ttl", type=float, required=True)
    options = parser.parse_args(argv)
    logging.getLogger("trimtab").addHandler(logging.NullHandler())
    asyncio.run(_run(options.registry, options.id, options.ttl))


async def _run(registry: str, id_: str, ttl_s: float) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), stop.set)
    app = _App(Random(id_))
    loop.add_signal_handler(signal.SIGUSR1, app.slow_down)
    # asyncio turns Nagle's delay off (40 ms per answer) only where the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        instance = Instance(host="127.0.0.1", port=listening.getsockname()[1], id=id_)
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
        )
        serving = loop.create_task(server.serve(sockets=[listening]))
        async with register(registry, SERVICE, instance, ttl_s=ttl_s):
            print("ready", flush=True)
            await stop.wait()
        server.should_exit = True
        await serving


class _App:
    """An ASGI application that takes some milliseconds to answer."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._factor = 1

    def slow_down(self) -> None:
        self._factor = SLOWDOWN

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        assert scope["type"] == "http"
        await receive()
        await asyncio.sleep(self._factor * _MEAN_S * self._rng.uniform(0.5, 1.5))
        # Without a body, the answer leaves in one piece: the kill takes all of it or nothing. One
        # that is cut off after its head cannot be tried again, since the caller has begun to
        # read it.
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


if __name__ == "__main__":
    main()
