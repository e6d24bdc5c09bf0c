"""Time-outs of many waits by one timer. Nearly all waits end long before it expires."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from trimtab_sim.events import call_at

if TYPE_CHECKING:
    import simpy

__all__ = ["Deadlines"]


class Wait(Protocol):
    """Something that ends by itself, or at its deadline."""

    deadline: float
    is_over: bool

    def expired(self) -> None:
        """Handle that the deadline has passed; `is_over` is set before."""


class Deadlines:
    """Ends the waits of one client at their deadlines.

    All requests of a client have the same time-out, so the waits come nearly always in the order
    of their deadlines. A wait that does not gets its own timer. Each wait ends in a step of its
    own, so that its consequences are complete before the next one ends.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._waiting: deque[Any] = deque()
        self._is_armed = False

    def add(self, wait: Wait) -> None:
        """End a wait at its deadline, unless it is over before."""
        waiting = self._waiting
        if waiting and wait.deadline < waiting[-1].deadline:
            call_at(self._env, wait.deadline, _end_alone, wait)
            return
        waiting.append(wait)
        if not self._is_armed:
            self._is_armed = True
            call_at(self._env, wait.deadline, self._check)

    def _check(self, _step: Any) -> None:
        waiting = self._waiting
        while waiting and waiting[0].is_over:
            waiting.popleft()
        is_due = bool(waiting) and waiting[0].deadline <= self._env.now
        due = waiting.popleft() if is_due else None
        self._is_armed = bool(waiting)
        if waiting:
            call_at(self._env, waiting[0].deadline, self._check)
        if due is not None:
            _end(due)


def _end_alone(step: Any) -> None:
    if not step.payload.is_over:
        _end(step.payload)


def _end(wait: Wait) -> None:
    wait.is_over = True
    wait.expired()
