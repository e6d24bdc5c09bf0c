"""The backends as processes: started, killed, slowed down, and none left behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from typing import Self

from trimtab.errors import TrimtabError

__all__ = ["Fleet"]

_START_S = 20.0
_LAST_WORDS_S = 2.0


class Fleet:
    """Backends by id. Leaving the block ends all of them.

    Args:
        registry: the URL of the registry in which they register.
        ttl_s: of their registrations.
    """

    def __init__(self, registry: str, *, ttl_s: float) -> None:
        self._registry = registry
        self._ttl_s = ttl_s
        self._processes: dict[str, Process] = {}

    async def start(self, id_: str) -> None:
        """Start a backend; return when it is registered.

        Raises:
            TrimtabError: it did not come up.
        """
        # Each holds the reading end of a pipe that ends with this process. They are in process
        # groups of their own, so that Ctrl-C reaches this one alone, which then ends them.
        process = self._processes[id_] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trimtab.cli.demo.backend"),
            *("--registry", self._registry, "--id", id_, "--ttl", str(self._ttl_s)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
                if line.strip() != b"ready":
                    said = line + await process.stdout.read()
                    last = said.decode(errors="replace").strip().splitlines()[-1:]
                    raise TrimtabError(f"backend {id_} did not start: {''.join(last)}")
        except TimeoutError:
            raise TrimtabError(f"backend {id_} was not ready within {_START_S:g} s") from None

    async def kill(self, id_: str) -> None:
        """End a backend as a crash would."""
        process = self._processes[id_]
        process.kill()
        await process.wait()

    def slow_down(self, id_: str) -> None:
        """Make a backend take longer for each answer from now on."""
        self._processes[id_].send_signal(signal.SIGUSR1)

    async def aclose(self) -> None:
        """End all backends: by the end of their input, and those that stay by SIGKILL."""
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
        async with asyncio.timeout(_LAST_WORDS_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
