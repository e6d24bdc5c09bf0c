"""ZooKeeper from programs of many shapes: crashed, forked, synchronous; how soon it is seen."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import statistics
import subprocess
import sys
import time
import tracemalloc
from contextlib import AsyncExitStack, aclosing
from uuid import uuid4

import pytest

from real.fleet import until
from real.server import die_with_parent
from trimtab import DiscoverySettings
from trimtab.discovery import Directory
from trimtab.instance import Instance
from trimtab.registration import register
from trimtab.registries import connect
from zookeeper_kit import our_threads

pytestmark = [pytest.mark.real, pytest.mark.soak]
DEADLINE_S = 60
TTL_S = 2.0
REGISTRANT = """
import sys, threading
from trimtab import Instance, register

url, id_ = sys.argv[1:]
with register(url, "orders", Instance(id=id_, host="10.0.0.1", port=80), ttl_s=2.0):
    print("registered", flush=True)
    threading.Event().wait()
"""
FORKING = """
import asyncio, os, signal, sys
from trimtab.instance import Instance
from trimtab.registries import connect

A = Instance(id="a", host="10.0.0.1", port=80)
registry = connect(sys.argv[1])

async def used():
    await registry.register("orders", A, ttl_s=4)
    return [each.id for each in (await registry.fetch("orders")).instances]

async def child():
    found = await used()
    await registry.aclose()
    return found

async def parent():
    found = await used()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        # As a child would go on that has no use for its parent's loop.
        asyncio._set_running_loop(None)
        try:
            print("child", asyncio.run(child()), flush=True)
        finally:
            os._exit(0)
    await asyncio.to_thread(os.waitpid, pid, 0)
    print("parent", found, await used(), flush=True)
    await registry.aclose()

asyncio.run(parent())
"""


@pytest.fixture
def url(zookeeper):
    return f"{zookeeper.url}/programs-{uuid4().hex[:8]}"


class Sighted:
    """A client that notes when its list changed."""

    def __init__(self, url):
        self.directory = Directory(url, settings=DiscoverySettings(grace_s=0))
        self.changed, self.ids = asyncio.Event(), set()

    async def __aenter__(self):
        self.directory.on_change("orders", self._take)
        await self.sees(set())
        return self

    async def __aexit__(self, *_):
        await self.directory.aclose()

    async def sees(self, ids):
        """Wait for a list of these; give the time it came at."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self.changed.clear()
                if self.ids == ids:
                    return time.monotonic()
                await self.changed.wait()

    def _take(self, snapshot):
        self.ids = {each.id for each in snapshot.instances}
        self.changed.set()


def started(stack, url, id_):
    process = subprocess.Popen(
        [sys.executable, "-c", REGISTRANT, url, id_],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
    )
    stack.callback(process.stdout.close)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


async def crashes(url, how_many):
    """Kill registrants one by one; give how long each was still listed."""
    took_s = []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Sighted(url))
        processes = {f"i{n}": started(stack, url, f"i{n}") for n in range(how_many)}
        await client.sees(set(processes))
        while processes:
            _, process = processes.popitem()
            process.send_signal(signal.SIGKILL)
            killed_at = time.monotonic()
            took_s.append(await client.sees(set(processes)) - killed_at)
    return took_s


@pytest.mark.anyio
async def test_a_registrant_that_is_killed_is_gone_when_its_ttl_is_over(url):
    (took_s,) = await crashes(url, 1)
    print(f"\nregistrant killed, ttl 2 s: gone after {took_s:.2f} s")
    assert took_s < DEADLINE_S


@pytest.mark.soak
@pytest.mark.anyio
async def test_crashes_are_seen_within_the_ttl_and_a_second(zookeepers):
    took_s = await crashes(zookeepers.url, 12)
    print(f"\n12 registrants killed, ttl 2 s: gone after {figures(took_s)}")
    assert max(took_s) <= TTL_S + 1


@pytest.mark.soak
@pytest.mark.anyio
@pytest.mark.parametrize("server", ["own_zookeeper", "zookeepers"])
async def test_how_soon_a_registration_is_seen(request, server):
    url, seen_s, gone_s = request.getfixturevalue(server).url, [], []
    registry = connect(url)
    async with Sighted(url) as client, aclosing(registry):
        for number in range(100):
            mine = Instance(id=f"i{number}", host="10.0.0.1", port=80)
            begun = time.monotonic()
            await registry.register("orders", mine, ttl_s=4)
            seen_s.append(await client.sees({mine.id}) - begun)
            begun = time.monotonic()
            await registry.deregister("orders", mine)
            gone_s.append(await client.sees(set()) - begun)
    print(
        f"\n{server}: registered to seen {figures(seen_s)}; deregistered to gone {figures(gone_s)}"
    )
    assert max(seen_s) < DEADLINE_S


def figures(values):
    *_, p95 = statistics.quantiles(values, n=20)
    return (
        f"median {statistics.median(values) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, "
        f"max {max(values) * 1000:.1f} ms (n={len(values)})"
    )


@pytest.mark.soak
@pytest.mark.anyio
async def test_a_thousand_services_are_followed_over_one_connection(own_zookeeper):
    with own_zookeeper.plain_client() as client:
        await asyncio.to_thread(fill, client, services=1000, instances=10)
        listed = {}
        tracemalloc.start()
        settings = DiscoverySettings(startup_timeout_s=DEADLINE_S)
        async with Directory(own_zookeeper.url, settings=settings) as directory:
            begun = time.monotonic()
            for number in range(1000):
                name = f"s{number}"
                directory.on_change(name, lambda list_, name=name: listed.update({name: list_}))
            await until(lambda: len(listed) == 1000)
            took_s = time.monotonic() - begun
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] / 2**20
            tracemalloc.stop()
            assert all(len(list_.instances) == 10 for list_ in listed.values())
            assert own_zookeeper.watches() == 10_000
            assert len(our_threads()) == 3
            begun = time.monotonic()
            await asyncio.to_thread(client.delete, "/services/s500/i0")
            await until(lambda: len(listed["s500"].instances) == 9)
            flows_s = time.monotonic() - begun
            # The plain client's is the other.
            assert own_zookeeper.connections() == 2
    print(
        f"\n1000 lists of 10 after {took_s:.1f} s, {held:.0f} MiB; "
        f"a change after {flows_s * 1000:.0f} ms"
    )


def fill(client, *, services, instances):
    client.ensure_path("/services")
    for number in range(services):
        client.create(f"/services/s{number}")
        made = [
            client.create_async(f"/services/s{number}/i{each}", node(each))
            for each in range(instances)
        ]
        for each in made:
            each.get(timeout=DEADLINE_S)


def node(number):
    return b'{"address": "10.0.0.1", "port": %d}' % (8000 + number)


def test_a_synchronous_program_registers_and_leaves(url):
    mine = Instance(id="sync", host="10.0.0.1", port=80)
    with register(url, "orders", mine, ttl_s=4):
        assert asyncio.run(listed_by(url)) == (mine,)
    assert asyncio.run(listed_by(url)) == ()
    assert our_threads() == []


async def listed_by(url):
    async with aclosing(connect(url)) as registry:
        return (await registry.fetch("orders")).instances


def test_a_forked_child_has_a_session_of_its_own_and_leaves_its_parents_alone(url):
    ended = subprocess.run(
        # Newer Pythons warn of forks in programs with threads, which is the matter here.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, url],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=os.environ,
    )
    assert ended.stdout.splitlines() == ["child ['a']", "parent ['a'] ['a']"], ended.stderr
    assert ended.returncode == 0, ended.stderr
