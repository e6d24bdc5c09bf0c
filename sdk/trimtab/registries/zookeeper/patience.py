"""A bound on silence, not on work: who asks for a lot at once is served in turn."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["while_answered"]

_EARLIER_S = 0.001


@asynccontextmanager
async def while_answered(timeout_s: float, answered_at: Callable[[], float]) -> AsyncIterator[None]:
    """Bound a block by `timeout_s` from its start, or from the last answer to anybody.

    One connection answers all in the order of their questions. After a loss of it, thousands of
    nodes are read anew; the last must not fail because it stands behind the others.

    Args:
        timeout_s: how long nothing may be answered.
        answered_at: when something was answered last, by the loop's clock.

    Raises:
        TimeoutError: nothing was for so long.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s) as limit:
        until = loop.time() + timeout_s
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal until, timer
            if answered_at() + timeout_s > until:
                until = answered_at() + timeout_s
                limit.reschedule(until)
                timer = loop.call_at(until - _EARLIER_S, look)

        timer = loop.call_at(until - _EARLIER_S, look)
        try:
            yield
        finally:
            timer.cancel()
