"""Drivers of the request machine: they carry out its steps, and hold no rule.

`drive` blocks its thread; `drive_async` runs on asyncio and trio. Both do what
`trimtab.calls.request` says: send an attempt, wait, ask for load, discard a response, end. How an
attempt is sent, and what its end means, is said by a `Delivery`: over httpx in
`trimtab.transports`, by the user's own function in `Balancer`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from trimtab.calls import ANSWER, Ask, Wait
from trimtab.http import native_cancellations
from trimtab.pool import Pick

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from trimtab.balancing.service import Service
    from trimtab.calls import Fail, Request, Step

__all__ = ["Bell", "Delivery", "drive", "drive_async", "raise_swallowed"]


class Delivery(Protocol):
    """One request of a caller: how its attempts are sent, and what comes of them.

    `send`, `ask` and `discard` are async functions for `drive_async`. `send` returns the response,
    or raises; `answered` and `failed` translate these for the machine and return its next step.
    The request has begun.
    """

    service: Service
    request: Request

    def send(self, pick: Pick) -> Any:
        """Send one attempt and return its response."""

    def ask(self, step: Ask) -> Any:
        """Ask instances for their load, and report what they say; raise nothing for it."""

    def answered(self, pick: Pick, response: Any) -> Step:
        """Take a response."""

    def failed(self, pick: Pick, error: Exception) -> Step:
        """Take the error of an attempt."""

    def discard(self, pick: Pick, response: Any) -> Any:
        """Close a response that the caller does not get."""

    def finish(self, pick: Pick, response: Any) -> Any:
        """Return what the caller gets for a response."""

    def error(self, fail: Fail) -> BaseException:
        """Return the error that the caller gets; its cause is set."""


def drive(delivery: Delivery, step: Step) -> Any:
    """Carry out a request in this thread, from its first step, and return its answer."""
    try:
        while True:
            if isinstance(step, Pick):
                pick = step
                try:
                    response = delivery.send(pick)
                except Exception as error:  # noqa: BLE001 - the machine decides on it
                    step = delivery.failed(pick, error)
                    continue
                step = delivery.answered(pick, response)
                if step is ANSWER:
                    return delivery.finish(pick, response)
                with suppress(Exception):
                    delivery.discard(pick, response)
            elif isinstance(step, Wait):
                step = _wait(delivery.service, delivery.request, step)
            elif isinstance(step, Ask):
                delivery.ask(step)
                step = delivery.service.resumed(delivery.request)
            else:
                raise delivery.error(_fail(step))  # noqa: TRY301 - the same end as any error
    except BaseException:
        delivery.service.cancelled(delivery.request)
        raise


async def drive_async(delivery: Delivery, step: Step) -> Any:
    """Carry out a request in this task, from its first step, and return its answer."""
    request, service = delivery.request, delivery.service
    try:
        if request.deadline_at == inf:
            return await _drive(delivery, step)
        before = native_cancellations()
        with anyio.move_on_after(request.deadline_at - service.clock()):
            return await _drive(delivery, step)
        raise_swallowed(before)
    except BaseException:
        service.cancelled(request)
        raise
    raise delivery.error(_fail(service.deadline_passed(request)))


async def _drive(delivery: Delivery, step: Step) -> Any:
    request = delivery.request
    while True:
        if isinstance(step, Pick):
            if request.wake_at is not None:
                race = _SideBySide(delivery)
                step = await race.run(step)
                if step is ANSWER:
                    return delivery.finish(*race.answer)
                continue
            pick = step
            try:
                response = await delivery.send(pick)
            except Exception as error:  # noqa: BLE001 - the machine decides on it
                step = delivery.failed(pick, error)
                continue
            step = delivery.answered(pick, response)
            if step is ANSWER:
                return delivery.finish(pick, response)
            await _discard(delivery, pick, response)
        elif isinstance(step, Wait):
            step = await _wait_async(delivery.service, request, step)
        elif isinstance(step, Ask):
            await delivery.ask(step)
            step = delivery.service.resumed(request)
        else:
            raise delivery.error(_fail(step))


async def _discard(delivery: Delivery, pick: Pick, response: Any) -> None:
    # The machine has decided on the next step; a deadline must not interrupt this.
    with anyio.CancelScope(shield=True), suppress(Exception):
        await delivery.discard(pick, response)


def raise_swallowed(before: int) -> None:
    """Raise the cancellation of this task that a task group or a cancel scope swallowed."""
    if native_cancellations() > before:
        raise asyncio.CancelledError


def _fail(step: Any) -> Fail:
    assert step is not None, "the machine has nothing out and nothing to wait for"
    return step  # type: ignore[no-any-return] # what is left of the kinds of steps


# -- waiting -------------------------------------------------------------------------------------


def _wait(service: Service, request: Request, step: Step) -> Step:
    woken = threading.Event()
    request.wake = woken.set
    # It may have been woken before there was something to wake.
    step = service.resumed(request)
    while isinstance(step, Wait):
        left_s = step.until - service.clock()
        woken.wait(min(max(left_s, 0.0), threading.TIMEOUT_MAX))
        woken.clear()
        step = service.resumed(request)
    return step


async def _wait_async(service: Service, request: Request, step: Step) -> Step:
    bell = Bell()
    request.wake = bell.ring
    step = service.resumed(request)
    while isinstance(step, Wait):
        await bell.wait(step.until - service.clock())
        step = service.resumed(request)
    return step


class Bell:
    """An event that any thread can set, on asyncio and trio."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._event = anyio.Event()
        try:
            self._soon = asyncio.get_running_loop().call_soon_threadsafe
        except RuntimeError:
            trio: Any = sys.modules["trio"]
            self._soon = trio.lowlevel.current_trio_token().run_sync_soon

    def ring(self) -> None:
        """Wake the task that waits."""
        if threading.get_ident() == self._thread:
            self._event.set()
        else:
            # Its loop may have ended, and the task with it.
            with suppress(RuntimeError):
                self._soon(self._set)

    async def wait(self, timeout_s: float) -> None:
        """Wait until it rings, or for so long."""
        before = native_cancellations()
        with anyio.move_on_after(max(timeout_s, 0.0)):
            await self._event.wait()
        raise_swallowed(before)
        self._event = anyio.Event()

    def _set(self) -> None:
        self._event.set()


