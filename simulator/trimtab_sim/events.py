"""The lightest event that SimPy's heap takes: one callback, one payload."""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING, Any

import simpy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Step", "call_at", "push"]

_NORMAL = simpy.events.NORMAL


class Step:
    """An event that calls `callback(step)`, with whatever it was given as `payload`.

    `Environment.step` needs only `callbacks` and `_ok`. A process or a Timeout for each request
    costs several times as much. What lives through one event at a time may be a Step itself, and
    be pushed again and again (`push`): `SimulatedLoop` leaves `callbacks` as they are.
    """

    __slots__ = ("callbacks", "payload")
    _ok = True

    def __init__(self, callback: Callable[[Any], None], payload: Any) -> None:
        self.callbacks: Any = (callback,)
        self.payload = payload


def push(env: simpy.Environment, when: float, step: Step) -> None:
    """Put a step on the heap at a virtual time that has not passed."""
    queue: list[Any] = env._queue  # noqa: SLF001 - as above
    heappush(queue, (when, _NORMAL, next(env._eid), step))  # noqa: SLF001


def call_at(
    env: simpy.Environment, when: float, callback: Callable[[Any], None], payload: Any = None
) -> Step:
    """Have `callback(step)` called at a virtual time, exactly; the past means now."""
    step = Step(callback, payload)
    push(env, max(env.now, when), step)
    return step
