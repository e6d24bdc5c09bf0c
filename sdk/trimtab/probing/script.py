"""Probe with a script: its exit code is the result."""

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
"""The capacity of a pipe on Linux; elsewhere it is smaller."""


async def probe_script(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    max_bytes: int = 4096,
) -> ProbeResult:
    """Run a command: exit code 0 is passing, 1 warning, all else critical.

    No shell reads the command. Processes that it started end with it, and it ends when the probe is
    cancelled. The first `max_bytes` of its output are kept; the rest is read and dropped.

    Args:
        command: the program and its arguments.
        environment: variables in addition to those of this process.
        max_bytes: how much of its output is kept.

    Raises:
        OSError: the command cannot be started.
    """
    with _Output(max_bytes) as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            # A pipe of our own: asyncio's would keep us until all processes that inherited it end.
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
        """Read what is available, at most what a pipe holds."""
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
