"""A command that runs while its instance is registered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from trimtab.errors import ConfigurationError, TrimtabError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from trimtab.instance import Instance

__all__ = ["Child"]

_LAST_WORDS_S = 10.0
_TRY_EVERY_S = 0.05


class Child:
    """A child process; leaving the block ends it, by SIGTERM and after ten seconds by SIGKILL."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    @property
    def code(self) -> int:
        """Its exit code; as a shell gives it, 128 and the signal's number, if one ended it."""
        code = self._running.returncode or 0
        return code if code >= 0 else 128 - code

    async def accepts(self, instance: Instance, stop: asyncio.Event, *, timeout_s: float) -> bool:
        """Wait until its address accepts connections; say whether it does.

        Raises:
            TrimtabError: it did not in time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not stop.is_set() and self._running.returncode is None:
                    if await _is_open(instance):
                        return True
                    await asyncio.sleep(_TRY_EVERY_S)
                return False
        raise TrimtabError(
            f"{self._command[0]!r} does not accept connections at {instance.address} after "
            f"{timeout_s:g} s; check the address, or give it longer by --ready-timeout"
        )

    async def ended_or(self, stop: asyncio.Event) -> None:
        """Wait for its end, or for `stop`."""
        await _first_of(self._running.wait(), stop.wait())

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def __aenter__(self) -> Self:
        try:
            # Ctrl-C on a terminal goes to the whole process group; the child is to be told
            # only after it was deregistered.
            self._process = await asyncio.create_subprocess_exec(
                *self._command, start_new_session=True
            )
        except OSError as error:
            raise ConfigurationError(
                f"command {self._command[0]!r} cannot be started: {error.strerror}"
            ) from None
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._running.returncode is None:
            self._running.terminate()
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._running.wait()
        except TimeoutError:
            self._running.kill()
            await self._running.wait()


async def _is_open(instance: Instance) -> bool:
    try:
        _, writer = await asyncio.open_connection(instance.host, instance.port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
