"""Schedule callbacks and wait, at exact moments of virtual time."""

from __future__ import annotations

import asyncio
from heapq import heappush
from typing import TYPE_CHECKING, Any

import simpy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Step", "call_at", "push", "until"]

_NORMAL = simpy.events.NORMAL


class Step:
    """The lightest event that SimPy's heap takes: it calls `callback(step)`.

    `payload` is for the callback. `Environment.step` needs only `callbacks` and `_ok`. A process
    or a Timeout for each request costs several times as much. An object with one pending event at
    a time may itself be a Step, and be pushed again and again (`push`): `SimulatedLoop` leaves
    `callbacks` as they are.
    """

    __slots__ = ("callbacks", "payload")
    _ok = True

    def __init__(self, callback: Callable[[Any], None], payload: Any) -> None:
        self.callbacks: Any = (callback,)
        self.payload = payload


def push(env: simpy.Environment, when: float, step: Step) -> None:
    """Put a step on the heap at a virtual time that has not passed."""
    # SimPy has no public way to name an absolute time; these two are its heap and its counter.
    queue: list[Any] = env._queue  # noqa: SLF001
    heappush(queue, (when, _NORMAL, next(env._eid), step))  # noqa: SLF001


def call_at(
    env: simpy.Environment, when: float, callback: Callable[[Any], None], payload: Any = None
) -> Step:
    """Schedule `callback(step)` at a virtual time, exactly; a past time means now."""
    step = Step(callback, payload)
    push(env, max(env.now, when), step)
    return step


async def until(moment: float) -> None:
    """Wait until a virtual time, exactly; a past time means now."""
    # A relative sleep could miss the moment by an ulp.
    loop = asyncio.get_running_loop()
    reached = loop.create_future()

    def reach() -> None:
        # The waiting task may have been cancelled.
        if not reached.done():
            reached.set_result(None)

    loop.call_at(moment, reach)
    await reached
