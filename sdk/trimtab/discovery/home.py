"""Where a user's discovery runs: on its own event loop, or on the background's."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from trimtab.background import background
from trimtab.discovery.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Home"]

T = TypeVar("T")


class Home:
    """The loop that keeps a user's lists, and the ways to have something done there.

    Attributes:
        hub: the loop's hub.
        clock: seconds, monotonic; the clock of everything that is kept here.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, foreign: bool) -> None:
        self.hub = Hub.of(loop)
        self.loop = loop
        self.clock: Callable[[], float] = loop.time
        self._foreign = foreign

    @classmethod
    def for_async(cls) -> Home:
        """Return the running asyncio loop, or the background's under another async library."""
        try:
            return cls(asyncio.get_running_loop(), foreign=False)
        except RuntimeError:
            return cls.for_sync()

    @classmethod
    def for_sync(cls) -> Home:
        """Return the background loop."""
        return cls(background().loop, foreign=True)

    async def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an async function at home, from async code of any library."""
        if not self._foreign:
            return await function()
        # Imported here: only other libraries than asyncio come this way, and they have anyio.
        import anyio.to_thread  # noqa: PLC0415

        # Called in the thread: a caller that is cancelled first leaves no coroutine behind.
        return await anyio.to_thread.run_sync(
            lambda: background().run(function()), abandon_on_cancel=True
        )

    def run_blocking(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine at home from synchronous code, and wait for it."""
        return background().run(coroutine)

    def do(self, call: Callable[[], None]) -> None:
        """Call something at home: now, if its loop is the caller's own, or else soon."""
        if self._foreign:
            self.loop.call_soon_threadsafe(call)
        else:
            call()

    def soon(self, call: Callable[[], None]) -> None:
        """Have something called at home, from where requests are made."""
        if self._foreign:
            self.loop.call_soon_threadsafe(call)
        else:
            self.loop.call_soon(call)

    def soon_from_anywhere(self, call: Callable[[], None]) -> None:
        """Do the same from any thread, and from finalizers; nothing if the loop has ended."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(call)
