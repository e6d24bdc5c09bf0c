"""What stands for one instance's network at the depth `client`: an attempt is a trip."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trimtab_sim.world.http_clients import RIDE
from trimtab_sim.world.trips import Fate, Trip, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab import Instance
    from trimtab_sim.world.http_clients import HttpClient, Ride
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server

__all__ = ["ModelTransport"]

_End: TypeAlias = "tuple[Fate | Literal['silent'], int]"
_ERRORS = {
    "refused": ("ConnectError", "the simulated server refuses connections"),
    "broken": ("ReadError", "the simulated server broke the connection off"),
    "silent": ("ReadTimeout", "the simulated server does not answer"),
}


class ModelTransport:
    """An inner transport of `BalancedTransport` whose far end is a modelled server.

    The server is whoever has the instance's address at the moment of sending.
    """

    def __init__(self, client: HttpClient, instance: Instance) -> None:
        self._client = client
        self._instance = instance
        self._body = _body(client.module)()

    async def handle_async_request(self, request: Any) -> Any:
        """Make the trip; raise what the client's family raises when it fails."""
        client = self._client
        world = client.world
        server = world.route(self._instance)
        ride = request.extensions[RIDE]
        timeout_s = request.extensions["timeout"]["read"]
        trip = _Trip(client.place, server, ride, client.departs(ride, server))
        if timeout_s is not None:
            trip.deadline = world.env.now + timeout_s
            client.deadlines.add(trip)
        send(world.env, world.network, trip)
        try:
            fate, status = await trip.end
        finally:
            trip.is_over = True
        # Of two side by side, the one that ended is the one that matters.
        ride.server = server.place.index
        if fate == "answered":
            return client.module.Response(status, stream=self._body, request=request)
        name, message = _ERRORS[fate]
        raise getattr(client.module, name)(message, request=request)

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


class _Trip(Trip):
    """A trip that a task waits for."""

    __slots__ = ("deadline", "end")

    def __init__(self, client: Place, server: Server, ride: Ride, attempt: int) -> None:
        # Its base's constructor would cost another call at each attempt.
        self.client = client
        self.server = server
        self.request = ride.request
        self.attempt = attempt
        self.is_over = False
        self.life = 0
        self.deadline = float("inf")
        # Nobody puts it into a set: it need not have the loop's stable hash, and costs less.
        self.end: asyncio.Future[_End] = asyncio.Future()

    def arrived(self, fate: Fate, status: int) -> None:
        """Wake the task with the outcome."""
        self.is_over = True
        self._wake(fate, status)

    def expired(self) -> None:
        """Wake the task: its time is up."""
        self._wake("silent", 0)

    def _wake(self, fate: Fate | Literal["silent"], status: int) -> None:
        # The task may have been cancelled in this very turn.
        if not self.end.done():
            self.end.set_result((fate, status))


@cache
def _body(module: Any) -> type[Any]:
    base: Any = module.AsyncByteStream

    class SmallBody(base):  # type: ignore[misc] # known at run time only
        """A streamed body that comes with the head."""

        def __aiter__(self) -> AsyncIterator[bytes]:
            return _Chunks()

    return SmallBody


class _Chunks:
    """One chunk. An asynchronous generator would cost its hooks at each response."""

    __slots__ = ("_is_over",)

    def __init__(self) -> None:
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        self._is_over = True
        return b"ok"
