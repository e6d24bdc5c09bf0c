"""One event loop on one thread, for everything that runs behind synchronous code.

It is started at first use, never at import. A forked child does not inherit the thread: it starts
its own at first use. At the interpreter's end the thread is stopped, after the `atexit` handlers
that were registered since this module was imported. Handlers that run later still work: the loop
then runs in their thread. `Block` is the base of what is open for a block of code, with
`async with` on the running loop or with `with` on this one.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = ["Background", "Block", "background", "close_soon", "on_fork"]

T = TypeVar("T")


class Background:
    """An event loop that runs on a daemon thread of its own until it is stopped."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(_Executor(thread_name_prefix="trimtab"))
        self._is_resting = self._is_stopping = False
        self._resting = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="trimtab", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # From Python 3.12 on, none can be started at the interpreter's end.
            self._is_resting = True

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop; block the calling thread until it has a result."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "trimtab: synchronous code was called on trimtab's own background thread, where "
                "it would wait for itself; use the async interface in registry code and callbacks"
            )
        if self._is_resting:
            return self._run_here(coroutine)
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel what runs, end the thread and close the loop."""
        self._is_stopping = True
        self.rest()
        if self._is_resting:
            self.loop.close()

    def rest(self) -> None:
        """Cancel what runs and end the thread; from now on the loop runs only while one waits."""
        if not self._is_resting:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(timeout=5.0)
            self._is_resting = not self._thread.is_alive()

    def disown(self) -> None:
        """In a forked child: what runs here is the parent's, and ends here without a word."""
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio.gather does

    def __del__(self) -> None:
        if self._is_resting and not self.loop.is_closed():
            self.loop.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(_end_all())
            if self._is_stopping:
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def _run_here(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._resting:
            try:
                return self.loop.run_until_complete(coroutine)
            finally:
                self.loop.run_until_complete(_end_all())


class _Executor(ThreadPoolExecutor):
    """The loop's threads. At the interpreter's end, when none can start, it works at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            return _done(fn, *args, **kwargs)


def _done(function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(function(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - raised by who waits for the result
        future.set_exception(error)
    return future


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
        # Kept, so that its loop is not collected: it shares its sockets with the parent's.
        self.inherited: Background | None = None
        self.forgetters: list[Callable[[], None]] = []

    def after_fork_in_child(self) -> None:
        self.lock = threading.Lock()
        if self.background is not None:
            self.background.disown()
        self.inherited, self.background = self.background, None
        for forget in self.forgetters:
            forget()

    def at_end(self) -> None:
        if self.background is not None:
            self.background.rest()


_process = _Process()


def _at_end() -> None:
    _process.at_end()


def _after_fork_in_child() -> None:
    _process.after_fork_in_child()


# Registered now, so that it runs after the handlers of those who use this. As functions of the
# module: a method would hold the background until after its loop is collected.
atexit.register(_at_end)
os.register_at_fork(after_in_child=_after_fork_in_child)


def background() -> Background:
    """Return the background loop of this process; start it if it does not run."""
    with _process.lock:
        if _process.background is None:
            _process.background = Background()
        return _process.background


def on_fork(forget: Callable[[], None]) -> None:
    """Call `forget` in every child forked from now on, to reset state that it must not inherit."""
    with _process.lock:
        _process.forgetters.append(forget)


def close_soon(
    loop: asyncio.AbstractEventLoop, close: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Close something on its loop, from a finalizer in any thread: no lock is waited for.

    Does nothing if the loop has ended, which took everything with it.
    """
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_begin, close)


def _begin(close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.get_running_loop().create_task(close())
    _closing.add(task)  # A loop does not keep its tasks.
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()


class Block(ABC):
    """Something that is open for a block of code.

    `async with` opens it on the running loop, `with` on the background loop. It belongs to the
    process that opened it: a forked child that leaves the block leaves it open.
    """

    _opened_by: int | None = None

    @abstractmethod
    async def start(self) -> None:
        """Open it."""

    @abstractmethod
    async def stop(self) -> None:
        """Close it. A second call does nothing."""

    @property
    def is_inherited(self) -> bool:
        """Whether another process has opened it, of which this one is a fork."""
        return self._opened_by not in {None, os.getpid()}

    async def __aenter__(self) -> Self:
        self._opened_by = os.getpid()
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        if not self.is_inherited:
            await self.stop()

    def __enter__(self) -> Self:
        self._opened_by = os.getpid()
        background().run(self.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        # The background of a child would start only for this.
        if not self.is_inherited:
            background().run(self.stop())
