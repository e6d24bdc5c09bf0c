"""A registry that comes back without its memory: who still answers stays in use."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from trimtab import Balancer, DiscoverySettings, Instance, PickError
from trimtab.check import Check
from trimtab.health.probing import ProbeResult, ProbeSettings
from trimtab.instance import Status
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

SIX = tuple(Instance(host="10.0.0.1", port=port, id=f"i{port}") for port in range(1, 7))
SETTINGS = DiscoverySettings(poll_interval_s=1.0)


class World:
    """Six instances, a registry, and a caller."""

    def __init__(self, kind):
        self.registry, self.dead = kind(), set()
        self.registry.set("orders", SIX)
        self.ends, self.called = Counter(), Counter()

    async def send(self, instance):
        self.called[instance.id] += 1
        await asyncio.sleep(0.005)
        if instance.id in self.dead:
            raise ConnectionRefusedError
        return instance.id

    async def call_for(self, balancer, seconds, *, every_s=0.02):
        for _ in range(round(seconds / every_s)):
            try:
                await balancer.call("orders", self.send, idempotent=True)
            except (PickError, OSError) as error:
                self.ends[type(error).__name__] += 1
            else:
                self.ends["ok"] += 1
            await asyncio.sleep(every_s)

    async def lose_memory(self):
        self.registry.fail()
        await asyncio.sleep(3)
        self.registry.set("orders", ())
        self.registry.heal()

    def listed(self, balancer):
        return set(balancer.statistics()["orders"].members)


@pytest.mark.parametrize("kind", [FakeRegistry, FakePolledRegistry])
@pytest.mark.parametrize("each_after_s", [0.5, 1.5, 9.0])
def test_no_call_fails_while_the_instances_register_again(kind, each_after_s):
    async def main():
        world = World(kind)
        async with Balancer(world.registry, discovery=SETTINGS, rng=Random(7)) as balancer:
            calls = asyncio.create_task(world.call_for(balancer, 90))
            await asyncio.sleep(5)
            await world.lose_memory()
            for count in range(1, 7):
                await asyncio.sleep(each_after_s)
                world.registry.set("orders", SIX[:count])
            await calls
            return world

    world = run(main())
    assert set(world.ends) == {"ok"}
    assert set(world.called) == {each.id for each in SIX}


@pytest.mark.parametrize("kind", [FakeRegistry, FakePolledRegistry])
def test_who_died_meanwhile_goes_and_who_never_registers_again_goes_after_the_doubt(kind):
    async def main():
        world = World(kind)
        async with Balancer(world.registry, discovery=SETTINGS, rng=Random(7)) as balancer:
            calls = asyncio.create_task(world.call_for(balancer, 110))
            await asyncio.sleep(5)
            await world.lose_memory()
            world.dead = {"i1"}
            await asyncio.sleep(25)
            world.registry.set("orders", SIX[3:])
            after_death = world.listed(balancer)
            await asyncio.sleep(60)
            after_doubt = world.listed(balancer)
            await calls
            return world, after_death, after_doubt

    world, after_death, after_doubt = run(main())
    assert set(world.ends) == {"ok"}
    assert after_death == {"i2", "i3", "i4", "i5", "i6"}
    assert after_doubt == {"i4", "i5", "i6"}


@pytest.mark.parametrize("kind", [FakeRegistry, FakePolledRegistry])
def test_probes_vouch_where_no_requests_are_made(kind):
    async def main():
        world = World(kind)

        async def carrier(check, instance):
            is_well = instance.id not in world.dead
            return ProbeResult(Status.PASSING if is_well else Status.CRITICAL, "")

        probe = ProbeSettings(check=Check(kind="tcp", interval_s=1.0), carrier=carrier)
        async with Balancer(
            world.registry, discovery=SETTINGS, probe=probe, rng=Random(7)
        ) as balancer:
            await world.call_for(balancer, 0.1)
            await asyncio.sleep(5)
            await world.lose_memory()
            world.dead = {"i1"}
            await asyncio.sleep(30)
            return world.listed(balancer)

    assert run(main()) == {"i2", "i3", "i4", "i5", "i6"}


@pytest.mark.parametrize("kind", [FakeRegistry, FakePolledRegistry])
def test_what_deregisters_in_good_times_goes_at_once(kind):
    async def main():
        world = World(kind)
        async with Balancer(world.registry, discovery=SETTINGS, rng=Random(7)) as balancer:
            calls = asyncio.create_task(world.call_for(balancer, 20))
            await asyncio.sleep(5)
            world.registry.set("orders", SIX[:4])
            await asyncio.sleep(2)
            listed = world.listed(balancer)
            await calls
            return listed

    assert run(main()) == {"i1", "i2", "i3", "i4"}
