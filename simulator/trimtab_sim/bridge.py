"""SimPy events and asyncio futures waiting for each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from trimtab_sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import simpy

__all__ = ["Bridge"]


class Bridge(asyncio.AbstractEventLoop):
    """The methods of a simulated loop that join both worlds."""

    env: simpy.Environment

    def as_future(self, event: simpy.Event) -> asyncio.Future[Any]:
        """Make a future that is done when a SimPy event is, with its value or its failure."""
        future = self.create_future()
        if event.callbacks is None:
            _settle(future, event)
        else:
            event.callbacks.append(lambda done: _settle(future, done))
        return future

    async def wait_event(self, event: simpy.Event) -> Any:
        """Wait for a SimPy event (a timeout, a process, a request) and return its value.

        Cancelling the wait takes the waiter off the event. It does not withdraw a request to a
        resource: use `with resource.request() as request: await loop.wait_event(request)`.
        """
        future = self.create_future()
        if event.callbacks is None:
            _settle(future, event)
            return await future

        def settle(done: simpy.Event) -> None:
            _settle(future, done)

        event.callbacks.append(settle)
        try:
            return await future
        except asyncio.CancelledError:
            if event.callbacks is not None:
                event.callbacks.remove(settle)
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


def _settle(future: asyncio.Future[Any], event: simpy.Event) -> None:
    if future.done():  # nobody waits any more: a failure is then SimPy's to report
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
        event.fail(SimulationError("what the process waited for was cancelled"))
    elif (error := future.exception()) is None:
        event.succeed(future.result())
    elif isinstance(error, Exception):
        event.fail(error)
    else:
        raise error
