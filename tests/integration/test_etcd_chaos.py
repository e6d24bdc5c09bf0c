"""An etcd cluster loses its leader, its quorum, its memory: what a client's list does.

In each trouble the list never shrinks and nothing is told to the client that is not so; after
it a change is seen without help.
"""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from real.etcd import etcd_members
from real.fleet import ALL, FIFTH, change_flows, fleet
from registry_kit import etcd_registry
from trimtab.registration import register
from trimtab.registries import connect

# Minutes in all; tests/e2e/test_registry_chaos.py has the short form of each.
pytestmark = [pytest.mark.real, pytest.mark.anyio, pytest.mark.soak]
DOWN_S = pytest.mark.parametrize(
    "down_s",
    [pytest.param(0.5, id="short"), pytest.param(30.0, id="soak", marks=pytest.mark.soak)],
)


@pytest.fixture
def cluster(etcd_cluster):
    return etcd_cluster


@pytest.fixture(params=["3.4", "3.5"])
def either_cluster(request, tmp_path):
    with etcd_members(request.param, tmp_path) as three:
        yield three


class From(Random):
    """Begins at a member of the test's choice."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number

    def randrange(self, *_):
        return self.number


def watching(cluster, member, **settings):
    """A registry that knows all members, and begins at this one."""
    begin = From(cluster.members.index(member))
    return etcd_registry(f"{cluster.url}/s", rng=begin, **settings)


def everywhere(cluster, **settings):
    """One registry for each member to begin at; each has a key of its own."""
    return [
        watching(cluster, member, timeout_s=2 + number / 100, **settings)
        for number, member in enumerate(cluster.members)
    ]


async def closed(registries):
    for each in registries:
        await each.aclose()


async def test_the_leader_dies(cluster):
    home, registries = f"{cluster.url}/s", everywhere(cluster)
    async with fleet(home, *registries) as followers:
        cluster.leader().kill()
        await change_flows(home, followers, "leader killed")
    await closed(registries)


@DOWN_S
async def test_the_quorum_is_lost(cluster, down_s):
    home, registries = f"{cluster.url}/s", everywhere(cluster)
    async with fleet(home, *registries) as followers:
        dead = cluster.followers()
        for each in dead:
            each.kill()
        if down_s > 10:
            # Also who watches the member that is left: it tells that it has no leader.
            for follower in followers:
                await follower.is_in_trouble()
        await asyncio.sleep(down_s)
        assert not any(follower.told for follower in followers)
        await asyncio.to_thread(cluster.start, *dead)
        await change_flows(home, followers, "quorum back")
    await closed(registries)


@DOWN_S
@pytest.mark.parametrize("who", ["leader", "all"])
async def test_members_hang(cluster, down_s, who):
    """A member that hangs says nothing: the silence of its watches ends them."""
    registries = everywhere(cluster, resync_s=1)
    home = etcd_registry(poll=True, url=f"{cluster.url}/s", timeout_s=1)
    frozen = [cluster.leader()] if who == "leader" else cluster.members
    async with fleet(home, *registries) as followers:
        for each in frozen:
            each.freeze()
        await asyncio.sleep(down_s)
        if who == "leader":
            await change_flows(home, followers, "leader hangs")
        for each in frozen:
            each.thaw()
        await change_flows(home, followers, f"{who} thawed")
    await closed([home, *registries])


@DOWN_S
@pytest.mark.parametrize(
    "wiped",
    [pytest.param(False, id="kept", marks=pytest.mark.soak), pytest.param(True, id="wiped")],
)
async def test_all_are_killed(cluster, down_s, wiped):
    home, registries = f"{cluster.url}/s", everywhere(cluster)
    async with fleet(home, *registries) as followers:
        cluster.kill()
        if wiped:
            cluster.wipe()
        for follower in followers:
            await follower.is_in_trouble()
        await asyncio.sleep(down_s)
        await asyncio.to_thread(cluster.start)
        await change_flows(home, followers, "all back")
    await closed(registries)


async def test_a_registrant_that_dies_is_gone_when_its_lease_is(etcd35):
    home = f"{etcd35.url}/dying"
    async with fleet(home, connect(home)) as (follower,):
        registration = register(home, "orders", FIFTH, ttl_s=2)
        await registration.start()
        await follower.lists(ALL | {FIFTH.id})
        begun = time.monotonic()
        registration.abandon()
        await follower.lists(ALL)
        print(f"\nregistrant dead: gone after {time.monotonic() - begun:.1f} s")
        await registration._close()


@pytest.mark.soak
async def test_leaders_die_one_after_the_other(either_cluster):
    cluster = either_cluster
    home, registries = f"{cluster.url}/s", everywhere(cluster)
    async with fleet(home, *registries) as followers:
        for _ in range(8):
            leader = cluster.leader()
            leader.kill()
            await change_flows(home, followers, "leader killed")
            await asyncio.to_thread(cluster.start, leader)
    await closed(registries)


@pytest.mark.soak
async def test_members_restart_under_change(either_cluster):
    """A rolling restart, with history compacted meanwhile: no change is missed."""
    cluster = either_cluster
    home, registries = f"{cluster.url}/s", everywhere(cluster)
    async with fleet(home, *registries) as followers:
        for member in cluster.members:
            member.kill()
            for _ in range(3):
                await change_flows(home, followers, "one of three down")
            cluster.leader().compact()
            await asyncio.to_thread(cluster.start, member)
    await closed(registries)
