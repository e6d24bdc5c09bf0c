"""One event loop on one thread, for everything that runs behind synchronous code.

It is started at first use, never at import. A forked child does not inherit the thread: it starts
its own at first use. `Block` is the base of what is open for a block of code, with `async with` on
the running loop or with `with` on this one.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = ["Background", "Block", "background", "on_fork"]

T = TypeVar("T")


class Background:
    """An event loop that runs on a daemon thread of its own until it is stopped."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="trimtab", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop; block the calling thread until it has a result."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "trimtab: synchronous code was called on trimtab's own background thread, where "
                "it would wait for itself; use the async interface in registry code and callbacks"
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel what runs, end the thread and close the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5.0)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(_end_all())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


async def _end_all() -> None:
    """Cancel every other task of this loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Process:
    """The state of this process: at most one background loop, and what a forked child resets."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.background: Background | None = None
        self.hooked = False
        self.forgetters: list[Callable[[], None]] = []

    def after_fork_in_child(self) -> None:
        self.lock = threading.Lock()
        self.background = None
        for forget in self.forgetters:
            forget()


_process = _Process()


def background() -> Background:
    """Return the background loop of this process; start it if it does not run."""
    with _process.lock:
        if _process.background is None:
            _process.background = Background()
            atexit.register(_process.background.stop)
            _hook()
        return _process.background


def on_fork(forget: Callable[[], None]) -> None:
    """Call `forget` in every child forked from now on, to reset state that it must not inherit."""
    with _process.lock:
        _process.forgetters.append(forget)
        _hook()


def _hook() -> None:
    if not _process.hooked:
        _process.hooked = True
        os.register_at_fork(after_in_child=_process.after_fork_in_child)


class Block(ABC):
    """Something that is open for a block of code.

    `async with` opens it on the running loop, `with` on the background loop.
    """

    @abstractmethod
    async def start(self) -> None:
        """Open it."""

    @abstractmethod
    async def stop(self) -> None:
        """Close it. A second call does nothing."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        background().run(self.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        background().run(self.stop())
