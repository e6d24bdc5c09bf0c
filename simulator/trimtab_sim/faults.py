"""What happens to the world: the actions of a scenario, done and undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import singledispatch
from math import ceil, log
from random import Random
from typing import TYPE_CHECKING, Any

from trimtab_sim.scenario import actions as a
from trimtab_sim.scenario.content import ServerGroup
from trimtab_sim.streams import stream
from trimtab_sim.world.network import Partition
from trimtab_sim.world.places import Side
from trimtab_sim.world.world import World

if TYPE_CHECKING:
    from trimtab_sim.world.world import Runner

__all__ = ["Director", "Event"]




class Event:
    """Something that happened, for reports: when it began and ended, and a word for it."""

    __slots__ = ("at", "label", "until")

    def __init__(self, at: float, label: str) -> None:
        self.at = at
        self.label = label
        self.until: float | None = None


class Director:
    """Has the timeline and the churn happen, and heals the world at the end.

    Attributes:
        events: what has happened, in order.
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
            self.world.spawn(self._happen_at(action.at or 0.0, action))
        for index, churn in enumerate(scenario.churn):
            self.world.spawn(self._churn(churn, stream(self.world.seed, "churn", str(index))))
        if scenario.about.heal is not None:
            self.world.spawn(self._heal_at(scenario.about.heal))

    async def _happen_at(self, moment: float, action: a.Action) -> None:
        await _until(moment)
        await self._happen(action, self.rng)

    async def _happen(self, action: a.Action, rng: Random) -> None:
        event = Event(self.world.env.now, str(type(action).__struct_config__.tag))
        self.events.append(event)
        undo = await happen(action, self.world, rng)
        duration = getattr(action, "duration", None)
        if undo is None:
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
        last = churn.until or scenario.about.heal or scenario.about.duration
        moment, times = start, 0
        while churn.at_most is None or times < churn.at_most:
            moment -= log(1.0 - rng.random()) * churn.every
            if moment > last:
                return
            await _until(moment)
            if self._healed:
                return
            await self._happen(churn.do, rng)
            times += 1

    async def _heal_at(self, moment: float) -> None:
        await _until(moment)
        self._healed = True
        self.events.append(Event(self.world.env.now, "heal"))
        for end in list(self._undoings.values()):
            end()


async def _until(moment: float) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    # At the moment itself: a relative sleep would land an ulp beside it.
    loop.call_at(moment, lambda: future.done() or future.set_result(None))
    await future


def choose(targets: Any, world: World, rng: Random) -> list[Runner]:
    """Return the servers that `targets` means, among those that are there."""
    there = [runner for runner in world.runners if runner.is_there]
    if targets == "all":
        return there
    if targets.index is not None:
        wanted = set(targets.index)
        return [runner for runner in world.runners if runner.server.place.index in wanted]
    if targets.zone is not None:
        return [runner for runner in there if runner.server.place.zone == targets.zone]
    count = targets.count if targets.count is not None else max(1, ceil(targets.share * len(there)))
    chosen = rng.sample(there, min(count, len(there)))
    return sorted(chosen, key=lambda runner: runner.server.place.index)


@singledispatch
async def happen(action: Any, world: World, rng: Random) -> Callable[[], None] | None:  # noqa: ARG001
    """Do an action; return how to undo it, or None if it cannot or need not be."""
    raise TypeError(f"no action {action!r}")


@happen.register
async def _(action: a.Crash, world: World, rng: Random) -> Callable[[], None]:
    runners = [r for r in choose(action.targets, world, rng) if r.is_there]
    for runner in runners:
        world.crash(runner)
    return lambda: [world.restart(r) for r in runners if not r.is_leaving and not r.server.is_alive]  # type: ignore[return-value]


@happen.register
async def _(action: a.BlackHole, world: World, rng: Random) -> Callable[[], None]:
    runners = [r for r in choose(action.targets, world, rng) if r.is_there]
    for runner in runners:
        world.vanish(runner, stays_registered=action.heartbeats)
    return lambda: [world.reappear(r) for r in runners if not r.is_leaving and r.server.is_dark]  # type: ignore[return-value]


@happen.register
async def _(action: a.Hang, world: World, rng: Random) -> Callable[[], None]:
    runners = choose(action.targets, world, rng)
    for runner in runners:
        runner.server.is_hung = True
    return lambda: [runner.server.wake() for runner in runners]  # type: ignore[return-value]


@happen.register
async def _(action: a.Slow, world: World, rng: Random) -> Callable[[], None]:
    runners = choose(action.targets, world, rng)
    return _set_all(runners, "factor", lambda server: server.factor * action.factor,
                    lambda server: server.factor / action.factor)


