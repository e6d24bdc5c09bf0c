"""One attempt, or two side by side: whichever answers first wins, and the other is cancelled."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from trimtab.errors import PickError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from trimtab.transports.exchange import Attempt, Exchange

__all__ = ["End", "race", "try_once"]


@dataclass(slots=True)
class End:
    """How an attempt ended.

    Attributes:
        attempt: which one.
        response: what came, if anything; not yet noted as the request's answer.
        error: what went wrong, if anything.
        wait_s: how long to wait before another attempt; None if there is to be none.
    """

    attempt: Attempt
    response: Any
    error: Exception | None
    wait_s: float | None

    @property
    def is_answer(self) -> bool:
        """Whether the response is what the request asked for."""
        return self.error is None and self.wait_s is None

    async def discard(self) -> None:
        """Close a response that is not wanted, and free its connection."""
        if self.response is not None:
            is_clean = False
            try:
                await self.response.aclose()
                is_clean = True
            finally:
                self.attempt.released(is_clean=is_clean)


async def try_once(exchange: Exchange, attempt: Attempt) -> End:
    """Make one attempt."""
    try:
        response = await attempt.transport.handle_async_request(attempt.request)
    except Exception as error:  # noqa: BLE001 - told by the caller, in words
        return End(attempt, None, error, exchange.failed(attempt, error))
    except BaseException as error:
        exchange.failed(attempt, error)
        raise
    return End(attempt, response, None, exchange.rejected(attempt, response))


async def race(exchange: Exchange, first: Attempt, delay_s: float) -> End:
    """Make an attempt, and another one beside it if the first has not ended in `delay_s`.

    Returns:
        The first answer; without one, the last end.
    """
    return await _Race(exchange).run(first, delay_s)


class _Race:
    """The attempts of one request that are under way at the same time."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._ends: deque[End] = deque()
        self._winner: End | None = None
        self._news = anyio.Event()
        self._running = 0

    async def run(self, first: Attempt, delay_s: float) -> End:
        """See `race`."""
        try:
            async with anyio.create_task_group() as group:
                end = self._winner = await self._first_answer(group, first, delay_s)
                group.cancel_scope.cancel()
            await self._tidy_up()
        except BaseException:
            if self._winner is not None:  # The caller does not get it.
                self._ends.append(self._winner)
            await self._tidy_up()
            raise
        return end

    async def _first_answer(self, group: TaskGroup, first: Attempt, delay_s: float) -> End:
        self._start(group, first)
        with anyio.move_on_after(delay_s):
            await self._news.wait()
        if not self._ends and self._exchange.may_hedge():
            # Nobody else to ask, after all: the first one goes on alone.
            with suppress(PickError):
                self._start(group, self._exchange.attempt())
        end = await self._next()
        while self._running and not end.is_answer:
            await end.discard()
            end = await self._next()
        return end

    def _start(self, group: TaskGroup, attempt: Attempt) -> None:
        self._running += 1
        group.start_soon(self._try, attempt)

    async def _try(self, attempt: Attempt) -> None:
        exchange = self._exchange
        try:
            response = await attempt.transport.handle_async_request(attempt.request)
        except Exception as error:  # noqa: BLE001 - told by the caller, in words
            end = End(attempt, None, error, exchange.failed(attempt, error))
        except BaseException as error:
            if self._winner is not None:
                exchange.lost(attempt)
            else:
                exchange.failed(attempt, error)
            raise
        else:
            end = End(attempt, response, None, exchange.rejected(attempt, response))
        self._ends.append(end)
        self._news.set()

    async def _next(self) -> End:
        while not self._ends:
            self._news = anyio.Event()
            await self._news.wait()
        self._running -= 1
        return self._ends.popleft()

    async def _tidy_up(self) -> None:
        """Give back what is left over when the race has ended, however it did."""
        with anyio.CancelScope(shield=True):
            while self._ends:
                await self._drop(self._ends.popleft())

    async def _drop(self, late: End) -> None:
        """Let go of an answer that came in the same moment as the winner."""
        if late.is_answer:
            try:
                await late.response.aclose()
            finally:
                self._exchange.lost(late.attempt)
        else:
            await late.discard()
