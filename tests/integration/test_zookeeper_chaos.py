"""A ZooKeeper ensemble loses its leader, its quorum, its memory: what a client's list does.

In each trouble the list never shrinks and nothing is told to the client that is not so; after
it a change is seen without help.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from real.fleet import ALL, FIFTH, INSTANCES, Follower, until
from trimtab import DiscoverySettings
from trimtab.registration import register
from trimtab.registries import connect
from zookeeper_kit import expire, our_threads

# Minutes in all; tests/e2e/test_registry_chaos.py has the short form of each.
pytestmark = [pytest.mark.real, pytest.mark.anyio, pytest.mark.soak]
DOWN_S = pytest.mark.parametrize(
    "down_s",
    [pytest.param(0.5, id="short"), pytest.param(30.0, id="soak", marks=pytest.mark.soak)],
)
SETTINGS = DiscoverySettings(poll_interval_s=0.3, backoff_max_s=0.5)
SESSION_S = 2.0


@asynccontextmanager
async def fleet(ensemble):
    """Registrants that go on whatever happens, a client that watches and one that polls."""
    before = asyncio.all_tasks()
    url = f"{ensemble.url}?session={SESSION_S}s&timeout=1s"
    async with AsyncExitStack() as stack:
        home = connect(url)
        stack.push_async_callback(home.aclose)
        for instance in INSTANCES:
            lease = register(home, "orders", instance, ttl_s=SESSION_S, heartbeat_s=0.3)
            await stack.enter_async_context(lease)
        followers = [Follower(connect(each), SETTINGS) for each in (url, f"{url}&poll")]
        for follower in followers:
            stack.push_async_callback(follower.registry.aclose)
            stack.push_async_callback(follower.directory.aclose)
            await follower.lists(ALL)
            follower.told.clear()
        yield followers
        for follower in followers:
            assert follower.was_told_nothing_wrong(), follower.told
    assert asyncio.all_tasks() == before
    assert our_threads() == []


async def changes_flow(ensemble, followers, what):
    """Register a fifth instance and wait until every client lists it; tell how long it took."""
    begun = time.monotonic()
    registry = connect(f"{ensemble.url}?timeout=30s&session={SESSION_S}s")
    await registry.register("orders", FIFTH, ttl_s=SESSION_S)
    took_s = []
    for follower in followers:
        await follower.lists(ALL | {FIFTH.id})
        took_s.append(f"{time.monotonic() - begun:.2f} s")
    print(f"\n{what}: a change flows after {took_s[0]} (polled: {took_s[1]})")
    await registry.aclose()


async def change_ends(followers):
    """Wait until the fifth instance has gone again."""
    for follower in followers:
        await follower.lists(ALL)


async def test_the_leader_dies(zookeepers):
    async with fleet(zookeepers) as followers:
        zookeepers.leader().kill()
        await changes_flow(zookeepers, followers, "leader killed")


@pytest.mark.soak
async def test_leaders_die_one_after_the_other(zookeepers):
    async with fleet(zookeepers) as followers:
        for _ in range(8):
            zookeepers.leader().kill()
            await changes_flow(zookeepers, followers, "leader killed")
            await change_ends(followers)
            await asyncio.to_thread(zookeepers.start)


@DOWN_S
async def test_the_quorum_is_lost(zookeepers, down_s):
    async with fleet(zookeepers) as followers:
        for member in zookeepers.followers():
            member.kill()
        await followers[0].is_in_trouble()
        await asyncio.sleep(down_s)
        assert not followers[0].told
        await asyncio.to_thread(zookeepers.start)
        await changes_flow(zookeepers, followers, "quorum back")


@DOWN_S
async def test_all_hang(zookeepers, down_s):
    async with fleet(zookeepers) as followers:
        zookeepers.freeze()
        await asyncio.sleep(down_s)
        zookeepers.thaw()
        await changes_flow(zookeepers, followers, "thawed")


@pytest.mark.soak
async def test_one_hangs_that_a_client_is_connected_to(zookeepers):
    async with fleet(zookeepers) as followers:
        for member in zookeepers.members:
            member.freeze()
            await changes_flow(zookeepers, followers, "a member hangs")
            await change_ends(followers)
            member.thaw()
            await until(zookeepers.is_whole)


@DOWN_S
@pytest.mark.parametrize(
    "wiped",
    [pytest.param(False, id="kept", marks=pytest.mark.soak), pytest.param(True, id="wiped")],
)
async def test_all_are_killed(zookeepers, down_s, wiped):
    async with fleet(zookeepers) as followers:
        zookeepers.kill()
        if wiped:
            zookeepers.wipe()
        await followers[0].is_in_trouble()
        await asyncio.sleep(down_s)
        await asyncio.to_thread(zookeepers.start)
        await changes_flow(zookeepers, followers, "all back")


async def test_the_sessions_of_clients_expire(own_zookeeper):
    async with fleet(own_zookeeper) as followers:
        for follower in followers:
            await expire(own_zookeeper, follower.registry, SESSION_S)
        await changes_flow(own_zookeeper, followers, "sessions expired")
