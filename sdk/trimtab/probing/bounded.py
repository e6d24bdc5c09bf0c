"""The bound on the time that a probe may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trimtab.health.probing import ProbeResult
from trimtab.instance import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["bounded"]


async def bounded(
    carry_out: Callable[[], Awaitable[ProbeResult]], *, what: str, timeout_s: float
) -> ProbeResult:
    """Wait for a probe; an error or a time-out makes the instance critical. Never raises.

    `what` names the kind of probe in the text.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await carry_out()
    except TimeoutError:
        return ProbeResult(Status.CRITICAL, f"{what} check timed out after {timeout_s:g} s")
    except Exception as error:  # noqa: BLE001 - see above
        return ProbeResult(Status.CRITICAL, f"{type(error).__name__}: {error}")
