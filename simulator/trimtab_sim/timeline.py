"""When actions are applied to the world: the timeline, the churn, and the healing."""

from __future__ import annotations

import asyncio
from math import log
from typing import TYPE_CHECKING

from trimtab_sim.effects import apply
from trimtab_sim.events import until
from trimtab_sim.streams import stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab_sim.scenario import actions as a
    from trimtab_sim.world.world import World

__all__ = ["Director", "Event"]


class Event:
    """An applied action, for reports: its name, and when it began and ended."""

    __slots__ = ("at", "label", "until")

    def __init__(self, at: float, label: str) -> None:
        self.at = at
        self.label = label
        self.until: float | None = None


class Director:
    """Apply the timeline and the churn to the world, and heal it at the end.

    Attributes:
        events: the applied actions, in order.
        rng: chooses targets.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.events: list[Event] = []
        self.rng = stream(world.seed, "timeline", "targets")
        self._undoings: dict[int, Callable[[], None]] = {}
        self._serial = 0
        self._healed = False

    def start(self) -> None:
        """Schedule everything."""
        scenario = self.world.scenario
        for action in scenario.timeline:
            self.world.spawn(self._apply_at(action.at or 0.0, action))
        for index, churn in enumerate(scenario.churn):
            self.world.spawn(self._churn(churn, stream(self.world.seed, "churn", str(index))))
        if scenario.about.heal is not None:
            self.world.spawn(self._heal_at(scenario.about.heal))

    async def _apply_at(self, moment: float, action: a.Action) -> None:
        await until(moment)
        await self._apply(action, self.rng)

    async def _apply(self, action: a.Action, rng: Random) -> None:
        event = Event(self.world.env.now, str(type(action).__struct_config__.tag))
        self.events.append(event)
        undo = await apply(action, self.world, rng)
        duration = getattr(action, "duration", None)
        if undo is None:
            if self.world.env.now > event.at:
                event.until = self.world.env.now  # it took a while, as a deploy does
            return
        self._serial += 1
        serial = self._serial

        def end() -> None:
            if self._undoings.pop(serial, None) is not None:
                event.until = self.world.env.now
                undo()

        self._undoings[serial] = end
        if duration is not None:
            asyncio.get_running_loop().call_at(event.at + duration, end)

    async def _churn(self, churn: a.Churn, rng: Random) -> None:
        scenario = self.world.scenario
        start = scenario.about.warmup if churn.from_ is None else churn.from_
        last = scenario.about.duration if scenario.about.heal is None else scenario.about.heal
        if churn.until is not None:
            last = min(last, churn.until)
        moment, times = start, 0
        while churn.at_most is None or times < churn.at_most:
            moment -= log(1.0 - rng.random()) * churn.every
            if moment > last:
                return
            await until(moment)
            if self._healed:
                return
            # A task of its own: a slow action must not delay the next one.
            self.world.spawn(self._apply(churn.do, rng))
            times += 1

    async def _heal_at(self, moment: float) -> None:
        await until(moment)
        self._healed = True
        self.events.append(Event(self.world.env.now, "heal"))
        for end in list(self._undoings.values()):
            end()
