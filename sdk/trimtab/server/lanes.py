"""Lanes: how many checks run at once, so that hanging ones do not hold up the others.

1. There are three lanes, with a number of places each: for checks that are new, for those whose
   last run was short (up to a second), and for those whose last run was long. Places are given in
   the order in which checks ask for them.
2. A run that becomes long moves to the long lane, before those that wait to start there.
3. In the long lane a run may take as long as its time-out says, unless others wait. Then runs that
   have had their time (10 s, a script 30 s) are ended, one for each that waits. Such a check has
   failed.

So the registry runs at most 192 checks at once. However many checks hang, and whatever their
time-outs, a check that answers at once never waits for them, except when it is new.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lane", "Lanes", "Place"]

_NEW, _SHORT, _LONG = 32, 64, 96
_SHORT_S = 1.0
_AGAIN_S = 0.1


@dataclass(slots=True, eq=False)
class _Waiting:
    place: Place
    admit: Callable[[], None]
    gave_up: bool = False


class Lane:
    """A number of places, given out in order. Belongs to one event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.running: set[Place] = set()
        self.waiting: deque[_Waiting] = deque()

    async def enter(self, place: Place) -> None:
        """Wait for a place, and take it."""
        admitted = asyncio.Event()
        waiting = self.ask(place, admitted.set)
        try:
            await admitted.wait()
        except asyncio.CancelledError:
            waiting.gave_up = True
            self.leave(place)
            raise

    def ask(self, place: Place, admit: Callable[[], None], *, first: bool = False) -> _Waiting:
        """Call `admit` once there is a place, which is taken then; that may be now."""
        waiting = _Waiting(place, admit)
        (self.waiting.appendleft if first else self.waiting.append)(waiting)
        self._admit()
        return waiting

    def leave(self, place: Place) -> None:
        """Give a place back, if the check has one, and let the next ones in."""
        self.running.discard(place)
        self._admit()

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.size:
            following = self.waiting.popleft()
            if not following.gave_up:
                self.running.add(following.place)
                following.admit()


class Lanes:
    """The three lanes."""

    def __init__(self, *, new: int = _NEW, short: int = _SHORT, long: int = _LONG) -> None:
        self.new, self.short, self.long = Lane(new), Lane(short), Lane(long)
        self._timer: asyncio.TimerHandle | None = None

    def make_room(self) -> None:
        """While checks wait for the long lane, end runs there that have had their time."""
        if self._timer is None and self.long.waiting:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN_S, self._make_room)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer:
            self._timer.cancel()

    def _make_room(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        due = [each for each in self.long.running if each.entitled_until <= now]
        due.sort(key=lambda each: each.entitled_until)
        for place in due[: sum(not each.gave_up for each in self.long.waiting)]:
            place.end()
        self.make_room()


class Place:
    """One check's place in the lanes, for one run after another: `async with`.

    Args:
        lanes: the lanes.
        entitled_s: how long a run may take even if others wait, in seconds.
        end: called to end the run before its time-out.

    Attributes:
        entitled_until: the time until which the present run may take even if others wait.
    """

    def __init__(self, lanes: Lanes, entitled_s: float, end: Callable[[], None]) -> None:
        self.entitled_until = 0.0
        self.end = end
        self._entitled_s = entitled_s
        self._lanes, self._lane = lanes, lanes.new
        self._moving: _Waiting | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.entitled_until = loop.time() + self._entitled_s
        loop.call_soon(self._lanes.make_room)  # once this check is among those that wait
        await self._lane.enter(self)
        self.entitled_until = loop.time() + self._entitled_s
        if self._lane is not self._lanes.long:
            self._timer = loop.call_later(_SHORT_S, self._move)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._timer:
            self._timer.cancel()
        if self._moving:
            self._moving.gave_up = True
        took_s = asyncio.get_running_loop().time() - self.entitled_until + self._entitled_s
        self._moving = self._timer = None
        self._lane.leave(self)
        self._lane = self._lanes.long if took_s > _SHORT_S else self._lanes.short

    def _move(self) -> None:
        """Go over to the long lane, now or as soon as there is a place."""
        self._timer = None
        moving = self._lanes.long.ask(self, self._moved, first=True)
        if self._lane is not self._lanes.long:
            self._moving = moving
            self._lanes.make_room()

    def _moved(self) -> None:
        before, self._lane, self._moving = self._lane, self._lanes.long, None
        before.leave(self)
