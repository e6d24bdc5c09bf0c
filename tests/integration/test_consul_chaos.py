"""A Consul cluster loses its leader, its quorum, its agent, its memory: what a client's list does.

In each trouble the list never shrinks and nothing is told to the client that is not so; after
it a change is seen without help.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import pytest

from consul_kit import consul_registry
from real.fleet import ALL, DEADLINE_S, INSTANCES, Follower, until
from trimtab.errors import RegistryUnavailableError
from trimtab.instance import Status
from trimtab.registration import register
from trimtab.registries import connect

# Minutes in all; tests/e2e/test_registry_chaos.py has the short form of each.
pytestmark = [pytest.mark.real, pytest.mark.anyio, pytest.mark.soak]
DOWN_S = pytest.mark.parametrize(
    "down_s",
    [pytest.param(0.5, id="short"), pytest.param(30.0, id="soak", marks=pytest.mark.soak)],
)
NUMBERS = count(9000)
OTHERS = ("asyncio_", "Trio thread")
"""Names of worker threads of the libraries, which come and go by themselves."""


@asynccontextmanager
async def fleet(home, *urls):
    """Registrants at the agent `home`, who go on whatever happens, and a client of each URL."""
    before = own_tasks_and_threads()
    async with AsyncExitStack() as stack:
        for instance in INSTANCES:
            lease = register(home, "orders", instance, ttl_s=120, heartbeat_s=0.3)
            await stack.enter_async_context(lease)
        followers = [Follower(url) for url in urls]
        for follower in followers:
            stack.push_async_callback(follower.directory.aclose)
            await follower.lists_at_least(ALL)
            follower.told.clear()
        yield followers
        for follower in followers:
            assert follower.was_told_nothing_wrong(), follower.told
    assert own_tasks_and_threads() == before


def own_tasks_and_threads():
    """All but the threads of `asyncio.to_thread`."""
    threads = {each for each in threading.enumerate() if not each.name.startswith(OTHERS)}
    return asyncio.all_tasks(), threads


async def changes_flow(home, followers, what):
    """Register another instance and wait until every client lists it; tell how long it took."""
    another = INSTANCES[0].with_(id=f"{what} {next(NUMBERS)}")
    begun = time.monotonic()
    registry = connect(home)
    await registry.register("orders", another, ttl_s=120)
    for follower in followers:
        await follower.lists_at_least(ALL | {another.id})
    print(f"\n{what}: a change flows after {time.monotonic() - begun:.2f} s")
    await registry.aclose()


async def test_the_leader_dies_and_then_the_agent(consul_cluster):
    cluster, home = consul_cluster, consul_cluster.followers()[0].url
    async with fleet(home, cluster.url, f"{cluster.url}?stale") as followers, always_answers(home):
        cluster.leader().kill()
        await changes_flow(home, followers, "leader killed")
    async with fleet(home, f"{cluster.url},{home.partition('//')[2]}") as followers:
        cluster.agent.kill()
        await changes_flow(home, followers, "agent killed")


@asynccontextmanager
async def always_answers(url):
    """Make sure that stale reads at a server that lives are never refused meanwhile."""
    registry = consul_registry(url, consistency="stale", follow="poll")
    reading = asyncio.create_task(ends(registry))
    yield
    assert not reading.done(), reading
    reading.cancel()
    await asyncio.wait([reading])
    await registry.aclose()


async def is_too_old(url, max_stale_s):
    """Wait until a server that has lost its leader is no longer believed, and see why."""
    patient, strict = (
        consul_registry(url, consistency="stale", max_stale_s=bound_s)
        for bound_s in (DEADLINE_S, max_stale_s)
    )
    assert {each.id for each in (await patient.fetch("orders")).instances} >= ALL
    with pytest.raises(RegistryUnavailableError, match="has had no contact with a leader for"):
        await ends(strict)
    for registry in (patient, strict):
        await registry.aclose()


async def ends(registry):
    """Read until the registry refuses."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            await registry.fetch("orders")
            await asyncio.sleep(0.02)


@pytest.mark.soak
async def test_leaders_die_one_after_the_other(consul_cluster):
    cluster = consul_cluster
    async with fleet(cluster.url, cluster.url, f"{cluster.url}?stale") as followers:
        for _ in range(8):
            cluster.leader().kill()
            await changes_flow(cluster.url, followers, "leader killed")
            await asyncio.to_thread(cluster.start)


@DOWN_S
async def test_the_quorum_is_lost(consul_cluster, down_s):
    cluster = consul_cluster
    # A question that the last leader holds is not given back before its wait is over.
    async with fleet(cluster.url, f"{cluster.url}?wait=1s", f"{cluster.url}?stale") as followers:
        alone = cluster.leader()
        for server in cluster.servers:
            if server is not alone:
                server.kill()
        await followers[0].is_in_trouble()
        await asyncio.sleep(down_s)
        assert not followers[0].told
        await is_too_old(alone.url, down_s / 2)
        await asyncio.to_thread(cluster.start)
        await changes_flow(cluster.url, followers, "quorum back")


@DOWN_S
async def test_all_hang(consul_cluster, down_s):
    cluster = consul_cluster
    async with fleet(cluster.url, cluster.url, f"{cluster.url}?wait=1s") as followers:
        for member in (*cluster.servers, cluster.agent):
            member.freeze()
        await asyncio.sleep(down_s)
        for member in (*cluster.servers, cluster.agent):
            member.thaw()
        await changes_flow(cluster.url, followers, "thawed")


@DOWN_S
@pytest.mark.parametrize(
    "wiped",
    [pytest.param(False, id="kept", marks=pytest.mark.soak), pytest.param(True, id="wiped")],
)
async def test_all_are_killed(consul_cluster, down_s, wiped):
    cluster = consul_cluster
    async with fleet(cluster.url, cluster.url) as followers:
        cluster.kill()
        if wiped:
            cluster.wipe()
        await followers[0].is_in_trouble()
        await asyncio.sleep(down_s)
        await asyncio.to_thread(cluster.start)
        await changes_flow(cluster.url, followers, "all back")


@pytest.mark.soak
async def test_a_dead_node_takes_its_instances_with_it(consul_cluster):
    """Its own checks stay as they were: only the node's tells."""
    cluster, node = consul_cluster, consul_cluster.followers()[0]
    async with fleet(cluster.url, cluster.url) as (follower,):
        registry = connect(node.url)
        doomed = INSTANCES[0].with_(id="doomed")
        await registry.register("orders", doomed, ttl_s=120)
        await follower.lists(ALL | {"doomed"})
        node.kill()
        begun = time.monotonic()
        await until(lambda: status_of("doomed", follower.told[-1]) is Status.CRITICAL)
        print(f"\nnode killed: critical after {time.monotonic() - begun:.1f} s")
        answer = await asyncio.to_thread(cluster.agent.get, "/v1/health/checks/orders")
        assert {each["Status"] for each in answer.json()} == {"passing"}
        await asyncio.to_thread(cluster.start)
        begun = time.monotonic()
        await until(lambda: status_of("doomed", follower.told[-1]) is Status.PASSING)
        print(f"node back: passing after {time.monotonic() - begun:.1f} s")
        follower.told.clear()
        await registry.aclose()


def status_of(id_, instances):
    (status,) = (each.status for each in instances if each.id == id_)
    return status
