"""The modelled network of one instance, at the depth `client`."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trimtab.strategies import ASK_HEADER, LOAD_PATH, REPORT_HEADER
from trimtab_sim.world.attempts import Attempt, Ending, send
from trimtab_sim.world.http_clients import RECORD, RequestRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab import Instance
    from trimtab_sim.world.http_clients import HttpClient
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server

__all__ = ["ModelTransport"]

_End: TypeAlias = "tuple[Ending | Literal['silent'], int]"
_ERRORS = {
    "refused": ("ConnectError", "the simulated server refuses connections"),
    "broken": ("ReadError", "the simulated server broke the connection off"),
    "silent": ("ReadTimeout", "the simulated server does not answer"),
}


class ModelTransport:
    """An inner transport of `BalancedTransport` that sends to a modelled server.

    The server is the one that has the instance's address when an attempt is sent.
    """

    def __init__(self, client: HttpClient, instance: Instance) -> None:
        self._client = client
        self._instance = instance
        self._body = _body(client.module)()

    async def handle_async_request(self, request: Any) -> Any:
        """Send an attempt; raise the error of the client's family if it fails."""
        client = self._client
        world = client.world
        server = world.route(self._instance)
        timeout_s = request.extensions["timeout"]["read"]
        attempt: _AwaitedAttempt
        if request.url.path == LOAD_PATH:
            record = RequestRecord(world.next_request())
            attempt = _AwaitedQuestion(client.place, server, record, 0)
        else:
            record = request.extensions[RECORD]
            number = client.note_sent(record, server)
            attempt = _AwaitedAttempt(client.place, server, record, number)
            attempt.wants_load = ASK_HEADER in request.headers
        if timeout_s is not None:
            attempt.deadline = world.env.now + timeout_s
            client.deadlines.add(attempt)
        send(world.env, world.network, attempt)
        try:
            ending, status = await attempt.end
        finally:
            attempt.is_over = True
        # Of two attempts at the same time, the one that ended first counts.
        record.server = server.place.index
        if ending == "answered":
            headers = {REPORT_HEADER: attempt.load} if attempt.load else None
            return client.module.Response(
                status, headers=headers, stream=self._body, request=request
            )
        name, message = _ERRORS[ending]
        raise getattr(client.module, name)(message, request=request)

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


class _AwaitedAttempt(Attempt):
    """An attempt that a task waits for."""

    __slots__ = ("deadline", "end")

    def __init__(self, client: Place, server: Server, record: RequestRecord, number: int) -> None:
        # Calling the base's constructor would cost another call for each attempt.
        self.client = client
        self.server = server
        self.request = record.request
        self.number = number
        self.cost = record.cost
        self.is_over = False
        self.life = 0
        self.wants_load = False
        self.load = ""
        self.deadline = float("inf")
        # It is never put into a set, so it does not need the loop's stable hash, and costs less.
        self.end: asyncio.Future[_End] = asyncio.Future()

    def arrived(self, ending: Ending, status: int) -> None:
        """Wake the task with the outcome."""
        self.is_over = True
        self._wake(ending, status)

    def expired(self) -> None:
        """Wake the task: the time-out is over."""
        self._wake("silent", 0)

    def _wake(self, ending: Ending | Literal["silent"], status: int) -> None:
        # The task may have been cancelled in the same turn of the loop.
        if not self.end.done():
            self.end.set_result((ending, status))


class _AwaitedQuestion(_AwaitedAttempt):
    """A question for the server's load that a task waits for."""

    is_question = True
    __slots__ = ()


@cache
def _body(module: Any) -> type[Any]:
    base: Any = module.AsyncByteStream

    class SmallBody(base):  # type: ignore[misc] # known at run time only
        """A streamed body that arrives together with the head."""

        def __aiter__(self) -> AsyncIterator[bytes]:
            return _Chunks()

    return SmallBody


class _Chunks:
    """An iterator over one chunk. An asynchronous generator costs more: its hooks run each time."""

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
