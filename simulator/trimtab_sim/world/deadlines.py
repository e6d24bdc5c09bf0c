"""Timeouts of many waits, by one timer: nearly all of them end long before it rings."""

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
        """Take the deadline's coming; `is_over` is set."""


class Deadlines:
    """Ends the waits of one client when their time is up.

    Waits come nearly always in the order of their deadlines, as a client's timeout is the same
    for all; those that do not have a timer of their own. Each wait ends in a step of its own, so
    that whatever follows from it is done before the next one ends.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._waiting: deque[Any] = deque()
        self._is_armed = False

    def add(self, wait: Wait) -> None:
        """Watch a wait from now on."""
        waiting = self._waiting
        if waiting and wait.deadline < waiting[-1].deadline:
            call_at(self._env, wait.deadline, _end_alone, wait)
            return
        waiting.append(wait)
        if not self._is_armed:
            self._is_armed = True
            call_at(self._env, wait.deadline, self._look)

    def _look(self, _step: Any) -> None:
        waiting = self._waiting
        while waiting and waiting[0].is_over:
            waiting.popleft()
        is_due = bool(waiting) and waiting[0].deadline <= self._env.now
        due = waiting.popleft() if is_due else None
        self._is_armed = bool(waiting)
        if waiting:
            call_at(self._env, waiting[0].deadline, self._look)
        if due is not None:
            _end(due)


def _end_alone(step: Any) -> None:
    if not step.payload.is_over:
        _end(step.payload)


def _end(wait: Wait) -> None:
    wait.is_over = True
    wait.expired()
