"""A fleet at a registry that is in trouble: registrants, followers, and the lists that they got."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager

from trimtab.discovery import Directory
from trimtab.instance import Instance, Status
from trimtab.registration import register

DEADLINE_S = 60
INSTANCES = [Instance(id=f"i{n}", host="10.0.0.1", port=8000 + n) for n in range(4)]
FIFTH = Instance(id="fifth", host="10.0.0.1", port=8005)
ALL = {each.id for each in INSTANCES}


class Follower:
    """A client, and every list that it got."""

    def __init__(self, registry, settings=None):
        self.told = []
        self.registry = registry
        self.directory = Directory(registry, settings=settings)
        self.directory.on_change("orders", lambda list_: self.told.append(list_.instances))

    async def lists(self, ids):
        """Wait until these and no others are listed."""
        await until(lambda: self.told and {each.id for each in self.told[-1]} == ids)

    async def lists_at_least(self, ids):
        """Wait until these are listed; others may be."""
        await until(lambda: self.told and {each.id for each in self.told[-1]} >= ids)

    async def is_in_trouble(self):
        """Wait until the registry has failed it."""
        async with asyncio.timeout(DEADLINE_S):
            while not (await self.directory.state("orders")).failures:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def was_told_nothing_wrong(self):
        """Whether all that it was told had every instance, and each of them well."""
        return all(
            {each.id for each in list_} >= ALL
            and all(each.status is Status.PASSING for each in list_)
            for list_ in self.told
        )


async def until(condition):
    """Wait for a change that gives no notice, such as a process or a list."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fleet(home, *registries):
    """Registrants at `home`, who go on whatever happens, and a follower of each registry.

    In the end: none was told anything wrong, and neither task nor thread is left.
    """
    before, threads = asyncio.all_tasks(), threading.active_count()
    async with AsyncExitStack() as stack:
        for instance in INSTANCES:
            lease = register(home, "orders", instance, ttl_s=120, heartbeat_s=0.3)
            await stack.enter_async_context(lease)
        followers = [Follower(registry) for registry in registries]
        for follower in followers:
            stack.push_async_callback(follower.directory.aclose)
            await follower.lists(ALL)
            follower.told.clear()
        yield followers
        for follower in followers:
            assert follower.was_told_nothing_wrong(), follower.told
    assert asyncio.all_tasks() == before
    assert threading.active_count() <= threads + 1  # That of `asyncio.to_thread`.


async def change_flows(home, followers, what):
    """Let one more instance come, seen by all; print how long that took, and let it go."""
    begun = time.monotonic()
    instance = Instance(id=f"after {what} {begun}", host="10.0.0.1", port=9000)
    newcomer = register(home, "orders", instance, ttl_s=120)
    await newcomer.start_persistently()
    for follower in followers:
        await until(lambda told=follower.told: told and instance in told[-1])
    print(f"\n{what}: a change flows after {time.monotonic() - begun:.2f} s")
    # After trouble a client keeps for a while who leaves: that is not waited for.
    await newcomer.stop()
