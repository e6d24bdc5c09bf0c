"""Probe one instance again and again, when its schedule says so."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trimtab.health.probing import ProbeResult, ProbeState

__all__ = ["repeat"]

logger = logging.getLogger("trimtab.probing")


async def repeat(
    state: ProbeState,
    carry_out: Callable[[], Awaitable[ProbeResult]],
    tell: Callable[[ProbeResult, bool | None], None],
    *,
    at_once: asyncio.Semaphore,
) -> NoReturn:
    """Probe whenever `state` says so, until cancelled.

    Args:
        state: the schedule, which is told of each result.
        carry_out: carries out one probe; must not raise.
        tell: called with each result and the verdict that stands after it; what it raises is
            logged.
        at_once: bounds how many probe at the same time. Whoever waits for it is late, and its
            interval counts from when it gets its turn.
    """
    time = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(max(0.0, state.next_at - time()))
        async with at_once:
            state.begin(time())
            result = await carry_out()
        verdict = state.result(time(), ok=result.ok)
        try:
            tell(result, verdict)
        except Exception:
            logger.exception("a listener to probes failed")
