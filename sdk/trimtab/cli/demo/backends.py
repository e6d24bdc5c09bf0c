"""The backends of the demo: processes that serve HTTP and keep themselves registered.

`Fleet` starts, kills and slows them. `main` runs one: it prints "ready" once it is registered, and
ends when its standard input does, so no backend outlives the demo, however the demo ends. SIGUSR1
makes it slow.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from random import Random
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from trimtab.errors import TrimtabError
from trimtab.instance import Instance
from trimtab.registration import register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["SERVICE", "SLOWDOWN", "Fleet", "main"]

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 2.0
SERVICE = "orders"
SLOWDOWN = 20
_MEAN_S = 0.004
_MOST_MEAN_S = 0.05
_NEWEST_RATIO = 0.1


class Fleet:
    """The backend processes, by id. Leaving the block stops all of them.

    Args:
        registry: the URL of the registry where they register.
        ttl_s: the lease of their registrations.
    """

    def __init__(self, registry: str, *, ttl_s: float) -> None:
        self._registry = registry
        self._ttl_s = ttl_s
        self._processes: dict[str, Process] = {}

    async def start(self, id_: str) -> None:
        """Start a backend; return when it is registered.

        Raises:
            TrimtabError: it does not start, or not in time.
        """
        # Each reads from a pipe that ends with this process. They are in process groups of their
        # own, so Ctrl-C reaches only this process, which then stops them.
        process = self._processes[id_] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trimtab.cli.demo.backends"),
            *("--registry", self._registry, "--id", id_, "--ttl", str(self._ttl_s)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                line = await process.stdout.readline()
                if line.strip() != b"ready":
                    said = line + await process.stdout.read()
                    last = said.decode(errors="replace").strip().splitlines()[-1:]
                    raise TrimtabError(f"backend {id_} did not start: {''.join(last)}")
        except TimeoutError:
            raise TrimtabError(
                f"backend {id_} was not ready within {_START_TIMEOUT_S:g} s"
            ) from None

    async def kill(self, id_: str) -> None:
        """Kill a backend, as a crash would."""
        process = self._processes[id_]
        process.kill()
        await process.wait()

    def slow_down(self, id_: str) -> None:
        """Make a backend take longer for each answer from now on."""
        self._processes[id_].send_signal(signal.SIGUSR1)

    async def aclose(self) -> None:
        """Stop all backends: close their input, and kill those that do not end."""
        running = [each for each in self._processes.values() if each.returncode is None]
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*(_end(process) for process in running))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


async def _end(process: Process) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


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
    # asyncio turns off Nagle's delay (40 ms per answer) only if the protocol is named.
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
    """An ASGI application that takes some milliseconds to answer.

    On a busy machine its answers take longer than that. It measures how long, so that it is slowed
    against what its clients see of it, at most to a second on average: their time-out is not far.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._clock = asyncio.get_running_loop().time
        self._wanted_s = _MEAN_S
        self._measured_s = _MEAN_S

    def slow_down(self) -> None:
        self._wanted_s = SLOWDOWN * min(self._measured_s, _MOST_MEAN_S)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        assert scope["type"] == "http"
        await receive()
        began_s = self._clock()
        await asyncio.sleep(self._wanted_s * self._rng.uniform(0.5, 1.5))
        took_s = self._clock() - began_s
        self._measured_s += _NEWEST_RATIO * (took_s - self._measured_s)
        # Without a body, the answer is sent in one piece, so the kill cuts off all of it or
        # nothing. A response that is cut off after its head cannot be retried, since the caller
        # reads it already.
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


if __name__ == "__main__":
    main()
