"""A look by a script: what does its exit code say?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Self

from trimtab.health.probing import ProbeResult
from trimtab.instance import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["probe_script"]

_STATUSES = {0: Status.PASSING, 1: Status.WARNING}
_PIPE_BYTES = 65536
"""What a pipe holds at most, on Linux; elsewhere it is less."""


async def probe_script(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    max_bytes: int = 4096,
) -> ProbeResult:
    """Run a command: exit code 0 is passing, 1 warning, all else critical.

    No shell reads it. Whatever else it has started ends with it, and it ends when the look is
    cancelled. Of its output the first `max_bytes` are kept, and the rest is read and forgotten.

    Args:
        command: the program and its arguments.
        environment: variables besides those of this process.
        max_bytes: how much of its output is kept.

    Raises:
        OSError: it cannot be started.
    """
    with _Output(max_bytes) as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            # A pipe of our own: asyncio's would have us wait for all who inherited it.
            stdout=output.write_end,
            stderr=output.write_end,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            code = await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        output.read()
    return ProbeResult(_STATUSES.get(code, Status.CRITICAL), output.kept.decode(errors="replace"))


class _Output:
    """A pipe that is read as it fills, by the running loop."""

    def __init__(self, max_bytes: int) -> None:
        self.kept = b""
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()

    def read(self) -> None:
        """Take in what is there, up to what a pipe holds."""
        try:
            chunk = os.read(self._read_end, _PIPE_BYTES)
        except BlockingIOError:
            return
        self.kept += chunk[: self._max_bytes - len(self.kept)]

    def __enter__(self) -> Self:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._loop.add_reader(self._read_end, self.read)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        os.close(self.write_end)
