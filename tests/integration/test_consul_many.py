"""A thousand services in one Consul, followed by one process."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

import pytest

from trimtab import DiscoverySettings
from trimtab.discovery import Directory

pytestmark = [pytest.mark.real, pytest.mark.anyio, pytest.mark.soak]
DEADLINE_S = 120
SERVICES, INSTANCES, PER_TRANSACTION = 1000, 10, 60


def megabytes():
    """What this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def fill(agent):
    """Write all of it past the agent into the catalog, a transaction at a time."""
    agent.put("/v1/catalog/register", {"Node": "ext", "Address": "10.0.0.1"})
    services = [
        {"Service": f"s{number}", "ID": f"s{number}-{each}", "Port": 8000 + each}
        for number in range(SERVICES)
        for each in range(INSTANCES)
    ]
    for at in range(0, len(services), PER_TRANSACTION):
        some = services[at : at + PER_TRANSACTION]
        agent.put(
            "/v1/txn",
            [{"Service": {"Verb": "set", "Node": "ext", "Service": each}} for each in some],
        )


async def test_a_thousand_services_are_followed_below_the_limit_of_connections(own_consul):
    await asyncio.to_thread(fill, own_consul)
    listed, most, size_before = {}, 0, megabytes()
    settings = DiscoverySettings(startup_timeout_s=DEADLINE_S)
    async with Directory(own_consul.url, settings=settings) as directory:
        begun = time.monotonic()
        for number in range(SERVICES):
            name = f"s{number}"
            directory.on_change(name, lambda list_, name=name: listed.update({name: list_}))
        async with asyncio.timeout(DEADLINE_S):
            while len(listed) < SERVICES:
                most = max(most, own_consul.connections())
                await asyncio.sleep(0.05)
        print(f"\n{SERVICES} lists of {INSTANCES} after {time.monotonic() - begun:.1f} s", end="")
        print(f", {megabytes() - size_before:.0f} MB larger", end="")
        slowest_s = 0.0
        for number in (0, 500, 999):
            extra = {"Service": f"s{number}", "ID": f"extra-{number}", "Port": 9000}
            place = {"Node": "ext", "Address": "10.0.0.1", "Service": extra}
            await asyncio.to_thread(own_consul.put, "/v1/catalog/register", place)
            begun = time.monotonic()
            async with asyncio.timeout(DEADLINE_S):
                while len(listed[f"s{number}"].instances) == INSTANCES:
                    most = max(most, own_consul.connections())
                    await asyncio.sleep(0.01)
            slowest_s = max(slowest_s, time.monotonic() - begun)
        spent_s = time.process_time()
        begun = time.monotonic()
        await asyncio.sleep(10)
        share = (time.process_time() - spent_s) / (time.monotonic() - begun)
        states = [await directory.state(f"s{number}") for number in range(SERVICES)]
        print(f"; a change after at most {slowest_s:.1f} s; at most {most} connections", end="")
        print(f"; then {share:.0%} of a core")
    assert all(len(list_.instances) >= INSTANCES for list_ in listed.values())
    assert not any(state.failures for state in states)
    # 128 questions are held, and 16 at a time are not.
    assert most <= 144
