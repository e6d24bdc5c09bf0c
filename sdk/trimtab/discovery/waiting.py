"""Requests that wait for room on an instance: first come, first served, so many and so long."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Turn", "Waiting"]


class Turn:
    """One request's place in the queue.

    Args:
        wake: called when it may try; from whichever thread made room.
        joined_at: since when it waits, on the service's clock.
    """

    __slots__ = ("joined_at", "wake")

    def __init__(self, wake: Callable[[], object], joined_at: float) -> None:
        self.wake = wake
        self.joined_at = joined_at


class Waiting:
    """The queue of one service. Callers hold the service's lock; `wake` is called under it.

    Args:
        max_pending: how many may wait.

    Attributes:
        count: how many do, those that may try now among them. While somebody waits, nobody may
            jump the queue.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._turns: OrderedDict[Turn, None] = OrderedDict()
        self._called: set[Turn] = set()
        self.count = 0

    def join(self, turn: Turn) -> bool:
        """Take a place at the end; say whether there was one."""
        if self.count >= self._max_pending:
            return False
        self._turns[turn] = None
        self.count += 1
        return True

    @property
    def is_called(self) -> bool:
        """Whether somebody was called who has neither gone nor tried in vain."""
        return bool(self._called)

    def call(self) -> None:
        """Let the first one try."""
        if self._turns:
            turn, _ = self._turns.popitem(last=False)
            self._called.add(turn)
            turn.wake()

    def back(self, turn: Turn) -> None:
        """Put one that tried in vain back to the front."""
        self._called.discard(turn)
        self._turns[turn] = None
        self._turns.move_to_end(turn, last=False)

    def leave(self, turn: Turn) -> bool:
        """Give up a place; say whether it was that of one that may try, and had not yet."""
        was_called = turn in self._called
        if was_called or turn in self._turns:
            self.count -= 1
        self._called.discard(turn)
        self._turns.pop(turn, None)
        return was_called