@happen.register
async def _(action: a.Errors, world: World, rng: Random) -> Callable[[], None]:
    return _set_all(choose(action.targets, world, rng), "error",
                    lambda _: (action.rate, action.status), lambda _: None)


@happen.register
async def _(action: a.Refuse, world: World, rng: Random) -> Callable[[], None]:
    return _set_all(choose(action.targets, world, rng), "is_refusing", lambda _: True, lambda _: False)


@happen.register
async def _(action: a.Gray, world: World, rng: Random) -> Callable[[], None]:
    return _set_all(choose(action.targets, world, rng), "gray", lambda _: action, lambda _: None)


@happen.register
async def _(action: a.Flap, world: World, rng: Random) -> Callable[[], None]:
    runners = choose(action.targets, world, rng)
    flapping = asyncio.get_running_loop().create_task(_flap(action, world, runners))

    def undo() -> None:
        flapping.cancel()
        for runner in runners:
            if not runner.is_leaving and not runner.server.is_alive:
                world.restart(runner)

    return undo


async def _flap(action: a.Flap, world: World, runners: list[Runner]) -> None:
    start, turn = world.env.now, 0
    while True:
        for runner in runners:
            if runner.is_there:
                world.crash(runner)
        await _until(start + (turn + action.down) * action.period)
        for runner in runners:
            if not runner.is_leaving and not runner.server.is_alive:
                world.restart(runner)
        turn += 1
        await _until(start + turn * action.period)


@happen.register
async def _(action: a.Partition, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    partition = Partition(action.from_, action.to, both_ways=action.both_ways)
    world.network.cut(partition)

    def undo() -> None:
        world.network.mend(partition)
        # Whoever waited for an answer through the partition waits in vain; new questions work.
        world.registry.wake_readers()

    return undo


@happen.register
async def _(action: a.ClockSkew, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    side = Side(action.of)
    places = [client.place for client in world.clients] + [r.server.place for r in world.runners]
    skewed = [place for place in [*places, world.registry.place] if side.holds(place)]
    for place in skewed:
        place.skew_s += action.offset_s

    def undo() -> None:
        for place in skewed:
            place.skew_s -= action.offset_s

    return undo


@happen.register
async def _(action: a.Add, world: World, rng: Random) -> None:  # noqa: ARG001
    group = ServerGroup(count=action.count, zone=action.zone, weight=action.weight)
    start = world.env.now
    for number in range(action.count):
        await _until(start + number * action.every)
        world.add_server(group)


@happen.register
async def _(action: a.Remove, world: World, rng: Random) -> None:
    for runner in choose(action.targets, world, rng):
        if runner.is_there:
            await world.remove(runner, action.drain)


@happen.register
async def _(action: a.Replace, world: World, rng: Random) -> None:
    start = world.env.now
    for number, runner in enumerate(choose(action.targets, world, rng)):
        await _until(start + number * action.every)
        like = runner.server.instance if action.same_address else None
        if action.order == "add_first":
            world.add_server(runner.group, like=like)
            await _until(start + (number + 1) * action.every)
            await _leave(world, runner, action.drain)
        else:
            await _leave(world, runner, action.drain)
            await _until(start + (number + 1) * action.every)
            world.add_server(runner.group, like=like)


async def _leave(world: World, runner: Runner, drain_s: float) -> None:
    # It may have crashed in the meantime; then there is nobody to leave.
    if runner.is_there:
        await world.remove(runner, drain_s)


@happen.register
async def _(action: a.Load, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    sources = [c.source for c in world.clients if action.clients in {"", c.place.group}]
    for source in sources:
        source.factor *= action.factor

    def undo() -> None:
        for source in sources:
            source.factor /= action.factor

    return undo


@happen.register
async def _(action: a.RegistryOutage, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    world.registry.go_away(action.how)
    return world.registry.come_back


@happen.register
async def _(action: a.RegistryRestartEmpty, world: World, rng: Random) -> None:  # noqa: ARG001
    world.registry.forget_all()


@happen.register
async def _(action: a.RegistryStale, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    world.registry.stale = True

    def undo() -> None:
        world.registry.stale = False
        world.registry.reveal()

    return undo


@happen.register
async def _(action: a.RegistryWrong, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    world.registry.wrong = (action.kind, action.share)
    world.registry.wake_readers()

    def undo() -> None:
        world.registry.wrong = None
        world.registry.wake_readers()

    return undo


def _set_all(
    runners: list[Runner],
    name: str,
    value: Callable[[Any], Any],
    back: Callable[[Any], Any],
) -> Callable[[], None]:
    """Set an attribute of some servers; return how to set it back."""
    servers = [runner.server for runner in runners]

    def put(make: Callable[[Any], Any]) -> None:
        for server in servers:
            setattr(server, name, make(server))
            server.look_again()

    put(value)
    return lambda: put(back)
