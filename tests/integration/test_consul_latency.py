"""How soon a client of a real Consul sees registrations, departures and crashes; measured."""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from real.server import die_with_parent
from trimtab.discovery import Directory
from trimtab.instance import Instance, Status
from trimtab.registries import connect

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30
TTL_S = 2.0
REGISTRANT = """
import sys, threading
from trimtab import Instance, register

url, service, port = sys.argv[1:]
instance = Instance(id=f"{service}-{port}", host="10.0.0.1", port=int(port))
with register(url, service, instance, ttl_s=2.0):
    print("registered", flush=True)
    threading.Event().wait()
"""


class Sighted:
    """A client that notes when its list changed, at some moment after `begun`."""

    def __init__(self, url, service):
        self.directory, self.service = Directory(url), service
        self.changed, self.instances = asyncio.Event(), ()

    async def start(self):
        self.directory.on_change(self.service, self._take)
        await self.sees(lambda _: True)

    async def sees(self, condition):
        """Wait for a list that meets the condition; give the time it came at."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self.changed.clear()
                if condition(self.instances):
                    return time.monotonic()
                await self.changed.wait()

    def _take(self, snapshot):
        self.instances = snapshot.instances
        self.changed.set()


def passing(instances):
    return {each.id for each in instances if each.status is Status.PASSING}


def listed(id_, *, there):
    return lambda instances: (id_ in {each.id for each in instances}) is there


def registrant(stack, url, service, port):
    process = subprocess.Popen(
        [sys.executable, "-c", REGISTRANT, url, service, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
    )
    stack.callback(process.stdout.close)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout.readline() == "registered\n"
    return process


async def crash(url, how_many):
    """Kill registrants one by one; give how long each was still thought well of."""
    service, took_s = f"crash-{uuid4().hex[:8]}", []
    async with AsyncExitStack() as stack:
        registry = await standing(stack, url, service, how_many)
        client = await client_of(stack, registry.url, service)
        start = [
            asyncio.to_thread(registrant, stack, url, service, 8000 + n) for n in range(how_many)
        ]
        processes = await asyncio.gather(*start)
        await client.sees(lambda instances: len(passing(instances)) == 2 * how_many)
        for number, process in enumerate(processes):
            killed = instance(service, 8000 + number).id
            process.send_signal(signal.SIGKILL)
            killed_at = time.monotonic()
            at = await client.sees(lambda instances, id_=killed: id_ not in passing(instances))
            took_s.append(at - killed_at)
            assert killed in {each.id for each in client.instances}
    return took_s


async def standing(stack, url, service, how_many):
    """Register instances that stay: who loses half of a list at once has reason to doubt it."""
    registry = connect(url)
    stack.push_async_callback(registry.aclose)
    for number in range(how_many):
        mine = instance(service, 9000 + number)
        await registry.register(service, mine, ttl_s=600)
        stack.push_async_callback(registry.deregister, service, mine)
    return registry


async def client_of(stack, url, service):
    client = Sighted(url, service)
    stack.push_async_callback(client.directory.aclose)
    await client.start()
    return client


async def test_a_registrant_that_is_killed_is_gone_when_its_ttl_is_over(consul):
    (took_s,) = await crash(consul.url, 1)
    print(f"\nregistrant killed, ttl 2 s: gone after {took_s:.2f} s")
    assert took_s < DEADLINE_S


@pytest.mark.soak
async def test_crashes_are_seen_on_a_cluster(consul_cluster):
    took_s = await crash(consul_cluster.url, 12)
    print(f"\n12 registrants killed, ttl 2 s: gone after {figures(took_s)}")
    assert max(took_s) <= TTL_S + 1


@pytest.mark.soak
@pytest.mark.parametrize("how", ["dev", "cluster", "stale"])
async def test_how_soon_a_registration_is_seen(request, how):
    server = request.getfixturevalue("consul" if how == "dev" else "consul_cluster")
    url = f"{server.url}?stale" if how == "stale" else server.url
    service, seen_s, gone_s = f"latency-{uuid4().hex[:8]}", [], []
    async with AsyncExitStack() as stack:
        registry = await standing(stack, server.url, service, 3)
        client = await client_of(stack, url, service)
        for number in range(50):
            mine = instance(service, number + 1)
            begun = time.monotonic()
            await registry.register(service, mine, ttl_s=120)
            seen_s.append(await client.sees(listed(mine.id, there=True)) - begun)
            begun = time.monotonic()
            await registry.deregister(service, mine)
            gone_s.append(await client.sees(listed(mine.id, there=False)) - begun)
    print(f"\n{how}: registered to seen {figures(seen_s)}; deregistered to gone {figures(gone_s)}")
    assert max(seen_s) < DEADLINE_S


def instance(service, port):
    return Instance(id=f"{service}-{port}", host="10.0.0.1", port=port)


def figures(values):
    *_, p95 = statistics.quantiles(values, n=20)
    return (
        f"median {statistics.median(values) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, "
        f"max {max(values) * 1000:.1f} ms (n={len(values)})"
    )
