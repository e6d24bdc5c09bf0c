"""The lightest event that SimPy's heap takes: one callback, one payload."""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING, Any

import simpy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Step", "call_at"]

_NORMAL = simpy.events.NORMAL


class Step:
    """An event that calls `callback(step)`, with whatever it was given as `payload`.

    `Environment.step` needs only `callbacks` and `_ok`. A process or a Timeout for each request
    costs several times as much.
    """

    __slots__ = ("callbacks", "payload")
    _ok = True

    def __init__(self, callback: Callable[[Any], None], payload: Any) -> None:
        self.callbacks: Any = (callback,)
        self.payload = payload


def call_at(
    env: simpy.Environment, when: float, callback: Callable[[Any], None], payload: Any = None
) -> Step:
    """Have `callback(step)` called at a virtual time, exactly; the past means now."""
    step = Step(callback, payload)
    now = env._now  # noqa: SLF001 - the property costs a call, here on every event
    heappush(env._queue, (max(now, when), _NORMAL, next(env._eid), step))  # noqa: SLF001
    return step