# -- attempts side by side -----------------------------------------------------------------------


class _SideBySide:
    """An attempt that may get a second one beside it.

    Each attempt runs in its own task and cancel scope. The caller's task is in none of these
    scopes. So a cancellation by the caller is never confused with ours.

    Attributes:
        answer: the pick and the response that won.
    """

    answer: tuple[Pick, Any]

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        # Ends of attempts: their pick, response and error; None: the time for a hedge has come.
        self._ends: deque[tuple[Pick, Any, Exception | None] | None] = deque()
        self._news = anyio.Event()
        self._scopes: list[anyio.CancelScope] = []
        self._cut_off: BaseException | None = None

    async def run(self, first: Pick) -> Step:
        """Return the step that follows when no attempt is out any more, or one has won."""
        step: Step = None
        mistake: Exception | None = None
        before = native_cancellations()
        try:
            async with anyio.create_task_group() as group:
                try:
                    step = await self._settle(group, first)
                except Exception as error:  # noqa: BLE001 - raised below, and not in a group
                    mistake = error
                # The machine has decided: a deadline that comes while others end changes nothing.
                group.cancel_scope.shield = True
                for scope in self._scopes:
                    scope.cancel()
            if step is None and mistake is None:
                # A client may cancel its own calls, as a channel of gRPC does when it is closed.
                raise self._cut_off or asyncio.CancelledError  # noqa: TRY301 - as any cancellation
            raise_swallowed(before)
        except BaseException:
            if step is ANSWER:  # The caller does not get it.
                self._ends.append((*self.answer, None))
            raise
        finally:
            await self._discard_late()
        if mistake is not None:
            raise mistake
        return step

    async def _settle(self, group: TaskGroup, step: Step) -> Step:
        request = self._delivery.request
        while isinstance(step, Pick) or step is None:
            if step is not None:
                self._start(group, self._try, step)
                if request.wake_at is not None:
                    self._start(group, self._ring_at, request.wake_at)
            while not self._ends:
                self._news = anyio.Event()
                await self._news.wait()
            step = await self._take(self._ends.popleft())
        return step

    def _start(self, group: TaskGroup, function: Any, argument: Any) -> None:
        scope = anyio.CancelScope()
        self._scopes.append(scope)
        group.start_soon(function, argument, scope)

    async def _try(self, pick: Pick, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                response = await self._delivery.send(pick)
            except Exception as error:  # noqa: BLE001 - the machine decides on it
                self._ends.append((pick, None, error))
            except BaseException as error:
                self._cut_off = error
                raise
            else:
                self._ends.append((pick, response, None))
            self._news.set()

    async def _ring_at(self, at: float, scope: anyio.CancelScope) -> None:
        with scope:
            await anyio.sleep(max(at - self._delivery.service.clock(), 0.0))
            self._ends.append(None)
            self._news.set()

    async def _take(self, end: tuple[Pick, Any, Exception | None] | None) -> Step:
        delivery = self._delivery
        if end is None:
            return delivery.service.resumed(delivery.request)
        pick, response, error = end
        if error is not None:
            return delivery.failed(pick, error)
        step = delivery.answered(pick, response)
        if step is ANSWER:
            self.answer = (pick, response)
        else:
            await _discard(delivery, pick, response)
        return step

    async def _discard_late(self) -> None:
        """Close the responses that came in the same moment as the winner, or too late."""
        while self._ends:
            end = self._ends.popleft()
            if end is not None and end[2] is None:
                await _discard(self._delivery, end[0], end[1])
