"""Look at one instance again and again, when its schedule says so."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trimtab.health.probing import ProbeState
    from trimtab.probing.finding import Finding

__all__ = ["repeat"]

logger = logging.getLogger("trimtab.probing")


async def repeat(
    state: ProbeState,
    look: Callable[[], Awaitable[Finding]],
    tell: Callable[[Finding, bool | None], None],
    *,
    at_once: asyncio.Semaphore,
) -> NoReturn:
    """Look whenever `state` says so, until cancelled.

    Args:
        state: the schedule, which is told of each result.
        look: carries out one probe; must not raise.
        tell: called with each finding and the verdict that stands after it; what it raises is
            logged.
        at_once: bounds how many look at the same time. Whoever waits for it is late, and its
            interval counts from when it gets its turn.
    """
    time = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(max(0.0, state.next_at - time()))
        async with at_once:
            state.begin(time())
            finding = await look()
        verdict = state.result(time(), ok=finding.ok)
        try:
            tell(finding, verdict)
        except Exception:
            logger.exception("a listener to probes failed")
