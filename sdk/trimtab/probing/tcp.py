"""A look over TCP: does the instance accept connections?"""

from __future__ import annotations

import asyncio
import contextlib

from trimtab.health.probing import ProbeResult
from trimtab.instance import Status

__all__ = ["probe_tcp"]


async def probe_tcp(host: str, port: int) -> ProbeResult:
    """Open a connection and close it; passing if that works.

    Raises:
        OSError: it does not.
    """
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    in_brackets = f"[{host}]" if ":" in host else host
    return ProbeResult(Status.PASSING, f"TCP connect {in_brackets}:{port}: Success")
