"""Tasks, futures and sets of the simulated loop: in the same order in each run.

asyncio keeps tasks in sets, and a set is ordered by hash. The hash of asyncio's own tasks is their
memory address, which differs in each process; here it is a serial number of the loop. `Bridge`
joins futures with SimPy's events, so that each can wait for the other.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

from trimtab_sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    import simpy

__all__ = ["Bridge", "OrderedWeakSet", "SimulatedFuture", "SimulatedTask"]

T = TypeVar("T")


class _Numbered:
    """Hash by a serial number of the loop, taken when the hash is first needed.

    Most futures are never hashed; these cost no more than asyncio's own.
    """

    _serial: int
    get_loop: Any

    def __hash__(self) -> int:
        try:
            return self._serial
        except AttributeError:
            self._serial = serial = self.get_loop().next_serial()
            return cast("int", serial)


class SimulatedTask(_Numbered, asyncio.Task[T]):
    """A task whose hash is a serial number."""


class SimulatedFuture(_Numbered, asyncio.Future[T]):
    """A future whose hash is a serial number."""


class OrderedWeakSet:
    """A weak set in order of insertion: holds the async generators to close at the end."""

    def __init__(self) -> None:
        self._refs: dict[weakref.ref[Any], None] = {}

    def add(self, item: Any) -> None:
        """Add an item at the end, unless it is already there."""
        self._refs.setdefault(weakref.ref(item, self._forget))

    def _forget(self, ref: weakref.ref[Any]) -> None:
        self._refs.pop(ref, None)

    def discard(self, item: Any) -> None:
        """Remove an item, if it is there."""
        self._refs.pop(weakref.ref(item), None)

    def clear(self) -> None:
        """Remove all items."""
        self._refs.clear()

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Any]:
        return iter([item for ref in list(self._refs) if (item := ref()) is not None])


class Bridge(asyncio.AbstractEventLoop):
    """The methods of a simulated loop that join asyncio and SimPy."""

    env: simpy.Environment

    def as_future(self, event: simpy.Event) -> asyncio.Future[Any]:
        """Make a future that is done when a SimPy event is, with its value or its failure."""
        future = self.create_future()
        if event.callbacks is None:
            _resolve(future, event)
        else:
            event.callbacks.append(lambda done: _resolve(future, done))
        return future

    async def wait_event(self, event: simpy.Event) -> Any:
        """Wait for a SimPy event (a timeout, a process, a request) and return its value.

        Cancelling the wait takes the waiter off the event. It does not withdraw a request to a
        resource: use `with resource.request() as request: await loop.wait_event(request)`.
        """
        future = self.create_future()
        if event.callbacks is None:
            _resolve(future, event)
            return await future

        def resolve(done: simpy.Event) -> None:
            _resolve(future, done)

        event.callbacks.append(resolve)
        try:
            return await future
        except asyncio.CancelledError:
            if event.callbacks is not None:
                event.callbacks.remove(resolve)
            raise

    def as_event(self, awaitable: Awaitable[Any]) -> simpy.Event:
        """Make a SimPy event that is triggered when a coroutine or future is done.

        A process may yield it. A failure of the awaitable is raised in the process; being
        cancelled counts as a failure.
        """
        event = self.env.event()
        asyncio.ensure_future(awaitable, loop=self).add_done_callback(
            lambda future: _trigger(event, future)
        )
        return event


def _resolve(future: asyncio.Future[Any], event: simpy.Event) -> None:
    if future.done():  # cancelled meanwhile: SimPy reports the failure
        return
    if event.ok:
        future.set_result(event.value)
    else:
        event.defused = True
        future.set_exception(cast("Exception", event.value))


def _trigger(event: simpy.Event, future: asyncio.Future[Any]) -> None:
    if event.triggered:
        if not future.cancelled():
            future.exception()
    elif future.cancelled():
        event.fail(SimulationError("the awaitable that the process waited for was cancelled"))
    elif (error := future.exception()) is None:
        event.succeed(future.result())
    elif isinstance(error, Exception):
        event.fail(error)
    else:
        raise error
