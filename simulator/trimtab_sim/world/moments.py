"""Waiting for a moment of virtual time, exactly."""

from __future__ import annotations

import asyncio

__all__ = ["until"]


async def until(moment: float) -> None:
    """Wait until a moment; the past means now."""
    # A relative sleep would land an ulp beside it.
    loop = asyncio.get_running_loop()
    reached = loop.create_future()

    def reach() -> None:
        # Whoever waited may have been cancelled.
        if not reached.done():
            reached.set_result(None)

    loop.call_at(moment, reach)
    await reached
