"""The effect of each action on the world, and how it is undone."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any

from trimtab_sim.events import until
from trimtab_sim.scenario import actions as a
from trimtab_sim.scenario.content import ServerGroup
from trimtab_sim.world.network import Partition
from trimtab_sim.world.world import Runner, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab_sim.world.places import Overlaid

__all__ = ["apply", "choose"]


def choose(targets: Any, world: World, rng: Random) -> list[Runner]:
    """Return the servers that `targets` names, among those that are available."""
    available = [runner for runner in world.runners if runner.is_available]
    if targets == "all":
        return available
    if targets.index is not None:
        wanted = set(targets.index)
        return [runner for runner in world.runners if runner.server.place.index in wanted]
    if targets.zone is not None:
        return [runner for runner in available if runner.server.place.zone == targets.zone]
    count = targets.count if targets.count is not None else _part(targets.share, len(available))
    chosen = rng.sample(available, min(count, len(available)))
    return sorted(chosen, key=lambda runner: runner.server.place.index)


def _part(share: float, total: int) -> int:
    """Return the number that a share is, rounded up, at least one; 7 % of 100 is 7, not 8."""
    return max(1, ceil(share * total - 1e-9))


@singledispatch
async def apply(action: Any, world: World, rng: Random) -> Callable[[], None] | None:  # noqa: ARG001
    """Apply an action; return a function that undoes it, or None if there is nothing to undo."""
    raise TypeError(f"no action {action!r}")


@apply.register
async def _(action: a.Crash, world: World, rng: Random) -> Callable[[], None]:
    runners = [runner for runner in choose(action.targets, world, rng) if runner.is_available]
    for runner in runners:
        world.crash(runner)
    return _each(runners, world.restart)


@apply.register
async def _(action: a.BlackHole, world: World, rng: Random) -> Callable[[], None]:
    runners = [runner for runner in choose(action.targets, world, rng) if runner.is_available]
    for runner in runners:
        world.vanish(runner, stays_registered=action.heartbeats)
    return _each(runners, lambda it: world.reappear(it, stays_registered=action.heartbeats))


@apply.register
async def _(action: a.Hang, world: World, rng: Random) -> Callable[[], None]:
    return _override(_servers(action, world, rng), "is_hung", value=True)


@apply.register
async def _(action: a.Slow, world: World, rng: Random) -> Callable[[], None]:
    # Both on the same servers, which are drawn once.
    servers = _servers(action, world, rng)
    slower = _override(servers, "factor", value=action.factor)
    waiting = _override(servers, "waits", value=action.waits)

    def undo() -> None:
        slower()
        waiting()

    return undo


@apply.register
async def _(action: a.Errors, world: World, rng: Random) -> Callable[[], None]:
    return _override(_servers(action, world, rng), "error", value=(action.rate, action.status))


@apply.register
async def _(action: a.Refuse, world: World, rng: Random) -> Callable[[], None]:
    return _override(_servers(action, world, rng), "is_refusing", value=True)


@apply.register
async def _(action: a.Gray, world: World, rng: Random) -> Callable[[], None]:
    return _override(_servers(action, world, rng), "gray", value=action)


@apply.register
async def _(action: a.Flap, world: World, rng: Random) -> Callable[[], None]:
    down: list[Runner] = []
    flapping = world.spawn(_flap(action, world, choose(action.targets, world, rng), down))

    def undo() -> None:
        flapping.cancel()
        _each(down, world.restart)()

    return undo


async def _flap(action: a.Flap, world: World, runners: list[Runner], down: list[Runner]) -> None:
    """Crash the servers and restart them, without end; `down` holds those that it crashed."""
    start, turn = world.env.now, 0
    while True:
        down[:] = [runner for runner in runners if runner.is_available]
        for runner in down:
            world.crash(runner)
        await until(start + (turn + action.down) * action.period)
        _each(down, world.restart)()
        turn += 1
        await until(start + turn * action.period)


@apply.register
async def _(action: a.Partition, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    partition = Partition(action.from_, action.to, both_ways=action.both_ways)
    world.network.cut(partition)

    def undo() -> None:
        world.network.mend(partition)
        # Readers whose message was lost in the partition must ask again.
        world.registry.attribute_changed()

    return undo


@apply.register
async def _(action: a.Add, world: World, rng: Random) -> None:  # noqa: ARG001
    group = ServerGroup(
        count=action.count, zone=action.zone, priority=action.priority, weight=action.weight
    )
    start = world.env.now
    for number in range(action.count):
        await until(start + number * action.every)
        world.add_server(group)


@apply.register
async def _(action: a.Remove, world: World, rng: Random) -> None:
    for runner in choose(action.targets, world, rng):
        _leave(world, runner, action.drain)


@apply.register
async def _(action: a.Replace, world: World, rng: Random) -> None:
    start = world.env.now
    for number, runner in enumerate(choose(action.targets, world, rng)):
        await until(start + number * action.every)
        if runner.is_leaving or runner.is_replaced:
            # Another replacement was first.
            continue
        runner.is_replaced = True
        like = runner.server.instance if action.same_address else None
        if action.order == "add_first":
            world.add_server(runner.group, like=like)
            await until(start + (number + 1) * action.every)
            _leave(world, runner, action.drain)
        else:
            _leave(world, runner, action.drain)
            await until(start + (number + 1) * action.every)
            world.add_server(runner.group, like=like)


def _leave(world: World, runner: Runner, drain_s: float) -> None:
    # One that has crashed in the meantime leaves too, and is not started again.
    if not runner.is_leaving:
        world.remove(runner, drain_s)


@apply.register
async def _(action: a.Load, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    sources = [c.source for c in world.clients if action.clients in {"", c.place.group}]
    return _override(sources, "factor", value=action.factor)


@apply.register
async def _(action: a.RegistryOutage, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    registry = world.registry
    remove = registry.override("outage", action.how)

    def undo() -> None:
        remove()
        if registry.outage is None:
            registry.renew_all()

    return undo


@apply.register
async def _(action: a.RegistryRestartEmpty, world: World, rng: Random) -> None:  # noqa: ARG001
    world.registry.forget_all()


@apply.register
async def _(action: a.RegistryStale, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    return world.registry.override("stale", value=True)


@apply.register
async def _(action: a.RegistryWrong, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    return world.registry.override("wrong", (action.kind, action.share))


@apply.register
async def _(action: a.RegistryClockSkew, world: World, rng: Random) -> Callable[[], None]:  # noqa: ARG001
    return world.registry.override("clock_skew_s", action.offset_s)


def _servers(action: a.OnServers, world: World, rng: Random) -> list[Overlaid]:
    return [runner.server for runner in choose(action.targets, world, rng)]


def _override(things: Sequence[Overlaid], name: str, value: Any) -> Callable[[], None]:
    """Override an attribute of each; return a function that removes the override from all."""
    removals = [thing.override(name, value) for thing in things]

    def undo() -> None:
        for remove in removals:
            remove()

    return undo


def _each(runners: list[Runner], do: Callable[[Runner], None]) -> Callable[[], None]:
    def undo() -> None:
        for runner in runners:
            do(runner)

    return undo
