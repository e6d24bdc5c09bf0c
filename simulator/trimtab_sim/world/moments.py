"""Waiting for a moment of virtual time, exactly."""

from __future__ import annotations

import asyncio

__all__ = ["until"]


async def until(moment: float) -> None:
    """Wait until a moment; the past means now."""
    # A relative sleep would land an ulp beside it.
    loop = asyncio.get_running_loop()
    reached = loop.create_future()
    loop.call_at(moment, lambda: reached.done() or reached.set_result(None))
    await reached
