"""The event loop that keeps a user's lists: the user's own, or the background's."""

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
    """The event loop that keeps a user's lists, and the ways to call something there.

    Attributes:
        hub: the loop's hub.
        loop: the event loop.
        clock: the loop's clock, in seconds, monotonic.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, foreign: bool) -> None:
        self.hub = Hub.of(loop)
        self.loop = loop
        self.clock: Callable[[], float] = loop.time
        self._foreign = foreign

    @classmethod
    def for_async(cls) -> Home:
        """Return a home on the running asyncio loop; under another library, on the background's."""
        try:
            return cls(asyncio.get_running_loop(), foreign=False)
        except RuntimeError:
            return cls.for_sync()

    @classmethod
    def for_sync(cls) -> Home:
        """Return a home on the background loop."""
        return cls(background().loop, foreign=True)

    async def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an async function at home, from async code of any library."""
        if not self._foreign:
            return await function()
        # Imported here: only users of another library than asyncio need it, and they have anyio.
        import anyio.to_thread  # noqa: PLC0415

        # Called in the thread: if the caller is cancelled before, no coroutine was made.
        return await anyio.to_thread.run_sync(
            lambda: background().run(function()), abandon_on_cancel=True
        )

    def run_blocking(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine at home from synchronous code, and wait for it."""
        return background().run(coroutine)

    def do(self, call: Callable[[], None]) -> None:
        """Call something on the loop: at once if it is the caller's own, otherwise soon."""
        if self._foreign:
            self.loop.call_soon_threadsafe(call)
        else:
            call()

    def soon(self, call: Callable[[], None]) -> None:
        """Call something on the loop soon, from where requests are made."""
        if self._foreign:
            self.loop.call_soon_threadsafe(call)
        else:
            self.loop.call_soon(call)

    def soon_from_anywhere(self, call: Callable[[], None]) -> None:
        """Do the same from any thread or finalizer. Does nothing if the loop has ended."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(call)
